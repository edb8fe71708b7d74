"""Pure: the quota of one upstream: how many requests it may run at once, and how many in a minute.

In: the starts and ends of attempts, with the time. Out: how long the next request has to wait. The minute is the last
60 seconds, not one of the clock, so that no two bursts meet at its edge.
"""

from collections import deque

MINUTE = 60.0
NOBODY_KNOWS = 1.0  # seconds to wait for a place: when an answer will end is not known


class Quota:
    """The quota of one upstream, over all of its models; 0 sets no limit."""

    __slots__ = ("_max_concurrency", "_rpm", "_running", "_starts")

    def __init__(self, max_concurrency: int = 0, rpm: int = 0) -> None:
        self._running = 0
        self._starts: deque[float] = deque()
        self.change(max_concurrency, rpm)

    def change(self, max_concurrency: int, rpm: int) -> None:
        """Set other limits; what runs, and what started in the last minute, counts on."""
        self._max_concurrency = max_concurrency
        self._rpm = rpm
        self._starts = deque(self._starts, maxlen=rpm)  # the newest starts: more than `rpm` are never needed

    def wait(self, now: float) -> float:
        """Seconds until one more request may start; 0.0: now."""
        full = 0 < self._max_concurrency <= self._running
        place = NOBODY_KNOWS if full else 0.0
        if 0 < self._rpm <= len(self._starts):
            return max(self._starts[0] + MINUTE - now, place)
        return place

    def on_start(self, now: float) -> None:
        """Count an attempt that starts."""
        self._running += 1
        self._starts.append(now)

    def on_end(self) -> None:
        """Count an attempt that has ended, in whatever way."""
        self._running -= 1
