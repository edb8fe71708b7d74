"""Shell: the opening of an answer: the way from a plan to a new completion, or to one that is joined.

It has three steps: `prepare` finds a stream to join, or the upstreams to ask; `admit` asks the bank for the key's
place and money, and the directory for the stream key; `open` sends the request.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial

from gateway import clock
from gateway.access.accounts import Account, Quote
from gateway.access.bank import Bank, Lease
from gateway.cluster.directory import Directory, Place, production_at
from gateway.completion.answer import Record, Settle
from gateway.completion.spending import microusd
from gateway.completion.streamed import Plan, StreamedCompletion
from gateway.completion.whole import WholeCompletion
from gateway.dialects.usage import TEXT_BYTES_PER_TOKEN
from gateway.endings import Ending
from gateway.errors import NotFound, RivergateError, StreamKeyConflict
from gateway.http.admission import Admission, RequestHead
from gateway.http.answer_plan import AnswerPlan
from gateway.http.in_force import InForce
from gateway.http.waiting import WaitingBody
from gateway.observe.trace import Span, Tracing
from gateway.routing.call import Call
from gateway.routing.router import Ask, Route
from gateway.stream.answer_ids import AnswerIds, KnownAnswer
from gateway.stream.hub import Hub
from gateway.stream.production import Production
from gateway.tasks import Tasks

# How many times more tokens a prompt can have than its length suggests: no tokenizer makes more than one of a byte.
DENSEST_PROMPT = TEXT_BYTES_PER_TOKEN


@dataclass(frozen=True, slots=True)
class OpeningParts:
    """The parts of the gateway that an opening asks."""

    in_force: InForce
    admission: Admission
    bank: Bank
    directory: Directory
    hub: Hub
    answer_ids: AnswerIds
    conversation_ids: AnswerIds
    tasks: Tasks
    tracing: Tracing
    book: Callable[[Record, Lease | None, Span], None]  # writes a completion that is over to the books


class Opening:
    """One planned answer on its way to be opened."""

    _route: Route
    _call: Call
    _span: Span

    def __init__(self, parts: OpeningParts, plan: AnswerPlan, head: RequestHead) -> None:
        self._parts = parts
        self.plan = plan
        self.head = head
        caller = head.caller
        self._account = None if caller is None else caller.account  # of the key that pays; None in open mode
        self._joined: Production | None = None
        self._lease: Lease | None = None  # the lease on the key's money; None: nobody pays
        self._waiting: WaitingBody | None = None  # the share of a long body in the memory of those that wait

    @property
    def answers_at_once(self) -> bool:
        """Whether the bank and the directory answer without waiting, so that `admit_at_once` can replace `admit`."""
        parts, account = self._parts, self._account
        if account is not None and not parts.bank.answers_at_once(account):
            return False
        return self.plan.key is None or parts.directory.answers_at_once

    @property
    def joins(self) -> bool:
        """Whether an existing stream is joined, which costs nothing."""
        return self._joined is not None

    def hold(self, waiting: WaitingBody) -> None:
        """Keep this share of the memory, and the body, until an upstream has answered, or `let_go`."""
        self._waiting = waiting

    def let_go(self, failure: RivergateError | None = None) -> None:
        """Forget the body: no further upstream will be asked. Idempotent.

        The parameter is for `Production.when_decided`.
        """
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.close()
            self.plan.request.release()

    # --- prepare

    def prepare(self) -> None:
        """Find the stream under this `X-Stream-Key`; without one find the route, and check the key's models.

        Raises `RivergateError`.
        """
        parts, plan, head = self._parts, self.plan, self.head
        if plan.key is not None:
            self._joined = self._joinable(parts.directory.find_key(head.owner, plan.key))
            if self._joined is not None:
                return  # to join costs nothing, and does not depend on the state of upstreams
        route = self._route = parts.in_force.router.route(
            plan.ask if plan.dialect.keeping is None else self._ask_of_keeper(), clock.monotonic()
        )
        if self._account is not None:
            parts.admission.check_models(head.caller, route, plan.ask.models_field)
        first = route.candidates[0]
        model_id, now = first.model.id, clock.wall_time()
        span = self._span = parts.tracing.begin(
            plan.dialect.operation, model_id, head.headers.get("traceparent"), now
        )
        self._call = Call(
            request_id=head.request_id,
            model_id=model_id,
            dialect=plan.dialect,
            request=plan.request,
            streamed=plan.streamed,
            created=int(now),
            prompt_tokens=plan.request.estimate_prompt_tokens(),
            hold_finish=plan.usage_event == "finish",
            traceparent=span.traceparent,
            wildcard=first.wildcard,
            headers=head.headers,
            query=head.query if plan.dialect.forwards_query else "",
        )

    def work_on_body(self) -> Iterator[None]:
        """The work on a long body for all upstreams that may be asked, in short steps; after `prepare`."""
        if self._joined is None:
            for changes in {id(c): c for each in self._route.candidates if (c := each.endpoint.changes)}.values():
                yield from self.plan.request.look_for_drops(changes)

    def _joinable(self, place: Place) -> Production | None:
        """The stream at this place of the directory, if a new subscriber would get all of it; else None.

        Raises `StreamKeyConflict`, `ServiceUnavailable`.
        """
        known = production_at(place)
        if known is None or not _is_whole(known):
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
        """Do what `admit` does, without waiting; only if `answers_at_once` is true."""
        if self._joined is not None:
            return
        lease = self._reserve()
        assert not isinstance(lease, Awaitable)
        self._lease = lease
        if self.plan.key is None:
            return
        try:
            # No other request can have claimed the key since `find_key`.
            self._parts.directory.claim(self.head.owner, self.plan.key)
        except BaseException:
            self._give_back()
            raise

    def _reserve(self) -> Lease | Awaitable[Lease] | None:
        """Reserve what the answer may cost at the most expensive candidate; None in open mode.

        The prompt has to be paid for as it is estimated. What it costs at its densest is reserved as far as there is
        money: so of many requests at the same time only the last one can cost more than there was.
        """
        account = self._account
        if account is None:
            return None
        if account.balance is not None and len(self._route.candidates) > 1:
            self._keep_to_free(account)
        models = [candidate.model for candidate in self._route.candidates]
        prompt = max(microusd(self._call.prompt_tokens, model.input_usd_per_mtok) for model in models)
        answer = max(microusd(self.plan.max_tokens, model.output_usd_per_mtok) for model in models)
        quote = Quote(prompt, prompt + answer, DENSEST_PROMPT * prompt + answer)
        return self._parts.bank.admit(account, quote, clock.monotonic())

    def _keep_to_free(self, account: Account) -> None:
        """Leave out the upstreams that cost money, if the key has not enough of it and others cost nothing."""
        route, available = self._route, account.available or 0
        free = [each for each in route.candidates if each.prices is not None and not any(each.prices)]
        prompt = self._call.prompt_tokens
        costs = [microusd(prompt, each.model.input_usd_per_mtok) for each in route.candidates]
        if not free or not prompt + self.plan.max_tokens or 0 < available >= max(costs):
            return
        self._route = route.only(free)
        self._call = self._call._replace(model_id=free[0].model.id, wildcard=free[0].wildcard)

    def _on_claimed(self, place: Place) -> None:
        """Keep the claimed stream key; if another request was quicker, join its stream instead."""
        self._joined = self._joinable(place)
        if self._joined is not None:
            self._give_back()

    def _give_back(self) -> None:
        """Give back the money, the place and the stream key of a request that opens no stream."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.close()
        if self.plan.key is not None:
            self._parts.directory.release(self.head.owner, self.plan.key)

    # --- open

    def open(self) -> Production:
        """Start the completion and return it, or return the stream that is joined."""
        plan = self.plan
        if self._joined is not None:
            if plan.policy.on_last_reader == "drain":
                self._joined.stream.adopt(plan.policy)  # the client was promised that the stream runs on
            self.let_go()
            return self._joined
        try:
            completion = self._streamed()
            completion.start()
        except BaseException:
            self._give_back()
            self.let_go()
            raise
        try:
            self._parts.hub.add_stream(completion)
        except BaseException:
            completion.stop(Ending.INTERNAL_ERROR)
            raise
        if self._waiting is not None:
            completion.when_decided(self.let_go)
        if plan.dialect.keeping is not None:
            completion.when_decided(partial(self._on_decided, completion))
        return completion

    def open_whole(self) -> WholeCompletion:
        """Start a completion that answers as one document, and return it."""
        parts = self._parts
        try:
            completion = WholeCompletion(
                self._call,
                self._route,
                settle=self._settle(),
                tasks=parts.tasks,
                lease=self._lease,
                on_over=parts.hub.end,
            )
            completion.start()
        except BaseException:
            self._give_back()
            self.let_go()
            raise
        try:
            parts.hub.add(completion)
        except BaseException:
            completion.stop(Ending.INTERNAL_ERROR)
            raise
        return completion

    def on_whole(self, first: bytes, completion: WholeCompletion) -> None:
        """Remember a whole answer that begins with these bytes, by its id."""
        usage = completion.answer.facts().usage or {}
        note = self._remember(first, completion.answer.headers().get("x-upstream"), "")
        note(usage.get("total_tokens", 0))

    def _on_decided(self, completion: StreamedCompletion, failure: RivergateError | None) -> None:
        if failure is None:
            frames = completion.stream.log.read(0, 1)
            first, upstream = frames[0] if frames else b"", completion.headers().get("x-upstream")
            note = self._remember(first, upstream, completion.id)
            completion.when_settled(lambda record: note(record.usage.total_tokens if record.usage else 0))

    def _remember(self, first: bytes, upstream: str | None, stream_id: str) -> Callable[[int], None]:
        """Remember an answer, and its conversation; returns what to call with its tokens, once they are known."""
        keeping, parts, owner = self.plan.dialect.keeping, self._parts, self.head.owner
        ids: list[tuple[AnswerIds, str]] = []
        if keeping is None or upstream is None:
            return partial(_note, ids, owner)
        known = KnownAnswer(upstream, self._call.model_id, stream_id, self._call.prompt_tokens)
        if (answer_id := keeping.answer_id(first)) is not None:
            ids.append((parts.answer_ids, answer_id))
        conversations = {self.plan.request.conversation(), keeping.conversation_id(first)} - {None}
        ids += [(parts.conversation_ids, name) for name in conversations if name]
        for known_ids, name in ids:
            known_ids.remember(owner, name, known)
        return partial(_note, ids, owner)

    def _ask_of_keeper(self) -> Ask:
        """What is asked for: of the upstream that keeps what the request goes on from, and of no other.

        A conversation that did not come up before may be kept by any upstream. Raises `NotFound`.
        """
        ask, request, parts, owner = self.plan.ask, self.plan.request, self._parts, self.head.owner
        if (name := request.previous_answer()) is not None:
            what, field, known = "response", "previous_response_id", parts.answer_ids.find(owner, name)
        elif (name := request.conversation()) is not None and (kept := parts.conversation_ids.find(owner, name)):
            what, field, known = "conversation", "conversation", kept
        else:
            return ask
        if known is None or known.upstream not in parts.in_force.router.upstreams:
            raise NotFound(f"there is no {what} {name[:100]!r} (any more)", param=field)
        request.add_context(known.tokens)
        only = {"providers": [known.upstream], "allow_fallbacks": False}
        return ask._replace(options=ask.options.model_copy(update=only))

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
                on_over=parts.hub.end,
            ),
            limits=parts.in_force.config.stream,
            settle=self._settle(),
            tasks=parts.tasks,
        )

    def _settle(self) -> Settle:
        """The function that takes the record of the answer. It must not hold the opening, which holds the prompt."""
        book, lease, span = self._parts.book, self._lease, self._span
        return lambda record: book(record, lease, span)


def _note(ids: list[tuple[AnswerIds, str]], owner: str, tokens: int) -> None:
    """Note how many tokens an answer has, which its upstream reads again for a request that goes on from it."""
    for known_ids, name in ids:
        known_ids.on_settled(owner, name, tokens)


def _is_whole(known: Production) -> bool:
    """Whether a new subscriber would get the whole answer: it did not break off, and its beginning is still there."""
    return known.stream.ending in (None, Ending.COMPLETED) and known.stream.log.first_seq == 0
