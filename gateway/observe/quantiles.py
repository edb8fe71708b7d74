"""Pure: quantiles of recent measurements, in constant memory.

A histogram whose buckets grow by a factor, in which the past fades: a value counts half after `half_life` seconds.
The fading is forward decay: no bucket ages; newer values weigh more, and now and then all weights are scaled down.
"""

import math

GROWTH = 1.08  # from one bucket to the next; a quantile is the middle of a bucket, so it is true within 4 %
_RESCALE_AT = 40.0  # doublings of the weight; a float overflows far beyond


class FadingCount:
    """How many values there were, each counted with the weight that it has now."""

    __slots__ = ("_epoch", "_half_life", "_total")

    def __init__(self, half_life: float = math.inf) -> None:
        self._half_life = half_life
        self._total = 0.0
        self._epoch = 0.0  # the time at which a value weighs one

    def count_one(self, now: float) -> None:
        """Count one more value."""
        weight = self._weight_at(now)  # called before `_total` is read, because the call may scale it
        self._total += weight

    def count(self, now: float) -> float:
        """How many values there are, each counted with its present weight."""
        weight = self._weight_at(now)
        return self._total / weight

    def _weight_at(self, now: float) -> float:
        doublings = (now - self._epoch) / self._half_life
        if doublings > _RESCALE_AT:
            self._scale(2.0 ** -min(doublings, 1000.0))
            self._epoch, doublings = now, 0.0
        return math.exp2(doublings)

    def _scale(self, factor: float) -> None:
        self._total *= factor


class Quantiles(FadingCount):
    """The quantiles of positive values between `low` and `high`; a value beyond counts in the nearest bucket."""

    __slots__ = ("_base", "_first", "_high", "_low", "_weights")

    def __init__(self, low: float, high: float, half_life: float = math.inf) -> None:
        super().__init__(half_life)
        self._low = low
        self._high = high
        self._base = math.log(GROWTH)
        self._weights = [0.0] * (math.ceil(math.log(high / low) / self._base) + 1)
        self._first = len(self._weights)  # the lowest bucket that ever held a value

    def add(self, value: float, now: float) -> None:
        weight = self._weight_at(now)
        within = max(self._low, min(value, self._high))
        place = int(math.log(within / self._low) / self._base)
        self._weights[place] += weight
        if place < self._first:
            self._first = place
        self._total += weight

    def quantile(self, share: float, *, within: float = 0.5) -> float | None:
        """The value below which this share of the values lies; None without values.

        `within`: the place in the value's bucket, from 0 (its lower end) to 1 (its upper end).
        """
        if not self._total:
            return None
        wanted, seen, found = share * self._total, 0.0, 0
        for place in range(self._first, len(self._weights)):
            weight = self._weights[place]
            if weight:
                seen, found = seen + weight, place
                if seen >= wanted:
                    break
        return float(self._low * GROWTH ** (found + within))

    def _scale(self, factor: float) -> None:
        self._weights = [weight * factor for weight in self._weights]
        self._total = sum(self._weights)
