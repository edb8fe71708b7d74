"""Pure: the last requests that failed, each a row with its reason and its attempts, never with content.

In: completions that have ended by a fault, and requests that were refused by the fault of the gateway or an upstream.
Out: rows for pages. The invariant: at most `MAX_FAILURES` rows are kept, and a request has one.
"""

from typing import Any, NamedTuple

from gateway.completion.answer import Record
from gateway.routing.attempt_record import AttemptRecord

MAX_FAILURES = 100


class FailedRequest(NamedTuple):
    """A request that failed.

    `at`: Unix seconds of its end. `outcome`: the word of its ending, or the code of the error if no completion had
    begun. `status`: of the error that the client got; None: it got none, or within a stream. `reason`: in our own
    words. `key`: the id of its API key; None: it had none.
    """

    at: float
    request_id: str
    outcome: str
    status: int | None = None
    reason: str | None = None
    model: str | None = None
    upstream: str | None = None
    key: str | None = None
    stream: str | None = None
    ttft_ms: float | None = None
    duration_ms: float | None = None
    attempts: tuple[AttemptRecord, ...] = ()

    @classmethod
    def of_completion(cls, record: Record, key: str | None, at: float) -> "FailedRequest":
        """The row of a completion. `key`: the id of the key that pays."""
        return cls(
            at=at,
            request_id=record.request_id,
            outcome=record.ending.value,
            reason=record.error,
            model=record.model_id,
            upstream=record.upstream,
            key=key,
            stream=record.id,
            ttft_ms=record.ttft_ms,
            duration_ms=record.duration_ms,
            attempts=record.attempts,
        )


class RecentFailures:
    """The rows. `count` tells whether one has changed."""

    def __init__(self) -> None:
        self.count = 0  # how often a row was written; the number of the newest row
        self._rows: dict[str, tuple[int, FailedRequest]] = {}  # by the id of the request, the newest last

    def add(self, failed: FailedRequest) -> bool:
        """Take a failed request, or more about one that was taken before; returns whether it is a new one."""
        known = self._rows.pop(failed.request_id, None)
        if known is not None and known[1].stream is not None and failed.stream is None:
            failed = known[1]._replace(status=failed.status)  # the client of the completion was answered
        self.count += 1
        self._rows[failed.request_id] = self.count, failed
        if len(self._rows) > MAX_FAILURES:
            del self._rows[next(iter(self._rows))]
        return known is None

    def as_json(self, after: int, *, with_keys: bool) -> list[dict[str, Any]]:
        """The rows behind number `after`, the newest first. `with_keys`: they tell whose the requests were."""
        rows = [_row(number, failed) for number, failed in self._rows.values() if number > after]
        for row in rows:
            if not with_keys:
                del row["key"]
        return sorted(rows, key=lambda row: -row["number"])


def _row(number: int, failed: FailedRequest) -> dict[str, Any]:
    attempts = [_attempt(attempt) for attempt in failed.attempts]
    return {"number": number, **failed._asdict(), "at": round(failed.at, 3), "attempts": attempts}


def _attempt(attempt: AttemptRecord) -> dict[str, Any]:
    return {
        "upstream": attempt.upstream,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "reason": attempt.reason,
        "hedge": attempt.hedge,
        "start_ms": attempt.start_ms,
    }
