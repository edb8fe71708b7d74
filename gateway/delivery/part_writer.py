"""Shell: the writer of long pieces to a transport that encrypts: part by part, each in a later turn of the loop.

In: long pieces. Out: their parts, in order, to the transport while it has room. A transport that encrypts does so at
once with all that it is given: a frame of 8 MiB would take 20 ms for each of its subscribers.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol, cast

from gateway.delivery.long_piece import LongPiece, Sendable

PART_BYTES = 1 << 18  # bytes that are encrypted in one turn for one client, which takes half a millisecond


class PartOwner(Protocol):
    """The protocol of the transport; it calls `go_on` when the transport has room again."""

    def run_later(self, work: Callable[[], None]) -> None:
        """Run work in a later turn of the event loop, as soon as it is its turn."""

    def on_parts_written(self) -> None:
        """The transport has been given everything, and has room."""


class PartWriter:
    """The writer of one transport, whose limit of unsent bytes is `max_unsent`."""

    __slots__ = ("_held", "_max_unsent", "_on_sent", "_owner", "_transport")

    def __init__(self, transport: asyncio.Transport, max_unsent: int) -> None:
        self._transport = transport
        self._max_unsent = max_unsent
        self._held: list[memoryview] = []  # what the transport has not been given yet, the next part last
        self._owner = cast(PartOwner, transport.get_protocol())
        self._on_sent = _ignore

    def write(self, data: Sendable) -> None:
        """Write a long piece; the first part of it at once."""
        buffers = data.buffers() if isinstance(data, LongPiece) else [memoryview(data)]
        parts = [part for buffer in buffers for part in _parts_of(buffer)]
        self._held[:0] = reversed(parts)
        self._write_part()

    def go_on(self) -> bool:
        """Go on if something is held back; returns whether that is so."""
        if self._held:
            self._owner.run_later(self._write_part)
        return bool(self._held)

    def when_sent(self, call: Callable[[], None]) -> None:
        """Call this when the transport has been given everything: at once if nothing is held back."""
        if self._held:
            self._on_sent = call
        else:
            call()

    def unsent_bytes(self) -> int:
        """The bytes that are held back."""
        return sum(map(len, self._held))

    def close(self) -> None:
        """Forget what is held back."""
        self._held.clear()
        self._on_sent = _ignore

    def _write_part(self) -> None:
        if not self._held or self._is_full():
            return  # the subscriber has ended, or `go_on` is called when there is room
        self._transport.write(self._held.pop())
        if self._held:
            if not self._is_full():
                self._owner.run_later(self._write_part)
            return
        on_sent, self._on_sent = self._on_sent, _ignore
        on_sent()
        if not self._is_full():
            self._owner.on_parts_written()

    def _is_full(self) -> bool:
        """Whether the transport has asked its protocol to pause, and will say when there is room."""
        return self._transport.get_write_buffer_size() >= self._max_unsent


def _parts_of(buffer: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(buffer), PART_BYTES):
        yield buffer[start : start + PART_BYTES]


def _ignore() -> None:
    """Stands where nobody has to be called."""
