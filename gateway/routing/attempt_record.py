"""Pure: what is kept of one attempt of a request: its entry while the request runs, and its record for good.

In: an attempt and how it ended. Out: an `AttemptRecord`, which traces, logs and clients are shown.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.routing.catalog import Candidate
from gateway.routing.race import CancelReason
from gateway.upstream.attempt import Attempt
from gateway.upstream.order import Marks


class AttemptRecord(NamedTuple):
    """How one attempt went.

    `outcome`: "running", "won", a `CancelReason`, or the code of the error (`errors.closed_code`). `status`: of the
    HTTP answer; None: there was none. `reason`: why the attempt did not bring the answer, in the gateway's own words,
    so that logs may hold it; None: it runs or has won. `start_ms` counts from the start of the request, the other
    milliseconds from the start of the attempt; None: the attempt did not come so far.
    """

    upstream: str
    outcome: str
    status: int | None
    reason: str | None
    hedge: bool
    start_ms: float
    connect_ms: float | None
    head_ms: float | None
    first_content_ms: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            "upstream": self.upstream,
            "outcome": self.outcome,
            "status": self.status,
            "reason": self.reason,
            "hedge": self.hedge,
            "start_ms": self.start_ms,
            "connect_ms": self.connect_ms,
            "head_ms": self.head_ms,
            "first_content_ms": self.first_content_ms,
        }


@dataclass(slots=True)
class AttemptEntry:
    """One attempt of a dispatcher. `outcome` and `reason` are those of its record; "" and None while it runs."""

    number: int  # its number in the race
    attempt: Attempt
    candidate: Candidate
    hedge: bool
    health_number: int  # its number among the attempts that the candidate's health has counted
    outcome: str = ""
    reason: str | None = None
    was_left: bool = False  # it failed since the gateway waited no longer

    def record(self, began: float, *, won: bool) -> AttemptRecord:
        """How the attempt went so far. `began`: when its request did. `won`: it is the answer."""
        marks = self.attempt.marks
        running = "won" if won else "running"
        return AttemptRecord(
            upstream=self.attempt.upstream,
            outcome=self.outcome or running,
            status=marks.status,
            reason=self.reason,
            hedge=self.hedge,
            start_ms=round((marks.started - began) * 1000, 3),
            connect_ms=_since_start(marks, marks.connected),
            head_ms=_since_start(marks, marks.head),
            first_content_ms=_since_start(marks, marks.first_content),
        )

    def tps(self, now: float) -> float | None:
        """Tokens a second of a stream after its first content; None if there were too few to measure by."""
        first_content = self.attempt.marks.first_content
        if first_content is None:
            return None
        usage = self.attempt.usage(0)
        tokens = self.attempt.counts.events if usage.estimated else usage.completion_tokens
        seconds = now - first_content
        return (tokens - 1) / seconds if tokens > 1 and seconds > 0 else None

    def waited(self, reason: CancelReason, winner: "AttemptEntry | None", now: float) -> float | None:
        """Seconds for which the content of a stream was waited for; None if the end says nothing about its speed."""
        started = self.attempt.marks.started
        if reason is CancelReason.TIMED_OUT:
            return now - started
        if reason is CancelReason.LOST and winner is not None and not self.hedge:
            # The attempt counts as slow only for the wait before the hedge; the time after that is the hedge's.
            return winner.attempt.marks.started - started
        return None


def _since_start(marks: Marks, at: float | None) -> float | None:
    return None if at is None else round((at - marks.started) * 1000, 3)
