"""Pure: the watch over the silence between two events of a stream.

In: a count that grows with every event, and the time. Out: when to look again, or that the silence has lasted too
long. The watch looks now and then, so that no token has to reset a timer.
"""

CHECKS = 8  # looks per limit: a stall is noticed at most an eighth of the limit late
LONGEST_WAIT = 1.0  # seconds between two looks; the gap between two tokens is sampled at each
SHORTEST_WAIT = 0.001  # seconds: the grain of the event loop's timers
_NO_COUNT = -1  # differs from every count, so that the next look takes it for a new event


class IdleWatch:
    """The watch of one attempt. `limit`: seconds without an event that are a stall."""

    __slots__ = ("_count", "_limit", "_quiet_since")

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._count = _NO_COUNT
        self._quiet_since = 0.0

    def restart(self) -> None:
        """Let the silence begin with the next look, and ignore the time before."""
        self._count = _NO_COUNT

    def look(self, count: int, now: float) -> float:
        """Seconds until the next look; 0.0 if the silence has reached the limit."""
        if count != self._count:
            self._count, self._quiet_since = count, now
        left = self._quiet_since + self._limit - now
        return max(min(left, self._limit / CHECKS, LONGEST_WAIT), SHORTEST_WAIT) if left > 0 else 0.0
