"""Pure: the JSON object that tells of one stream, made of a few facts when somebody asks for it.

The facts are plain values, so that a stream that has ended can be kept as a few bytes (`kept.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.stream.stream import StreamStatistics


class AnswerFacts(NamedTuple):
    """What is told of an answer, as values of JSON; times count from the request. None: it is not known."""

    upstream: str | None = None
    strategy: str | None = None
    first_byte_ms: float | None = None
    first_event_ms: float | None = None
    first_content_ms: float | None = None
    gaps_ms: Mapping[str, float] | None = None
    usage: Mapping[str, Any] | None = None
    cost_usd: float | None = None
    attempts: Sequence[Mapping[str, Any]] = ()


class AnswerProgress(NamedTuple):
    """How far an answer has come; times in milliseconds. None: it has no first content yet.

    `ttft_ms`: from the request to the first content; `upstream_ttft_ms`: from the start of the upstream's attempt.
    """

    tokens: int = 0
    upstream: str | None = None
    ttft_ms: float | None = None
    upstream_ttft_ms: float | None = None


class StreamFacts(NamedTuple):
    """What is told of a stream beside its counts. `created`: Unix seconds; `model`: as the client has named it.

    `dialect`: the name of the dialect in which it is asked and answered.
    """

    created: int
    model: str
    dialect: str
    answer: AnswerFacts


def describe(stream_id: str, state: str, numbers: StreamStatistics, facts: StreamFacts) -> dict[str, Any]:
    """The stream as `GET /v1/streams/{id}` tells it."""
    answer = facts.answer
    return {
        "id": stream_id,
        "object": "stream",
        "created": facts.created,
        "model": facts.model,
        "dialect": facts.dialect,
        "state": state,
        "ending": numbers.ending,
        "readers": numbers.subscribers,
        "readers_total": numbers.subscribers_total,
        "lag_events": numbers.lag_events,
        "lagged_readers": numbers.lagged_subscribers,
        "events": numbers.events,
        "bytes": numbers.bytes,
        "deliveries": numbers.deliveries,
        "sends": numbers.sends,
        "upstream": answer.upstream,
        "routing_strategy": answer.strategy,
        "ttft": {
            "first_byte_ms": answer.first_byte_ms,
            "first_event_ms": answer.first_event_ms,
            "first_content_ms": answer.first_content_ms,
        },
        "inter_token_gap_ms": answer.gaps_ms,
        "usage": answer.usage,
        "cost_usd": answer.cost_usd,
        "attempts": list(answer.attempts),
    }


def answer_headers(answer: AnswerFacts) -> dict[str, str]:
    """The response headers that tell who answered, how fast and at which try; none if nobody has answered."""
    if answer.upstream is None:
        return {}
    return {
        "x-upstream": answer.upstream,
        "x-ttft-ms": f"{answer.first_content_ms or 0:.3f}",
        "x-attempts": str(len(answer.attempts)),
    }
