"""Pure: the order of the events of a merged log: which channel each of them came from, at one byte an event.

In: the channels of the events, as they are appended. Out: the channel of any event, and how far each channel had come
before it. With this the merged log can forget its frames: the logs of the channels still have them, and the order
says which stood where. The invariant: for the entries that are held, the position of a channel before an entry is its
position now, less what the entries from there on brought.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

MAX_CHANNELS = 64  # so that the number of a channel leaves two bits of a byte for the kind of an entry
END = 0x40  # added to the number of a channel: its end
GAP = 0x80  # added to the number of a channel: events of it that are missing


class Gap(NamedTuple):
    """Events of a channel that were forgotten before they could be merged."""

    seq: int  # of the merged event that tells of them
    missed: int


class EventOrder:
    """The order of the newest `max_entries` events, and the positions of all channels behind the last one."""

    __slots__ = ("_entries", "_gaps", "_max_entries", "ended", "first_seq", "positions")

    def __init__(self, positions: Sequence[int], ended: Sequence[bool], max_entries: int) -> None:
        """Begin with no event. `positions`: where each channel is; the end of a channel counts as an event of it."""
        self.first_seq = 0
        self.positions = list(positions)
        self.ended = list(ended)  # whether the end of each channel has been merged
        self._entries = bytearray()
        self._gaps: deque[Gap] = deque()
        self._max_entries = max_entries

    @property
    def next_seq(self) -> int:
        """The position behind the last entry."""
        return self.first_seq + len(self._entries)

    def add(self, channel: int, count: int = 1) -> None:
        """Append `count` events of a channel."""
        self._entries += bytes((channel,)) * count
        self.positions[channel] += count
        self._trim()

    def add_end(self, channel: int) -> None:
        """Append the end of a channel."""
        self._entries.append(channel | END)
        self.positions[channel] += 1
        self.ended[channel] = True
        self._trim()

    def add_gap(self, channel: int, missed: int) -> None:
        """Append an event that says how many events of a channel are missing from here on."""
        self._gaps.append(Gap(self.next_seq, missed))
        self._entries.append(channel | GAP)
        self.positions[channel] += missed
        self._trim()

    def entry_at(self, seq: int) -> int:
        """The number of the channel of an event, with `END` or `GAP` for what is no event of the channel's own."""
        return self._entries[seq - self.first_seq]

    def missed_at(self, seq: int) -> int:
        """How many events are missing according to the gap at `seq`."""
        return next(gap.missed for gap in self._gaps if gap.seq == seq)

    def positions_at(self, seq: int) -> list[int]:
        """The position of each channel before the event at `seq`. Raises `LookupError` if that is not known."""
        if not self.first_seq <= seq <= self.next_seq:
            raise LookupError(f"position {seq} is not in {self.first_seq}..{self.next_seq}")
        rest = self._entries[seq - self.first_seq :]
        found = [
            position - rest.count(channel) - rest.count(channel | END)
            for channel, position in enumerate(self.positions)
        ]
        for gap in self._gaps:
            if gap.seq >= seq:
                found[self.entry_at(gap.seq) & ~GAP] -= gap.missed
        return found

    def open_channels(self) -> list[int]:
        """The channels whose end has not been merged."""
        return [channel for channel, is_over in enumerate(self.ended) if not is_over]

    def _trim(self) -> None:
        """Forget the oldest entries, an eighth more than necessary, since each time moves all of them in memory."""
        count = len(self._entries) - self._max_entries
        if count <= 0:
            return
        count += self._max_entries // 8
        del self._entries[:count]
        self.first_seq += count
        while self._gaps and self._gaps[0].seq < self.first_seq:
            self._gaps.popleft()
