"""Pure: the limit of log lines of one kind, so that a flood of events cannot flood the log.

In: events by kind, with the time. Out: whether the line of an event may be written. The invariant: every event is
either allowed or counted among the unwritten ones.
"""

from collections import Counter

BURST = 20  # lines of one kind that a quiet time may save for a bad moment
PER_SECOND = 2.0  # lines of one kind in the long run: what a person can read, and 20 MB of log a day


class LineLimit:
    """A token bucket for each kind of line. The kinds are few, as the statuses of HTTP are."""

    def __init__(self) -> None:
        self._saved: dict[str, tuple[float, float]] = {}  # the lines that a kind may still write, and since when
        self._unwritten: Counter[str] = Counter()

    def allow(self, kind: str, now: float) -> bool:
        """Count an event; return whether its line may be written."""
        saved, at = self._saved.get(kind, (float(BURST), now))
        saved = min(saved + max(now - at, 0.0) * PER_SECOND, float(BURST))
        allowed = saved >= 1.0
        self._saved[kind] = (saved - 1.0 if allowed else saved, now)
        if not allowed:
            self._unwritten[kind] += 1
        return allowed

    def take_unwritten(self) -> dict[str, int]:
        """The events whose lines were not written, by kind, since the last call."""
        unwritten, self._unwritten = dict(self._unwritten), Counter()
        return unwritten
