"""Pure: the last times that breakers opened and closed, with the reason.

In: changes of breakers. Out: rows for pages. The invariant: an upstream has at most `MAX_CHANGES` rows, the newest.
"""

from collections import deque
from collections.abc import Collection
from typing import Any, NamedTuple

MAX_CHANGES = 20  # of one upstream: a breaker that opens again and again does so every few seconds at first


class BreakerChange(NamedTuple):
    """A breaker that has opened or closed. `reason`: the failure that opened it, in our own words."""

    at: float  # Unix seconds
    upstream: str
    model: str
    to: str
    cause: str
    reason: str | None
    seconds: float | None  # until it is tried again

    def as_json(self) -> dict[str, Any]:
        return {**self._asdict(), "at": round(self.at, 3)}


class BreakerHistory:
    """The changes of all breakers. `count`: how many there were, the forgotten ones included."""

    def __init__(self) -> None:
        self.count = 0
        self._changes: dict[str, deque[BreakerChange]] = {}

    def add(self, change: BreakerChange) -> None:
        self.count += 1
        self._changes.setdefault(change.upstream, deque(maxlen=MAX_CHANGES)).append(change)

    def keep(self, upstreams: Collection[str]) -> None:
        """Forget the upstreams that are not among these."""
        self._changes = {name: changes for name, changes in self._changes.items() if name in upstreams}

    def as_json(self) -> list[dict[str, Any]]:
        """The rows, the newest first."""
        found = [change for changes in self._changes.values() for change in changes]
        return [change.as_json() for change in sorted(found, key=lambda change: -change.at)]
