"""Shell: from a request body to a running relay: shared by completions and detached streams."""

import hashlib
from collections.abc import Awaitable, Mapping
from decimal import Decimal
from typing import cast

from aiohttp import web

from gateway import clock
from gateway.access.accounts import Quote
from gateway.access.bank import Lease
from gateway.access.callers import Caller
from gateway.cluster.directory import Place, production_at
from gateway.completion.answer import Settle
from gateway.completion.meter import OutputLimits
from gateway.completion.spending import microusd
from gateway.completion.streamed import Plan, StreamedCompletion, UsageEvent
from gateway.config import StreamSettings
from gateway.dialects.dialect import CheckedRequest, Dialect, check
from gateway.endings import Ending
from gateway.errors import InvalidParameter, StreamKeyConflict
from gateway.http.admission import CALLER, Requester, requester_of
from gateway.http.body import read_body
from gateway.http.context import Context
from gateway.routing.dispatcher import Call
from gateway.routing.options import RoutingOptions
from gateway.routing.options import parse as parse_options
from gateway.routing.router import Ask
from gateway.stream.stream import policy_of

MAX_KEY_CHARACTERS = 256  # of X-Stream-Key
RESERVED_TOKENS = 1024  # of an answer whose length the client does not limit; more is reserved as it grows
MAX_BUDGET_DIGITS = 8  # of X-Max-TTFT-Ms: a day
_USAGE_EVENTS = ("auto", "event", "finish", "none")


class Opening:
    """One checked request: what to ask of whom, for whom."""

    def __init__(
        self, requester: Requester, caller: Caller, context: Context, asked: CheckedRequest, *, detached: bool = False
    ) -> None:
        self._context = context
        self.requester = requester
        self.caller = caller
        request = asked.request
        self.streamed = detached or request.streamed
        headers = requester.headers
        self._key = _stream_key(headers)
        if self._key is not None and not self.streamed:
            raise InvalidParameter("X-Stream-Key is for requests with stream: true", param="X-Stream-Key")
        self._fingerprint = _fingerprint(asked) if self._key is not None else b""
        routing, field, budget_ms = request.routing_options(), request.routing_field(), _budget_ms(headers)
        wants_usage = request.wants_usage() or bool(routing)
        self._usage_event = _usage_event(headers, context.config.stream.usage_event, wants_usage=wants_usage)
        options = parse_options(routing, field)
        self._output = _output_limits(context.config.stream, options)
        wanted = request.stream_policy()
        self._policy = policy_of(
            context.config.stream,
            detached=detached,
            on_last_reader=wanted.on_last_reader,
            abort_grace_ms=wanted.abort_grace_ms,
        )
        self.lease: Lease | None = None  # of the key's money; None: nobody pays
        self._joined: StreamedCompletion | None = None
        if self._key is not None:
            self._joined = self._joinable(context.directory.find_key(caller.id, self._key))
        if self._joined is None:  # else it costs nothing, and whatever happens to upstreams now does not matter to it
            ask = Ask(request.model_ids(), options, self.streamed, budget_ms, request.models_field(), field)
            self._prepare(asked, ask)

    def _prepare(self, asked: CheckedRequest, ask: Ask) -> None:
        """Find the upstreams of a new answer, and ask whether this key may have it."""
        dialect, request, headers = asked.dialect, asked.request, self.requester.headers
        context, now = self._context, clock.monotonic()
        self.route = context.router.route(ask, now)
        if (account := self.caller.account) is not None:
            for candidate in self.route.candidates:
                account.check_model(candidate.model.id, ask.models_field)
        model_id = self.route.candidates[0].model.id
        name = f"{dialect.operation} {model_id}"
        self.span = context.tracing.begin(name, headers.get("traceparent"), clock.wall_time())
        self._max_tokens = request.max_output_tokens() or RESERVED_TOKENS
        self.call = Call(
            request_id=self.requester.request_id,
            model_id=model_id,
            dialect=dialect,
            request=request,
            streamed=self.streamed,
            created=int(clock.wall_time()),
            prompt_tokens=request.estimate_prompt_tokens(),
            hold_finish=self._usage_event == "finish",
            traceparent=self.span.traceparent,
        )

    def _joinable(self, place: Place) -> StreamedCompletion | None:
        """The completion at this place, if a new subscriber gets all of it.

        Raises `StreamKeyConflict`, `ServiceUnavailable`.
        """
        known = production_at(place)
        if not isinstance(known, StreamedCompletion) or not _whole(known):
            return None
        if known.fingerprint != self._fingerprint:
            raise StreamKeyConflict("X-Stream-Key is in use for another request body", param="X-Stream-Key")
        return known

    @property
    def joins(self) -> bool:
        """Whether it costs nothing, since the answer is there or on its way."""
        return self._joined is not None

    async def admit(self) -> None:
        """Ask the bank for the key's place and money, and the directory for the stream key; `open` comes next.

        Raises `RateLimited`, `InsufficientQuota`, `ServiceUnavailable`, `StreamKeyConflict`.
        """
        if self._joined is not None:
            return
        lease = self._reserve()
        self.lease = await lease if isinstance(lease, Awaitable) else lease
        if self._key is None:
            return
        try:
            place = self._context.directory.claim(self.caller.id, self._key)
            self._on_claimed(await place if isinstance(place, Awaitable) else place)
        except BaseException:
            self._give_back()
            raise

    def admit_at_once(self) -> None:
        """The same where `answers_at_once` says that nothing has to be waited for."""
        if self._joined is not None:
            return
        lease = self._reserve()
        assert not isinstance(lease, Awaitable)
        self.lease = lease
        if self._key is not None:  # nobody can have claimed it since `find_key`
            self._context.directory.claim(self.caller.id, self._key)

    def _reserve(self) -> Lease | Awaitable[Lease] | None:
        """Reserve what the answer may cost at the dearest of the upstreams."""
        account = self.caller.account
        if account is None:
            return None
        models = [candidate.model for candidate in self.route.candidates]
        prompt = max(microusd(self.call.prompt_tokens, model.input_usd_per_mtok) for model in models)
        answer = max(microusd(self._max_tokens, model.output_usd_per_mtok) for model in models)
        return self._context.bank.admit(account, Quote(prompt, prompt + answer), clock.monotonic())

    def _on_claimed(self, place: Place) -> None:
        """The stream key is ours, or another request was quicker, and its stream is joined."""
        self._joined = self._joinable(place)
        if self._joined is not None:
            self._give_back()

    def _give_back(self) -> None:
        """No stream comes of this request: its money, its place and its stream key are free again."""
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.close()
        if self._key is not None:
            self._context.directory.release(self.caller.id, self._key)

    def settled(self) -> Settle:
        """Where the record goes when the answer is over."""
        settle, lease, span = self._context.settle, self.lease, self.span  # not the opening, which holds the prompt
        return lambda record: settle(record, lease, span)

    def open(self) -> StreamedCompletion:
        """The running relay: a new one, or the one that runs or ran under the same `X-Stream-Key`."""
        if self._joined is not None:
            if self._policy.on_last_reader == "drain":
                self._joined.stream.adopt(self._policy)  # it was promised to whoever asks now
            return self._joined
        context = self._context
        try:
            relay = self._completion()
            relay.start()
        except BaseException:
            self._give_back()
            raise
        context.hub.add_stream(relay)
        return relay

    def _completion(self) -> StreamedCompletion:
        context = self._context
        return StreamedCompletion(
            self.call,
            self.route,
            Plan(
                owner=self.caller.id,
                policy=self._policy,
                usage_event=self._usage_event,
                key=self._key,
                fingerprint=self._fingerprint,
                output=self._output,
                lease=self.lease,
            ),
            limits=context.config.stream,
            settle=self.settled(),
            tasks=context.tasks,
        )


