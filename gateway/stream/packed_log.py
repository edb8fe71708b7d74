"""Pure: the log of a stream that has ended, in a few objects of bytes, however many frames it holds.

In: the frames of a log. Out: blocks; and from blocks a log that can be read from any position. A block is one object
of bytes: a table of offsets (32 bits each, in the machine's order), then the frames, one behind the other. The table
holds where each frame begins, and behind them the end of the block; its first number so is the table's own length.
A long frame is a block by itself, a tuple that holds the very object of the log: it is never copied.
"""

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Literal

from gateway.endings import Ending
from gateway.stream.log import StreamLog

Block = bytes | tuple[bytes]

BLOCK_BYTES = 262_144  # a block of many frames holds this many bytes at most; to make one takes 0.2 ms
BLOCK_FRAMES = 4096  # a block holds this many frames at most
OFFSET_BYTES = 4
_ORDER: Literal["little", "big"] = sys.byteorder


def pack(log: StreamLog) -> Iterator[Block]:
    """The frames of a log as blocks. Each is made when it is asked for, so that a long log is packed in steps."""
    seq = log.first_seq
    while seq < log.next_seq:
        frames = log.read(seq, BLOCK_BYTES)[:BLOCK_FRAMES]
        seq += len(frames)
        yield (frames[0],) if len(frames[0]) > BLOCK_BYTES else _block_of(frames)


def size_of(block: Block) -> int:
    """The size of the frames of a block, in bytes."""
    if isinstance(block, tuple):
        return len(block[0])
    return len(block) - int.from_bytes(block[:OFFSET_BYTES], _ORDER)


class PackedLog(StreamLog):
    """A closed log whose frames are in blocks. It is read like any other log, and never changes."""

    __slots__ = ("_blocks", "_first_seqs")

    def __init__(
        self, epoch: str, next_seq: int, terminal: bytes, keepalive: bytes, blocks: Sequence[Block], ending: Ending
    ) -> None:
        counts = [len(_table_of(block)) - 1 for block in blocks]
        super().__init__(epoch, next_seq - sum(counts), terminal, keepalive)
        self._blocks = blocks
        self._first_seqs = list(accumulate(counts, initial=self.first_seq))  # of each block, and behind the last one
        self.next_seq = next_seq
        self.bytes = sum(map(size_of, blocks))
        self.close(ending)

    def __len__(self) -> int:
        return self.next_seq - self.first_seq

    def read(self, seq: int, max_bytes: int) -> list[bytes]:
        self.check(seq)
        frames: list[bytes] = []
        first = bisect_right(self._first_seqs, seq) - 1  # the block that holds this frame
        for block, first_seq in zip(self._blocks[first:], self._first_seqs[first:], strict=False):
            table = _table_of(block)
            start = max(seq - first_seq, 0)
            stop = bisect_right(table, table[start] + max_bytes) - 1
            if stop == start and not frames:
                stop = start + 1
            frames += _frames_of(block, table[start : stop + 1])
            max_bytes -= table[stop] - table[start]
            if stop < len(table) - 1:
                break
        return frames

    def bytes_from(self, seq: int) -> int:
        size = self.bytes
        for block, first_seq in zip(self._blocks, self._first_seqs, strict=False):
            table = _table_of(block)
            size -= table[min(max(seq - first_seq, 0), len(table) - 1)] - table[0]
        return size

    def frames(self) -> list[bytes]:
        return self.read(self.first_seq, self.bytes)


def _block_of(frames: list[bytes]) -> bytes:
    table = array("I", accumulate(map(len, frames), initial=OFFSET_BYTES * (len(frames) + 1)))
    return b"".join([table.tobytes(), *frames])


def _table_of(block: Block) -> Sequence[int]:
    if isinstance(block, tuple):
        return 0, len(block[0])
    return memoryview(block)[: int.from_bytes(block[:OFFSET_BYTES], _ORDER)].cast("I")


def _frames_of(block: Block, offsets: Iterable[int]) -> Iterable[bytes]:
    """The frames of a block that stand between these offsets, one after the other."""
    between = pairwise(offsets)
    if isinstance(block, tuple):
        return [block[0] for _ in between]
    return [block[begin:end] for begin, end in between]
