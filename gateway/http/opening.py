"""Shell: from a request body to a running relay: shared by completions and detached streams."""

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import cast

from aiohttp import web

from gateway import clock
from gateway.access.accounts import Lease
from gateway.access.callers import Caller
from gateway.completion.answer import Settle
from gateway.completion.completion import Plan, StreamedCompletion, UsageEvent
from gateway.completion.meter import OutputLimits
from gateway.completion.purse import microusd
from gateway.config import StreamSettings
from gateway.dialects.chat.request import CheckedRequest, parse
from gateway.dialects.usage import estimate_prompt_tokens
from gateway.endings import Ending
from gateway.errors import InvalidParameter, ServiceUnavailable, StreamKeyConflict
from gateway.http.admission import CALLER, Requester, requester_of
from gateway.http.body import read_body
from gateway.http.context import Context
from gateway.routing.dispatcher import Call
from gateway.routing.options import RoutingOptions
from gateway.routing.options import parse as parse_options
from gateway.routing.router import Ask
from gateway.stream.audience import policy_of

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
        chat = asked.chat
        self.streamed = detached or bool(chat.stream)
        headers = requester.headers
        self._key = _stream_key(headers)
        if self._key is not None and not self.streamed:
            raise InvalidParameter("X-Stream-Key is for requests with stream: true", param="X-Stream-Key")
        self._fingerprint = hashlib.sha256(asked.content).digest() if self._key is not None else b""
        routing, field, budget_ms = chat.routing_options(), chat.routing_field(), _budget_ms(headers)
        wants_usage = chat.wants_usage() or bool(routing)
        self._usage_event = _usage_event(headers, context.config.stream.usage_event, wants_usage=wants_usage)
        options = parse_options(routing, field)
        self._output = _output_limits(context.config.stream, options)
        wanted = chat.stream_policy()
        self._policy = policy_of(
            context.config.stream,
            detached=detached,
            on_last_reader=wanted.on_last_reader,
            abort_grace_ms=wanted.abort_grace_ms,
        )
        self._joined = self._known()
        if self._joined is None:  # else it costs nothing, and whatever happens to upstreams now does not matter to it
            ask = Ask(chat.model_ids(), options, self.streamed, budget_ms, chat.models_field(), field)
            self._prepare(asked, ask)

    def _prepare(self, asked: CheckedRequest, ask: Ask) -> None:
        """Find the upstreams of a new answer, and ask whether this key may have it."""
        chat, body, headers = asked.chat, asked.body, self.requester.headers
        if self.streamed:
            body["stream"] = True
        context, now = self._context, clock.monotonic()
        self.route = context.router.route(ask, now)
        self._admit(ask.models_field, now)
        model_id = self.route.candidates[0].model.id
        self.span = context.tracing.begin(f"chat {model_id}", headers.get("traceparent"), clock.wall_time())
        self._max_tokens = chat.max_output_tokens() or RESERVED_TOKENS
        self.call = Call(
            request_id=self.requester.request_id,
            model_id=model_id,
            body=body,
            streamed=self.streamed,
            created=int(clock.wall_time()),
            prompt_tokens=estimate_prompt_tokens(body),
            hold_finish=self._usage_event == "finish",
            traceparent=self.span.traceparent,
        )

    def _known(self) -> StreamedCompletion | None:
        """The relay that runs or ran under the same `X-Stream-Key`, if a new reader gets all of it."""
        if self._key is None:
            return None
        known = self._context.hub.find_key(self.caller.id, self._key)
        if not isinstance(known, StreamedCompletion) or not _whole(known):
            return None
        if known.fingerprint != self._fingerprint:
            raise StreamKeyConflict("X-Stream-Key is in use for another request body", param="X-Stream-Key")
        return known

    def _admit(self, models_field: str, now: float) -> None:
        """Whether this key may ask this now. Raises `PermissionDenied`, `RateLimited`, `ServiceUnavailable`."""
        account = self.caller.account
        if account is None:
            return
        for candidate in self.route.candidates:
            account.check_model(candidate.model.id, models_field)
        if self._context.accounts.failure is not None:
            raise ServiceUnavailable("the ledger cannot be written; try again later", retry_after=5)
        account.admit(now)

    @property
    def joins(self) -> bool:
        """Whether it costs nothing, since the answer is there or on its way."""
        return self._joined is not None

    def lease(self) -> Lease | None:
        """Reserve what the answer may cost, at the dearest of the upstreams. Raises `InsufficientQuota`."""
        account = self.caller.account
        if account is None:
            return None
        models = [candidate.model for candidate in self.route.candidates]
        prompt = max(microusd(self.call.prompt_tokens, model.input_usd_per_mtok) for model in models)
        answer = max(microusd(self._max_tokens, model.output_usd_per_mtok) for model in models)
        return account.lease(prompt, prompt + answer)

    def settled(self, lease: Lease | None) -> Settle:
        """Where the record goes when the answer is over."""
        settle, span = self._context.settle, self.span  # not the opening, which holds the prompt
        return lambda record: settle(record, lease, span)

    def open(self) -> StreamedCompletion:
        """The running relay: a new one, or the one that runs or ran under the same `X-Stream-Key`."""
        if self._joined is not None:
            if self._policy.on_last_reader == "drain":
                self._joined.stream.adopt(self._policy)  # it was promised to whoever asks now
            return self._joined
        context = self._context
        lease = self.lease()
        relay = StreamedCompletion(
            self.call,
            self.route,
            Plan(
                owner=self.caller.id,
                policy=self._policy,
                usage_event=self._usage_event,
                key=self._key,
                fingerprint=self._fingerprint,
                output=self._output,
                lease=lease,
            ),
            limits=context.config.stream,
            settle=self.settled(lease),
            tasks=context.tasks,
        )
        context.hub.add_stream(relay)
        return relay


def _whole(relay: StreamedCompletion) -> bool:
    """Whether a new reader would get all of it: it did not break off, and its beginning is still there."""
    return relay.stream.ending in (None, Ending.COMPLETED) and relay.stream.log.first_seq == 0


async def opening_of(request: web.Request, context: Context, *, detached: bool = False) -> Opening:
    """Read and check a request. Raises `ClientError`."""
    asked = parse(await read_body(request))
    return Opening(requester_of(request), request[CALLER], context, asked, detached=detached)


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
