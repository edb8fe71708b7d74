"""Pure: the rate of published events: how many a second each key may publish to one feed."""

from collections import OrderedDict

MAX_OWNERS = 1000  # whose rates are known at once; without keys, an owner is any word that a client sends as a key


class EventLimits:
    """A bucket for each owner, which holds a second's worth of events and fills evenly.

    A body may have more events than are left in the bucket; then the next body waits longer.
    """

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what was left, and when

    def wait(self, owner: str, per_second: int, now: float) -> float:
        """The seconds until the owner may publish; 0.0: now."""
        left = self._left_at(owner, per_second, now)
        return 0.0 if left >= 1.0 - 1e-9 else (1.0 - left) / per_second

    def charge(self, owner: str, count: int, per_second: int, now: float) -> None:
        """Count events that the owner has published."""
        self._left[owner] = (self._left_at(owner, per_second, now) - count, now)
        self._left.move_to_end(owner)
        if len(self._left) > MAX_OWNERS:
            self._left.popitem(last=False)

    def _left_at(self, owner: str, per_second: int, now: float) -> float:
        left, at = self._left.get(owner, (float(per_second), now))
        return min(left + max(now - at, 0.0) * per_second, float(per_second))
