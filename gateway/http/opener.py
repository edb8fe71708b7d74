"""Shell: the opener of answers: from a plan to a completion that runs, or to one that runs already.

It takes the last steps of the front door, in this order: an answer under the same `X-Stream-Key` that can be joined;
a route; the key's right to it (`Admission.admit_call`); the money that it may cost. Then the completion begins.
"""

from collections.abc import Callable

from gateway import clock
from gateway.access.accounts import Lease
from gateway.completion.answer import Record, Settle
from gateway.completion.completion import Plan, StreamedCompletion
from gateway.completion.purse import microusd
from gateway.completion.whole import WholeCompletion
from gateway.dialects.usage import estimate_prompt_tokens
from gateway.endings import Ending
from gateway.errors import StreamKeyConflict
from gateway.http.admission import Admission, RequestHead
from gateway.http.answer_plan import AnswerPlan
from gateway.http.in_force import InForce
from gateway.observe.trace import Span, Tracing
from gateway.routing.dispatcher import Call
from gateway.routing.router import Route
from gateway.stream.hub import Hub
from gateway.tasks import Tasks

Book = Callable[[Record, Lease | None, Span], None]  # books a completion that is over


class Opener:
    """Opens the answers of this process."""

    def __init__(
        self, in_force: InForce, admission: Admission, hub: Hub, tasks: Tasks, tracing: Tracing, book: Book
    ) -> None:
        self._in_force = in_force
        self._admission = admission
        self._hub = hub
        self._tasks = tasks
        self._tracing = tracing
        self._book = book

    def open(self, plan: AnswerPlan, head: RequestHead) -> tuple[StreamedCompletion, bool]:
        """A completion that runs or has run, and whether it was there before and is joined, which costs nothing.

        Raises `RivergateError`.
        """
        owner = head.owner
        known = self._known(plan, owner)
        if known is not None:
            if plan.policy.on_last_reader == "drain":
                known.stream.adopt(plan.policy)  # it was promised to the client that asks now
            return known, True
        route, call, span = self._route(plan, head)
        lease = _lease(plan, head, route, call)
        completion = StreamedCompletion(
            call,
            route,
            Plan(
                owner=owner,
                policy=plan.policy,
                usage_event=plan.usage_event,
                key=plan.key,
                fingerprint=plan.fingerprint,
                output=plan.output,
                lease=lease,
            ),
            limits=self._in_force.config.stream,
            settle=self._settle(lease, span),
            tasks=self._tasks,
        )
        self._hub.add_stream(completion)
        return completion, False

    def open_whole(self, plan: AnswerPlan, head: RequestHead) -> WholeCompletion:
        """A completion that answers as one JSON; `fetch` starts it. Raises `RivergateError`."""
        route, call, span = self._route(plan, head)
        lease = _lease(plan, head, route, call)
        settle = self._settle(lease, span)
        completion = WholeCompletion(call, route, settle=settle, tasks=self._tasks, lease=lease)
        self._hub.add(completion)
        return completion

    def _known(self, plan: AnswerPlan, owner: str) -> StreamedCompletion | None:
        """The completion that runs or ran under the same `X-Stream-Key`, if a new subscriber gets all of it."""
        if plan.key is None:
            return None
        known = self._hub.find_key(owner, plan.key)
        if not isinstance(known, StreamedCompletion) or not _is_whole(known):
            return None
        if known.fingerprint != plan.fingerprint:
            raise StreamKeyConflict("X-Stream-Key is in use for another request body", param="X-Stream-Key")
        return known

    def _route(self, plan: AnswerPlan, head: RequestHead) -> tuple[Route, Call, Span]:
        """Whom to ask and what, once the key may have it; the span of the answer begins here."""
        now = clock.monotonic()
        route = self._in_force.router.route(plan.ask, now)
        self._admission.admit_call(head.caller, route, plan.ask.models_field, now)
        model_id = route.candidates[0].model.id
        span = self._tracing.begin(f"chat {model_id}", head.headers.get("traceparent"), clock.wall_time())
        call = Call(
            request_id=head.request_id,
            model_id=model_id,
            body=plan.body,
            streamed=plan.streamed,
            created=int(clock.wall_time()),
            prompt_tokens=estimate_prompt_tokens(plan.body),
            hold_finish=plan.usage_event == "finish",
            traceparent=span.traceparent,
        )
        return route, call, span

    def _settle(self, lease: Lease | None, span: Span) -> Settle:
        """Where the record goes when the answer is over. It must not hold the plan, which holds the prompt."""
        book = self._book
        return lambda record: book(record, lease, span)


def _lease(plan: AnswerPlan, head: RequestHead, route: Route, call: Call) -> Lease | None:
    """The money that the answer may cost, reserved at the dearest candidate; None in open mode.

    Raises `InsufficientQuota`.
    """
    account = head.caller.account if head.caller is not None else None
    if account is None:
        return None
    models = [candidate.model for candidate in route.candidates]
    prompt = max(microusd(call.prompt_tokens, model.input_usd_per_mtok) for model in models)
    answer = max(microusd(plan.max_tokens, model.output_usd_per_mtok) for model in models)
    return account.lease(prompt, prompt + answer)


def _is_whole(completion: StreamedCompletion) -> bool:
    """Whether a new subscriber would get all of it: it did not break off, and its beginning is still there."""
    return completion.stream.ending in (None, Ending.COMPLETED) and completion.stream.log.first_seq == 0
