"""Pure: a piece that is too long to be joined from its parts: to copy sixty megabytes takes 40 ms.

In: the parts. Out: what is left of them behind the bytes that were sent. It is used in place of `bytes` by whoever
makes and sends pieces: it has a length, and bytes can be added at either end.
"""

from collections.abc import Sequence
from typing import TypeAlias

LONG_PIECE_BYTES = 1 << 20  # bytes; to join a shorter piece takes less than a millisecond
_MAX_BUFFERS = 16  # parts that are sent at once


class LongPiece:
    """The parts of one piece, in order."""

    __slots__ = ("_parts", "_size")

    def __init__(self, parts: Sequence[bytes | memoryview]) -> None:
        self._parts = tuple(part for part in parts if part)
        self._size = sum(map(len, self._parts))

    def __bytes__(self) -> bytes:
        return b"".join(self._parts)

    def __len__(self) -> int:
        return self._size

    def __add__(self, end: bytes) -> "LongPiece":
        return LongPiece((*self._parts, end))

    def __radd__(self, beginning: bytes) -> "LongPiece":
        return LongPiece((beginning, *self._parts))

    def buffers(self) -> list[memoryview]:
        """All parts, none of which is empty."""
        return [memoryview(part) for part in self._parts]

    def rest(self, sent: int) -> list[memoryview]:
        """What follows the first `sent` bytes, as buffers that can be sent at once."""
        buffers: list[memoryview] = []
        for part in self._parts:
            if sent < len(part):
                buffers.append(memoryview(part)[sent:])
            sent = max(sent - len(part), 0)
        return buffers[:_MAX_BUFFERS]


Sendable: TypeAlias = bytes | LongPiece


def rest_of(data: Sendable, sent: int) -> list[memoryview]:
    """What follows the first `sent` bytes of a piece, as buffers that can be sent at once."""
    return data.rest(sent) if isinstance(data, LongPiece) else [memoryview(data)[sent:]]
