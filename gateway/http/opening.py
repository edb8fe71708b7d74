"""Shell: the opening of an answer: from a plan to a completion that runs, or to one that runs already.

Its steps, in this order: `prepare` finds a stream to join or the upstreams to ask; `admit` asks the bank for the
key's place and money, and the directory for the stream key; `open` sends.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway import clock
from gateway.access.accounts import Quote
from gateway.access.bank import Bank, Lease
from gateway.cluster.directory import Directory, Place, production_at
from gateway.completion.answer import Record, Settle
from gateway.completion.spending import microusd
from gateway.completion.streamed import Plan, StreamedCompletion
from gateway.completion.whole import WholeCompletion
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


@dataclass(frozen=True, slots=True)
class OpeningParts:
    """The parts of the gateway that an opening asks."""

    in_force: InForce
    admission: Admission
    bank: Bank
    directory: Directory
    hub: Hub
    tasks: Tasks
    tracing: Tracing
    book: Callable[[Record, Lease | None, Span], None]  # books a completion that is over


class Opening:
    """One planned answer on its way to be opened."""

    _route: Route
    _call: Call
    _span: Span

    def __init__(self, parts: OpeningParts, plan: AnswerPlan, head: RequestHead) -> None:
        self._parts = parts
        self.plan = plan
        self.head = head
        self._account = head.account  # of the key that pays; None in open mode
        self._joined: StreamedCompletion | None = None
        self._lease: Lease | None = None  # of the key's money; None: nobody pays

    @property
    def answers_at_once(self) -> bool:
        """Whether the bank and the directory need no waiting: then `admit_at_once` does what `admit` does."""
        parts, account = self._parts, self._account
        if account is not None and not parts.bank.answers_at_once(account):
            return False
        return self.plan.key is None or parts.directory.answers_at_once

    @property
    def joins(self) -> bool:
        """Whether a stream is joined that is there already, which costs nothing."""
        return self._joined is not None

    # --- prepare

    def prepare(self) -> None:
        """Find the stream under the same `X-Stream-Key`, or the upstreams, and check the key's models.

        Raises `RivergateError`.
        """
        parts, plan, head = self._parts, self.plan, self.head
        if plan.key is not None:
            self._joined = self._joinable(parts.directory.find_key(head.owner, plan.key))
            if self._joined is not None:
                return  # it costs nothing, and the state of upstreams does not matter to it
        self._route = parts.in_force.router.route(plan.ask, clock.monotonic())
        parts.admission.check_models(head.caller, self._route, plan.ask.models_field)
        model_id = self._route.candidates[0].model.id
        name = f"{plan.dialect.operation} {model_id}"
        self._span = parts.tracing.begin(name, head.headers.get("traceparent"), clock.wall_time())
        self._call = Call(
            request_id=head.request_id,
            model_id=model_id,
            dialect=plan.dialect,
            request=plan.request,
            streamed=plan.streamed,
            created=int(clock.wall_time()),
            prompt_tokens=plan.request.estimate_prompt_tokens(),
            hold_finish=plan.usage_event == "finish",
            traceparent=self._span.traceparent,
        )

    def _joinable(self, place: Place) -> StreamedCompletion | None:
        """The completion at this place, if a new subscriber gets all of it.

        Raises `StreamKeyConflict`, `ServiceUnavailable`.
        """
        known = production_at(place)
        if not isinstance(known, StreamedCompletion) or not _is_whole(known):
            return None
        if known.fingerprint != self.plan.fingerprint:
            raise StreamKeyConflict("X-Stream-Key is in use for another request body", param="X-Stream-Key")
        return known

    # --- admit

    async def admit(self) -> None:
        """Reserve the key's place and money, and claim the stream key.

        Raises `RateLimited`, `InsufficientQuota`, `ServiceUnavailable`, `StreamKeyConflict`.
        """
        if self._joined is not None:
            return
        lease = self._reserve()
        self._lease = await lease if isinstance(lease, Awaitable) else lease
        if self.plan.key is None:
            return
        try:
            place = self._parts.directory.claim(self.head.owner, self.plan.key)
            self._on_claimed(await place if isinstance(place, Awaitable) else place)
        except BaseException:
            self._give_back()
            raise

    def admit_at_once(self) -> None:
        """The same where `answers_at_once` is true."""
        if self._joined is not None:
            return
        lease = self._reserve()
        assert not isinstance(lease, Awaitable)
        self._lease = lease
        if self.plan.key is None:
            return
        try:
            self._parts.directory.claim(self.head.owner, self.plan.key)  # nobody has claimed it since `find_key`
        except BaseException:
            self._give_back()
            raise

    def _reserve(self) -> Lease | Awaitable[Lease] | None:
        """Reserve what the answer may cost at the dearest candidate; None in open mode."""
        account = self._account
        if account is None:
            return None
        models = [candidate.model for candidate in self._route.candidates]
        prompt = max(microusd(self._call.prompt_tokens, model.input_usd_per_mtok) for model in models)
        answer = max(microusd(self.plan.max_tokens, model.output_usd_per_mtok) for model in models)
        return self._parts.bank.admit(account, Quote(prompt, prompt + answer), clock.monotonic())

    def _on_claimed(self, place: Place) -> None:
        """The stream key is ours, or another request was quicker, and its stream is joined."""
        self._joined = self._joinable(place)
        if self._joined is not None:
            self._give_back()

    def _give_back(self) -> None:
        """No stream comes of this request: its money, its place and its stream key are free again."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.close()
        if self.plan.key is not None:
            self._parts.directory.release(self.head.owner, self.plan.key)

    # --- open

    def open(self) -> StreamedCompletion:
        """The completion that now runs, or the one that is joined."""
        plan = self.plan
        if self._joined is not None:
            if plan.policy.on_last_reader == "drain":
                self._joined.stream.adopt(plan.policy)  # it was promised to the client that asks now
            return self._joined
        try:
            completion = self._streamed()
            completion.start()
        except BaseException:
            self._give_back()
            raise
        self._parts.hub.add_stream(completion)
        return completion

    def open_whole(self) -> WholeCompletion:
        """A completion that now runs and answers as one document."""
        parts = self._parts
        try:
            completion = WholeCompletion(
                self._call, self._route, settle=self._settle(), tasks=parts.tasks, lease=self._lease
            )
            completion.start()
        except BaseException:
            self._give_back()
            raise
        parts.hub.add(completion)
        return completion

    def _streamed(self) -> StreamedCompletion:
        parts, plan = self._parts, self.plan
        return StreamedCompletion(
            self._call,
            self._route,
            Plan(
                owner=self.head.owner,
                policy=plan.policy,
                usage_event=plan.usage_event,
                key=plan.key,
                fingerprint=plan.fingerprint,
                output=plan.output,
                lease=self._lease,
            ),
            limits=parts.in_force.config.stream,
            settle=self._settle(),
            tasks=parts.tasks,
        )

    def _settle(self) -> Settle:
        """Where the record goes when the answer is over. It must not hold the opening, which holds the prompt."""
        book, lease, span = self._parts.book, self._lease, self._span
        return lambda record: book(record, lease, span)


def _is_whole(completion: StreamedCompletion) -> bool:
    """Whether a new subscriber would get all of it: it did not break off, and its beginning is still there."""
    return completion.stream.ending in (None, Ending.COMPLETED) and completion.stream.log.first_seq == 0
