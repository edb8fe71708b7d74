"""Pure: the plan of an answer, made of a checked request, its headers and the settings in force.

In: values. Out: an `AnswerPlan`, or a `ClientError` that names the field or header at fault. No upstream, key or
stream is asked for anything.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple, cast

from gateway.completion.meter import OutputLimits
from gateway.completion.streamed import UsageEvent
from gateway.config import StreamSettings
from gateway.dialects.dialect import CheckedRequest, Dialect, DialectRequest
from gateway.errors import InvalidParameter
from gateway.routing.options import NO_OPTIONS, RoutingOptions
from gateway.routing.options import parse as parse_options
from gateway.routing.router import Ask
from gateway.stream.audience import Policy, policy_of

MAX_KEY_CHARACTERS = 256  # the longest `X-Stream-Key`
# What is reserved for each choice of an answer without a limit of its length. A stream reserves more as it grows. A
# whole answer comes at once, so what it may cost is reserved before: the longest answer of most models.
STREAM_TOKENS, WHOLE_TOKENS = 1024, 16_384
MAX_BUDGET_DIGITS = 8  # digits of `X-Max-TTFT-Ms`: about a day
_ACTED_ON = ("X-Stream-Key", "X-Usage-Event", "X-Max-TTFT-Ms")  # headers that change a plan
_USAGE_EVENTS = ("auto", "event", "finish", "none")


class AnswerPlan(NamedTuple):
    """What one request asks for. A tuple, since a frozen dataclass would take 80 more bytecodes for each request."""

    dialect: Dialect
    request: DialectRequest  # holds the body that goes upstream
    streamed: bool
    ask: Ask
    max_tokens: int  # the tokens of the answer for which money is reserved
    usage_event: UsageEvent
    output: OutputLimits
    policy: Policy
    key: str | None  # the X-Stream-Key
    fingerprint: bytes  # the digest of the request, so that its key cannot be used for another one; b"" without a key


def plan_answer(
    headers: Mapping[str, str], checked: CheckedRequest, limits: StreamSettings, *, detached: bool = False
) -> AnswerPlan:
    """The plan of a request with these headers. Raises `ClientError`.

    `detached`: the answer is streamed, and begins without a subscriber.
    """
    request = checked.request
    streamed = detached or request.streamed
    if streamed and not checked.dialect.streams:
        raise InvalidParameter(f"an answer of {checked.dialect.path} cannot be streamed", param="stream")
    key = _stream_key(headers, streamed=streamed)
    routing, field, budget_ms = request.routing_options(), request.routing_field(), _budget_ms(headers)
    wants_usage = request.wants_usage() or bool(routing)
    usage_event = _usage_event(headers, limits.usage_event, wants_usage=wants_usage)
    options = parse_options(routing, field)
    wanted = request.stream_policy()
    return AnswerPlan(
        dialect=checked.dialect,
        request=request,
        streamed=streamed,
        ask=Ask(
            request.model_ids(),
            options,
            streamed,
            budget_ms,
            request.models_field(),
            field,
            checked.dialect.speaks,
        ),
        max_tokens=request.max_output_tokens(STREAM_TOKENS if streamed else WHOLE_TOKENS),
        usage_event=usage_event,
        output=_output_limits(limits, options),
        policy=policy_of(
            limits, detached=detached, on_last_reader=wanted.on_last_reader, abort_grace_ms=wanted.abort_grace_ms
        ),
        key=key,
        fingerprint=_fingerprint(checked) if key is not None else b"",
    )


def asks_nothing(headers: Mapping[str, str]) -> bool:
    """Whether these headers leave the plan of an answer as it is without them."""
    return not (any(name in headers for name in _ACTED_ON) or _is_auriko(headers))


@dataclass(frozen=True, slots=True)
class PlainPlans:
    """The plans of streamed answers to requests that ask for a model and nothing else, under one configuration."""

    limits: StreamSettings
    output: OutputLimits
    policy: Policy
    usage_events: tuple[UsageEvent, UsageEvent]  # for a client that has not asked for its usage, and for one that has

    @classmethod
    def of(cls, limits: StreamSettings) -> "PlainPlans":
        """The plans under these limits."""
        unasked, asked = (_usage_event({}, limits.usage_event, wants_usage=wants) for wants in (False, True))
        return cls(limits, _output_limits(limits, NO_OPTIONS), policy_of(limits), (unasked, asked))

    def plan(self, checked: CheckedRequest, model_id: str) -> AnswerPlan:
        """What `plan_answer` makes of a request whose headers `asks_nothing` of, and whose `only_model` is this."""
        request = checked.request
        return AnswerPlan(
            checked.dialect,
            request,
            True,
            _plain_ask(model_id, checked.dialect.speaks),
            request.max_output_tokens(STREAM_TOKENS),
            self.usage_events[request.wants_usage()],
            self.output,
            self.policy,
            None,
            b"",
        )


@lru_cache(maxsize=128)
def _plain_ask(model_id: str, speaks: str) -> Ask:
    return Ask((model_id,), NO_OPTIONS, options_field="routing", speaks=speaks)


def _fingerprint(checked: CheckedRequest) -> bytes:
    """The digest by which two requests under one `X-Stream-Key` are told apart."""
    digest = checked.digest or hashlib.sha256(checked.content).digest()
    return hashlib.sha256(checked.dialect.name.encode() + b"\0" + digest).digest()


def _stream_key(headers: Mapping[str, str], *, streamed: bool) -> str | None:
    key = headers.get("X-Stream-Key")
    if key is not None and not streamed:
        raise InvalidParameter("X-Stream-Key is for requests with stream: true", param="X-Stream-Key")
    if key is not None and not (0 < len(key) <= MAX_KEY_CHARACTERS and key.isprintable()):
        message = f"X-Stream-Key must have 1 to {MAX_KEY_CHARACTERS} printable characters"
        raise InvalidParameter(message, param="X-Stream-Key")
    return key


def _usage_event(headers: Mapping[str, str], default: str, *, wants_usage: bool) -> UsageEvent:
    """How the client is told its usage; `auto` becomes what suits this client."""
    policy = headers.get("X-Usage-Event", default)
    if policy not in _USAGE_EVENTS:
        raise InvalidParameter(
            f"X-Usage-Event must be one of {', '.join(_USAGE_EVENTS)}, not {policy[:50]!r}", param="X-Usage-Event"
        )
    if policy != "auto":
        return cast(UsageEvent, policy)
    return "event" if wants_usage or _is_auriko(headers) else "none"


def _is_auriko(headers: Mapping[str, str]) -> bool:
    return headers.get("User-Agent", "").lower().startswith("auriko")


def _output_limits(limits: StreamSettings, options: RoutingOptions) -> OutputLimits:
    cost = options.max_cost_usd
    return OutputLimits(
        tokens=limits.max_output_tokens,
        text_bytes=limits.max_output_bytes,
        cost_usd=None if cost is None else Decimal(str(cost)),
    )


def _budget_ms(headers: Mapping[str, str]) -> int | None:
    """The TTFT budget in the header of a client that cannot send `routing`; 0: no budget, None: no such header."""
    text = headers.get("X-Max-TTFT-Ms")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_BUDGET_DIGITS):
        message = f"X-Max-TTFT-Ms must be a whole number of milliseconds, not {text[:50]!r}"
        raise InvalidParameter(message, param="X-Max-TTFT-Ms")
    return int(text)
