"""Pure: the history that `rivergate top` draws: asked for once, then continued with the points of snapshots.

In: answers of `/v1/statistics/history` and snapshots. Out: lists of values over the last ten minutes. The invariant:
what is missing between two snapshots is asked for again, never guessed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

POINTS = 120  # of the gateway's fine ring
LEVELS = "▁▂▃▄▅▆▇█"
Values = list[float | None]


class KeptHistory:
    """The points of the last ten minutes, and the last requests that failed."""

    def __init__(self) -> None:
        self.failures: list[dict[str, Any]] = []
        self._fine: dict[str, Any] | None = None
        self._failure_count = -1

    def lacks_points(self, now: Mapping[str, Any]) -> bool:
        """Take the newest point of a snapshot; returns whether the history has to be asked for."""
        fine, point = self._fine, now["point"]
        if fine is None:
            return True
        if not point["running"]:
            return False
        steps = round((point["until"] - fine["until"]) / fine["seconds"])
        if steps == 1:
            for name, values in point.items():
                if isinstance(values, list):
                    fine[name] = [*fine[name], values[0]][-POINTS:]
            fine["until"] = point["until"]
        return bool(steps > 1)

    def lacks_failures(self, now: Mapping[str, Any]) -> bool:
        """Whether requests have failed that are not known here."""
        return bool(now["failures"] != self._failure_count)

    def take_points(self, told: Mapping[str, Any]) -> None:
        """Take an answer of `/v1/statistics/history`."""
        self._fine = dict(told["fine"])

    def take_failures(self, told: Mapping[str, Any]) -> None:
        """Take an answer of `/v1/statistics/failures`."""
        self.failures, self._failure_count = told["data"], told["count"]

    def values(self, name: str) -> Values:
        """The values of the last ten minutes, the oldest first; None: nothing is known of a point."""
        known: Values = [] if self._fine is None else self._fine[name]
        return [None] * (POINTS - len(known)) + known

    def total(self, name: str) -> float:
        """The sum over the last ten minutes."""
        return sum(value or 0 for value in self.values(name))


def spark(values: Sequence[float | None], width: int) -> str:
    """A line of blocks, one for each of at most `width` groups of values: the largest of each group."""
    size = -(-len(values) // max(1, width))
    groups = [values[start : start + size] for start in range(0, len(values), size)]
    highest = [max((value for value in group if value is not None), default=None) for group in groups]
    most = max((value for value in highest if value), default=1.0)
    return "".join(" " if value is None else LEVELS[round(value / most * (len(LEVELS) - 1))] for value in highest)
