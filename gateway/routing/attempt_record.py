"""Pure: the record of one attempt, as clients, logs and pages are told of it.

The invariant: no field holds a secret, content, or a word of an upstream.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AttemptRecord:
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
