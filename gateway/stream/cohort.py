"""Shell: readers of one view that stand at one position: a shared cursor and a list of descriptors.

What is new goes to them in one flat loop that touches nothing but the descriptors: with ten thousand readers the cost
of a delivery is else mostly the cache misses of looking at each reader (bench/fanout.py). A reader is here only while
the kernel takes all it is sent; who falls behind gets a cursor of its own back.

The invariant: between two advances every reader here has read exactly up to `seq`; during one, those before
`_reached` have read up to the end of it.
"""

import os
from collections.abc import Iterator
from itertools import repeat

from gateway.stream.sink import write_nowait
from gateway.stream.subscriber import Subscriber
from gateway.stream.view import View

STEP = 64  # readers between two looks at the clock: a fifth of a slice for a token, two slices for full pieces


class Cohort:
    """Readers in step."""

    __slots__ = ("_fds", "_next_seq", "_reached", "_readers", "sends", "seq", "view")

    def __init__(self, view: View, seq: int) -> None:
        self.view = view
        self.seq = seq
        self.sends = 0
        self._fds: list[int] = []
        self._readers: list[Subscriber] = []
        self._reached = 0  # how many have been sent what is under way
        self._next_seq = seq  # where that leads to

    def __len__(self) -> int:
        return len(self._fds)

    def join(self, reader: Subscriber, fd: int) -> bool:
        """Take in a reader whose sink is steady, if it stands where the others do; whether it did.

        Only between two advances.
        """
        if not self._fds:
            self.seq = self._next_seq = reader.seq
        if reader.seq != self.seq:
            return False
        reader.cohort, reader.slot = self, len(self._fds)
        self._fds.append(fd)
        self._readers.append(reader)
        return True

    def leave(self, reader: Subscriber) -> None:
        """Give the reader its own cursor back; nothing if it has left."""
        if reader.cohort is not self:
            return
        slot, last = reader.slot, len(self._fds) - 1
        reader.seq = self.position_of(slot)
        reader.cohort = None
        if slot < self._reached:  # the gap moves to the border, so that nobody beyond it is taken for served
            self._reached -= 1
            slot = self._move(self._reached, slot)
        self._move(last, slot)
        del self._fds[last], self._readers[last]

    def dissolve(self) -> list[Subscriber]:
        """Give everyone their own cursor back."""
        readers = list(self._readers)
        for reader in reversed(readers):
            self.leave(reader)
        return readers

    def position_of(self, slot: int) -> int:
        """What the reader in this slot has read."""
        return self._next_seq if slot < self._reached else self.seq

    def advance(self) -> Iterator[None]:
        """Send the next piece to all, in steps; who is not taken all of it from has left when a step is over.

        Raises `LookupError` if the log has forgotten what comes next.
        """
        data, self._next_seq, last = self.view.piece(self.seq)
        size = len(data)
        while size and self._reached < len(self._fds):
            start, stop = self._reached, min(self._reached + STEP, len(self._fds))
            sent = _write_all(self._fds[start:stop], data)
            self._reached = stop
            self.sends += stop - start
            if last or sent.count(size) != len(sent):
                served = zip(self._readers[start:stop], sent, strict=True)
                self._set_apart([one for one in served if last or one[1] != size], data, last)
            yield
        self._reached, self.seq = 0, self._next_seq

    def _set_apart(self, short: list[tuple[Subscriber, int]], data: bytes, last: bool) -> None:
        """Let go of those that were not sent all; at the end also of those that were: nothing may follow it."""
        for reader, sent in short:
            self.leave(reader)
            if sent != len(data) and reader.sink is not None:
                reader.sink.on_short_write(data, sent)
            if last:
                reader.finish()

    def _move(self, source: int, target: int) -> int:
        """Put the reader of one slot into another; the slot that is free now."""
        if source != target:
            self._fds[target] = self._fds[source]
            moved = self._readers[target] = self._readers[source]
            moved.slot = target
        return source


def _write_all(fds: list[int], data: bytes) -> list[int]:
    """How many bytes each of these took; -1: the peer is gone. The loop runs in C: 50 ns less per delivery."""
    sent: list[int] = []
    writing = map(os.write, fds, repeat(data))
    while len(sent) < len(fds):
        try:
            sent.extend(writing)
        except OSError:
            sent.append(write_nowait(fds[len(sent)], data))  # tells why it failed
    return sent
