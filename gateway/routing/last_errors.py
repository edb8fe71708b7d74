"""Pure: the last errors of each upstream: failures of one kind are one row, with their number and their last time.

In: failed attempts. Out: rows for pages. The invariant: an upstream has at most `MAX_ROWS` rows, the newest ones.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

MAX_ROWS = 5  # kinds of failure that are kept of one upstream: an upstream rarely fails in more ways at a time


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that failed. `status`: of the upstream's answer; None: it gave none. `reason`: in our own words."""

    upstream: str
    model: str
    outcome: str
    status: int | None
    reason: str
    request_id: str

    @property
    def kind(self) -> tuple[str, str, int | None, str]:
        """What failures that are one row have in common."""
        return self.model, self.outcome, self.status, self.reason


@dataclass(slots=True)
class _Row:
    """The failures of one kind."""

    last: FailedAttempt
    count: int
    at: float

    def as_json(self) -> dict[str, Any]:
        last = self.last
        return {
            "upstream": last.upstream,
            "model": last.model,
            "outcome": last.outcome,
            "status": last.status,
            "reason": last.reason,
            "count": self.count,
            "at": round(self.at, 3),
            "request_id": last.request_id,
        }


class LastErrors:
    """The rows of all upstreams."""

    def __init__(self) -> None:
        self._rows: dict[
            str, dict[tuple[str, str, int | None, str], _Row]
        ] = {}  # by upstream; the newest row is last

    def add(self, failed: FailedAttempt, at: float) -> None:
        """Take a failure at this time, in Unix seconds."""
        rows = self._rows.setdefault(failed.upstream, {})
        row = rows.pop(failed.kind, None)
        rows[failed.kind] = _Row(failed, 1 if row is None else row.count + 1, at)
        if len(rows) > MAX_ROWS:
            del rows[next(iter(rows))]

    def keep(self, upstreams: Collection[str]) -> None:
        """Forget the upstreams that are not among these."""
        self._rows = {name: rows for name, rows in self._rows.items() if name in upstreams}

    def as_json(self) -> list[dict[str, Any]]:
        """The rows, the newest first."""
        rows = [row for rows in self._rows.values() for row in rows.values()]
        return [row.as_json() for row in sorted(rows, key=lambda row: -row.at)]