def _whole(relay: StreamedCompletion) -> bool:
    """Whether a new reader would get all of it: it did not break off, and its beginning is still there."""
    return relay.stream.ending in (None, Ending.COMPLETED) and relay.stream.log.first_seq == 0


async def opening_of(request: web.Request, context: Context, dialect: Dialect, *, detached: bool = False) -> Opening:
    """Read, check and admit a request. Raises `RivergateError`."""
    asked = check(dialect, await read_body(request))
    opening = Opening(requester_of(request), request[CALLER], context, asked, detached=detached)
    await opening.admit()
    return opening


def answers_at_once(context: Context, caller: Caller, headers: Mapping[str, str]) -> bool:
    """Whether the bank and the directory need no waiting for a request of this caller."""
    if caller.account is not None and not context.bank.answers_at_once(caller.account):
        return False
    return context.directory.answers_at_once or "X-Stream-Key" not in headers


def _fingerprint(asked: CheckedRequest) -> bytes:
    """What tells two requests under one `X-Stream-Key` apart."""
    return hashlib.sha256(asked.dialect.name.encode() + b"\0" + asked.content).digest()


def _stream_key(headers: Mapping[str, str]) -> str | None:
    key = headers.get("X-Stream-Key")
    if key is not None and not (0 < len(key) <= MAX_KEY_CHARACTERS and key.isprintable()):
        message = f"X-Stream-Key must have 1 to {MAX_KEY_CHARACTERS} printable characters"
        raise InvalidParameter(message, param="X-Stream-Key")
    return key


def _usage_event(headers: Mapping[str, str], default: str, *, wants_usage: bool) -> UsageEvent:
    """The usage policy of DESIGN.md section 5, `auto` resolved for this client."""
    policy = headers.get("X-Usage-Event", default)
    if policy not in _USAGE_EVENTS:
        raise InvalidParameter(
            f"X-Usage-Event must be one of {', '.join(_USAGE_EVENTS)}, not {policy[:50]!r}", param="X-Usage-Event"
        )
    if policy != "auto":
        return cast(UsageEvent, policy)
    auriko = headers.get("User-Agent", "").lower().startswith("auriko")
    return "event" if wants_usage or auriko else "none"


def _output_limits(limits: StreamSettings, options: RoutingOptions) -> OutputLimits:
    cost = options.max_cost_usd
    return OutputLimits(
        tokens=limits.max_output_tokens,
        text_bytes=limits.max_output_bytes,
        cost_usd=None if cost is None else Decimal(str(cost)),
    )


def _budget_ms(headers: Mapping[str, str]) -> int | None:
    """The TTFT budget of a client that cannot send `routing` (DESIGN.md section 5); 0 is none."""
    text = headers.get("X-Max-TTFT-Ms")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_BUDGET_DIGITS):
        message = f"X-Max-TTFT-Ms must be a whole number of milliseconds, not {text[:50]!r}"
        raise InvalidParameter(message, param="X-Max-TTFT-Ms")
    return int(text)
