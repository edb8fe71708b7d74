"""Pure: the order of the events of a merged log: which channel each of them came from, at one byte an event.

In: the channels of the events, as they are appended. Out: the channel of any event, and how far each channel had come
before it. With this the merged log can forget its frames: the logs of the channels still have them, and the order
says which stood where. The invariant: for the entries that are held, the position of a channel before an entry is its
position now, less what the entries from there on brought.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

MAX_CHANNELS = 64  # so that the number of a channel leaves two bits of a byte for the kind of an entry
END = 0x40  # added to the number of a channel: its end
GAP = 0x80  # added to the number of a channel: events of it that are missing
MAX_MARKS = 64  # with an order of 262,144 entries, to count those of 64 channels up to a mark takes 0.3 ms


class Gap(NamedTuple):
    """Events of a channel that were forgotten before they could be merged."""

    seq: int  # of the merged event that tells of them
    missed: int


class Mark(NamedTuple):
    """The positions of all channels before the event at `seq`."""

    seq: int
    positions: Sequence[int]


class EventOrder:
    """The order of the newest `max_entries` events, and the positions of all channels behind the last one."""

    __slots__ = ("_entries", "_gaps", "_mark_entries", "_marks", "_max_entries", "ended", "first_seq", "positions")

    def __init__(self, positions: Sequence[int], ended: Sequence[bool], max_entries: int) -> None:
        """Begin with no event. `positions`: where each channel is; the end of a channel counts as an event of it."""
        self.first_seq = 0
        self.positions = list(positions)
        self.ended = list(ended)  # whether the end of each channel has been merged
        self._entries = bytearray()
        self._gaps: list[Gap] = []
        self._marks: list[Mark] = []
        self._max_entries = max_entries
        self._mark_entries = max(max_entries // MAX_MARKS, 1)  # from one mark to the next

    @property
    def next_seq(self) -> int:
        """The position behind the last entry."""
        return self.first_seq + len(self._entries)

    def add(self, channel: int, count: int = 1) -> None:
        """Append `count` events of a channel."""
        self._entries += bytes((channel,)) * count
        self.positions[channel] += count
        self._on_added()

    def add_end(self, channel: int) -> None:
        """Append the end of a channel."""
        self._entries.append(channel | END)
        self.positions[channel] += 1
        self.ended[channel] = True
        self._on_added()

    def add_gap(self, channel: int, missed: int) -> None:
        """Append an event that says how many events of a channel are missing from here on."""
        self._gaps.append(Gap(self.next_seq, missed))
        self._entries.append(channel | GAP)
        self.positions[channel] += missed
        self._on_added()

    def entry_at(self, seq: int) -> int:
        """The number of the channel of an event, with `END` or `GAP` for what is no event of the channel's own."""
        return self._entries[seq - self.first_seq]

    def run_at(self, seq: int, stop: int) -> int:
        """How many events of one channel follow one another from `seq` on, before `stop`; an end is alone."""
        entries = self._entries[seq - self.first_seq : stop - self.first_seq]
        first = entries[:1]
        return 1 if first[0] & (END | GAP) else len(entries) - len(entries.lstrip(first))

    def missed_at(self, seq: int) -> int:
        """How many events are missing according to the gap at `seq`."""
        return self._gaps[bisect_left(self._gaps, (seq,))].missed

    def positions_at(self, seq: int) -> list[int]:
        """The position of each channel before the event at `seq`. Raises `LookupError` if that is not known."""
        if not self.first_seq <= seq <= self.next_seq:
            raise LookupError(f"position {seq} is not in {self.first_seq}..{self.next_seq}")
        stop, positions = self._mark_from(seq)
        between = self._entries[seq - self.first_seq : stop - self.first_seq]
        found = [
            position - between.count(channel) - between.count(channel | END)
            for channel, position in enumerate(positions)
        ]
        for gap in self._gaps[bisect_left(self._gaps, (seq,)) : bisect_left(self._gaps, (stop,))]:
            found[self.entry_at(gap.seq) & ~GAP] -= gap.missed
        return found

    def last_mark_before(self, positions: Sequence[int], stop: int) -> Mark | None:
        """The last mark up to `stop` before which each channel had come no further than to its position here."""
        last = None
        for mark in self._marks:
            if mark.seq > stop or any(map(int.__gt__, mark.positions, positions)):
                break
            last = mark
        return last

    def open_channels(self) -> list[int]:
        """The channels whose end has not been merged."""
        return [channel for channel, is_over in enumerate(self.ended) if not is_over]

    def _mark_from(self, seq: int) -> Mark:
        """The first mark that is not before `seq`; the end counts as one."""
        place = bisect_left(self._marks, (seq,))
        return self._marks[place] if place < len(self._marks) else Mark(self.next_seq, self.positions)

    def _on_added(self) -> None:
        if len(self._entries) > self._max_entries:
            self._trim()
        if self.next_seq - (self._marks[-1].seq if self._marks else self.first_seq) >= self._mark_entries:
            self._marks.append(Mark(self.next_seq, array("q", self.positions)))

    def _trim(self) -> None:
        """Forget the oldest entries, an eighth more than necessary, since each time moves all of them in memory."""
        count = len(self._entries) - self._max_entries + self._max_entries // 8
        del self._entries[:count]
        self.first_seq += count
        del self._gaps[: bisect_left(self._gaps, (self.first_seq,))]
        del self._marks[: bisect_left(self._marks, (self.first_seq,))]
