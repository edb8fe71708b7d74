"""Pure: turns the record of a completion into what the books, the log, the trace and the metrics keep of it."""

from decimal import Decimal

from gateway.access.bank import Lease
from gateway.access.books import UsageRecord
from gateway.completion.answer import Record
from gateway.completion.spending import ceil_microusd
from gateway.observe.metrics import EndedCompletion
from gateway.observe.trace import SpanRecord

_MICRO = Decimal(1_000_000)


def usage(record: Record, lease: Lease | None, now: int) -> UsageRecord:
    """The record as the books have it, in whole micro-dollars; `now` is Unix seconds."""
    used = record.usage
    return UsageRecord(
        id=record.id,
        request_id=record.request_id,
        key_id=lease.key_id if lease else None,
        model=record.model_id,
        upstream=record.upstream,
        ending=record.ending,
        prompt_tokens=used.prompt_tokens if used else None,
        completion_tokens=used.completion_tokens if used else None,
        estimated=bool(used and used.estimated),
        cost_microusd=ceil_microusd((record.cost_usd or 0) * _MICRO),
        hedge_cost_microusd=ceil_microusd(record.hedge_cost_usd * _MICRO),
        ttft_ms=record.ttft_ms,
        duration_ms=record.duration_ms,
        ended_at=now,
    )


def log_fields(record: Record, lease: Lease | None) -> dict[str, object]:
    """The record as a line of the log: counts and reasons, never content."""
    used = record.usage
    return {
        "request_id": record.request_id,
        "stream_id": record.id,
        "key": lease.key_id if lease else None,
        "dialect": record.dialect,
        "streamed": record.streamed,
        "model": record.model_id,
        "upstream": record.upstream,
        "ending": record.ending,
        "error": record.error,
        "ttft_ms": record.ttft_ms,
        "duration_ms": record.duration_ms,
        "prompt_tokens": used.prompt_tokens if used else None,
        "completion_tokens": used.completion_tokens if used else None,
        "usage_estimated": used.estimated if used else None,
        "cost_usd": None if record.cost_usd is None else str(record.cost_usd),
        "hedge_cost_usd": str(record.hedge_cost_usd),
        "strategy": record.strategy,
        "attempts": [f"{attempt.upstream}:{attempt.outcome}" for attempt in record.attempts],
    }


def traced(record: Record) -> SpanRecord:
    """The record as a span."""
    used = record.usage
    attributes: dict[str, str | int | float] = {
        "gen_ai.operation.name": record.operation,
        "gen_ai.request.model": record.model_id,
        "gen_ai.provider.name": record.upstream or "none",
        "rivergate.request_id": record.request_id,
        "rivergate.stream_id": record.id,
        "rivergate.ending": record.ending.value,
        "rivergate.attempts": len(record.attempts),
        "rivergate.strategy": record.strategy,
    }
    if used is not None:
        attributes["gen_ai.usage.input_tokens"] = used.prompt_tokens
        attributes["gen_ai.usage.output_tokens"] = used.completion_tokens
    marks = {f"{attempt.upstream} started": attempt.start_ms / 1000 for attempt in record.attempts}
    if record.ttft_ms is not None:
        marks["first content"] = record.ttft_ms / 1000
    return SpanRecord(attributes, record.error, marks)


def completion(record: Record) -> EndedCompletion:
    """The record as metrics. Its model is an id of the configuration, so that no client can make up labels."""
    used = record.usage
    return EndedCompletion(
        operation=record.operation,
        model=record.wildcard or record.model_id,
        upstream=record.upstream or "",
        ending=record.ending,
        aborted=bool(record.attempts) and record.ending.aborts_upstream,
        ttft=None if record.ttft_ms is None else record.ttft_ms / 1000,
        duration=record.duration_ms / 1000,
        prompt_tokens=used.prompt_tokens if used else None,
        completion_tokens=used.completion_tokens if used else None,
        hedges=sum(attempt.hedge for attempt in record.attempts) if len(record.attempts) > 1 else 0,
        hedge_cost_usd=float(record.hedge_cost_usd),
    )
