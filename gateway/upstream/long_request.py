"""Shell: a request with a long body, and the sender that writes it to an upstream bit by bit.

In: a transport, and the events of its write buffer. Out: the bytes of the request, a bounded number in each turn of
the event loop, and none while the transport is full. So neither the copy into the kernel nor the encryption of 64 MiB
holds the loop, and no second copy of the body is made.
"""

import asyncio
from dataclasses import dataclass

from gateway.dialects.request_body import LongContent

BYTES_IN_A_TURN = 1 << 18  # 0.1 ms of copying into the kernel, 0.5 ms of encryption; the last buffer may exceed it
BUFFERS_IN_A_TURN = 1000  # 0.5 ms


@dataclass(frozen=True, slots=True)
class LongRequest:
    """The head of a request, its blank line included, and its body."""

    head: bytes
    content: LongContent


Request = bytes | LongRequest


class LongRequestSender:
    """Writes one long request, from `start` until all is written or `stop`."""

    __slots__ = ("_buffers", "_head", "_is_paused", "_transport", "_turn", "is_over")

    def __init__(self, request: LongRequest, transport: asyncio.Transport) -> None:
        self._head = request.head
        self._buffers = request.content.buffers()
        self._transport = transport
        self._is_paused = False
        self._turn: asyncio.Handle | None = None
        self.is_over = False  # all is written, or nothing more will be

    def start(self) -> None:
        """Write the head, and the first bytes of the body."""
        self._transport.write(self._head)
        self._write()

    def pause(self) -> None:
        """Write no more for now: the transport is full."""
        self._is_paused = True

    def resume(self) -> None:
        """Write on: the transport has room."""
        self._is_paused = False
        if self._turn is None:
            self._write()

    def stop(self) -> None:
        """Write no more, and let go of the body."""
        self.is_over = True
        self._buffers.close()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _write(self) -> None:
        """Write until the transport is full, once in a turn."""
        self._turn = None
        if self.is_over or self._is_paused:
            return
        buffers = self._next_buffers()
        if not self.is_over:
            self._turn = asyncio.get_running_loop().call_soon(self._write)
        if buffers:
            self._transport.write(buffers[0] if len(buffers) == 1 else b"".join(buffers))

    def _next_buffers(self) -> list[bytes | memoryview]:
        """What is written at once: short pieces of the body together, since each write is a system call."""
        found, size = list[bytes | memoryview](), 0
        while size < BYTES_IN_A_TURN and len(found) < BUFFERS_IN_A_TURN:
            if (buffer := next(self._buffers, None)) is None:
                self.is_over = True
                break
            found.append(buffer)
            size += len(buffer)
        return found
