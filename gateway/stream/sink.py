"""Shell: where a subscriber's bytes go. A sink takes bytes until it is blocked; it never waits and never queues."""

import asyncio
from typing import Protocol

# Bytes that may wait in user space for a client's window. Above it the reader is a cursor, not memory.
MAX_UNSENT_BYTES = 65536


class Sink(Protocol):
    """The way to one reader."""

    blocked: bool  # true: write nothing until the owner of the sink says that there is room again

    def write(self, data: bytes) -> None:
        """Hand over bytes; may set `blocked`."""

    def unsent_bytes(self) -> int:
        """Bytes handed over that the kernel has not taken yet."""

    def abort(self) -> None:
        """Drop the connection and what it has not taken."""


class TransportSink:
    """A reader behind an asyncio transport, which the HTTP server keeps (POST clients, TLS, HTTP/1.0).

    The protocol of that transport passes on `pause_writing` and `resume_writing` by setting `blocked`.
    """

    __slots__ = ("_transport", "blocked")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.blocked = False
        transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def abort(self) -> None:
        self._transport.abort()
