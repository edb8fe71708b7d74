"""Pure: a backlog: what the channels held when a subscriber came to a merged log, and it has not seen yet.

In: for each channel, the positions between which the subscriber needs its events. Out: the channel and the position
of each event of the backlog, by its number. A subscriber is sent the backlog, one channel after the other, and then
goes on in the merged log. The invariant: behind the backlog it has seen what the merged log holds up to `join_seq`.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

MAX_KEPT = 1000  # backlogs of one merge whose subscribers can come back and go on exactly


class Stretch(NamedTuple):
    """Events of one channel; its end counts as one of them."""

    channel: int
    start: int
    stop: int


class Backlog:
    """The events that stand before `join_seq` for whoever is sent this backlog."""

    __slots__ = ("_firsts", "_stretches", "count", "join_seq", "number", "starts")

    def __init__(self, number: int, join_seq: int, starts: Sequence[int], stops: Sequence[int]) -> None:
        """`starts` and `stops`: positions in each channel, in the order of the channels."""
        self.number = number
        self.join_seq = join_seq
        self.starts = tuple(starts)
        between = enumerate(zip(starts, stops, strict=True))
        self._stretches = [Stretch(channel, start, stop) for channel, (start, stop) in between if start < stop]
        sizes = [stretch.stop - stretch.start for stretch in self._stretches]
        self._firsts = list(accumulate(sizes, initial=0))  # the number of the first event of each stretch
        self.count = self._firsts[-1]

    @property
    def first_seq(self) -> int:
        """Where its subscribers begin, so that they come to `join_seq` at its end. It may be negative."""
        return self.join_seq - self.count

    def stretch_from(self, number: int) -> Stretch:
        """The rest of the stretch in which the event of this number is."""
        found = bisect_right(self._firsts, number) - 1
        channel, start, stop = self._stretches[found]
        return Stretch(channel, start + number - self._firsts[found], stop)

    def positions_at(self, number: int) -> list[int]:
        """The position of each channel for a subscriber that has been sent the events before this number.

        Raises `LookupError` if there are not that many.
        """
        if not 0 <= number <= self.count:
            raise LookupError(f"event {number} is not in 0..{self.count}")
        positions = list(self.starts)
        for first, (channel, start, stop) in zip(self._firsts, self._stretches, strict=False):
            positions[channel] = min(start + max(number - first, 0), stop)
        return positions


class Backlogs:
    """The newest backlogs of one merge, so that a subscriber that was cut off within one can come back."""

    __slots__ = ("_count", "_kept")

    def __init__(self) -> None:
        self._count = 0  # of all that there were
        self._kept: dict[int, Backlog] = {}  # by their numbers, the oldest in front

    def find(self, number: int) -> Backlog:
        """The backlog of this number. Raises `LookupError`."""
        return self._kept[number]

    def between(self, join_seq: int, starts: Sequence[int], stops: Sequence[int]) -> Backlog:
        """The backlog from `starts` to `stops`: the newest one, if it is the same, else a new one."""
        newest = self._kept.get(self._count)
        if newest is not None and newest.join_seq == join_seq and newest.starts == tuple(starts):
            return newest
        backlog = Backlog(self._count + 1, join_seq, starts, stops)
        if backlog.count:
            self._count += 1
            self._kept[self._count] = backlog
            if len(self._kept) > MAX_KEPT:
                del self._kept[next(iter(self._kept))]
        return backlog
