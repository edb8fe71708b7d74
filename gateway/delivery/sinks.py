"""Shell: the ways to a subscriber's client. A sink takes bytes until it is blocked; it never waits.

In: pieces. Out: bytes to the kernel, or to a transport that holds at most `MAX_UNSENT_BYTES` before it blocks the
sink. The invariant: bytes reach the client in the order in which they were written.
"""

import asyncio
import fcntl
import os
import socket
import struct
import termios
from typing import Protocol

# Bytes that may wait in user space for a client's window. Above it the subscriber is a cursor, not memory.
MAX_UNSENT_BYTES = 65536


def send_nowait(direct: socket.socket, data: bytes) -> int:
    """How many bytes the kernel took; -1: the peer is gone."""
    try:
        return direct.send(data)
    except BlockingIOError:
        return 0
    except OSError:
        return -1


def queued_bytes(direct: socket.socket) -> int:
    """How much of what the kernel took the peer has not acknowledged (ioctl SIOCOUTQ, tcp(7)); 0: not known."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(direct, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0


class Sink(Protocol):
    """The way to one subscriber."""

    body_end: bytes  # ends the body of the connection; sent in one piece with the last frames
    steady: bool  # as long as the sink is not blocked, `direct` is there and does not change
    direct: socket.socket | None  # may be sent to without a call of `write` as long as the sink is not blocked
    blocked: bool  # true: write nothing until the owner of the sink says that there is room again

    def write(self, data: bytes) -> None:
        """Hand over bytes; may set `blocked`."""

    def on_short_write(self, data: bytes, sent: int) -> None:
        """The kernel took only `sent` of the bytes that were sent to `direct`; -1: the peer is gone.

        A steady sink is blocked then.
        """

    def unsent_bytes(self) -> int:
        """Bytes handed over that the kernel has not taken yet."""

    def kernel_bytes(self) -> int:
        """Bytes that the kernel has taken and the client has not."""

    def abort(self) -> None:
        """Drop the connection and what it has not taken."""

    def close(self) -> None:
        """The subscriber has ended; the connection stays with its owner."""


class TransportSink:
    """The way through an asyncio transport, which the HTTP server keeps (POST clients, TLS, HTTP/1.0).

    While the transport has nothing to send, `direct` is a duplicate of its socket, so that bytes go to the kernel
    directly: 0.9 us less per token than uvloop's `write`. The protocol of the transport passes on `pause_writing` and
    `resume_writing` by setting `blocked`.
    """

    __slots__ = (
        "_by_transport",
        "_duplicate",
        "_head",
        "_socket",
        "_transport",
        "blocked",
        "body_end",
        "direct",
        "steady",
    )

    def __init__(self, transport: asyncio.Transport, *, body_end: bytes) -> None:
        """`body_end`: the last chunk, or nothing where the body ends with the connection (HTTP/1.0)."""
        self._transport = transport
        self.body_end = body_end
        self._head = b""
        self.steady = False
        self.blocked = False
        transport.set_write_buffer_limits(high=MAX_UNSENT_BYTES)
        # The socket of the transport: uvloop's has no `send`, but `fileno` and `dup`.
        self._socket: socket.socket | None = transport.get_extra_info("socket")
        # Everything goes through the transport: it encrypts, or there is no descriptor for a duplicate.
        self._by_transport = transport.get_extra_info("sslcontext") is not None
        self._duplicate: socket.socket | None = None  # made with the first bytes
        # None at first: the head is still to go, and the transport may hold bytes of the answer before.
        self.direct: socket.socket | None = None

    def begin_with(self, head: bytes) -> None:
        """Send this head in front of the first bytes that are written, in one piece with them."""
        self._head = head

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        own, duplicate = self._socket, self._duplicate
        if own is None or self._by_transport or self._transport.get_write_buffer_size():
            self.direct = None
            self._transport.write(data)
            return
        sent = self._send_first(own, data) if duplicate is None else send_nowait(duplicate, data)
        self.direct = self._duplicate  # the transport has nothing left to send, and is passed by from now on
        if sent != len(data):
            self.on_short_write(data, sent)

    def _send_first(self, own: socket.socket, data: bytes) -> int:
        """How many bytes the kernel took; -1: the peer is gone.

        The duplicate is made after the first bytes are sent, since it takes 20 us.
        """
        if self._transport.is_closing():
            return -1
        try:
            sent = os.write(own.fileno(), data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return -1
        # A duplicate and not the transport's descriptor: that one may be closed, and its number given to another
        # client, before the sink hears of it.
        try:
            self._duplicate = own.dup()
            self._duplicate.setblocking(False)
        except OSError:  # out of descriptors
            self._by_transport = True
        return sent

    def on_short_write(self, data: bytes, sent: int) -> None:
        self.direct = None
        if sent >= 0:
            self._transport.write(data[sent:])
        else:
            self.blocked = True  # the client is gone
            self._transport.abort()  # its protocol hears of the loss then, even while it reads nothing

    def unsent_bytes(self) -> int:
        return self._transport.get_write_buffer_size()

    def kernel_bytes(self) -> int:
        # Asked by the transport's socket: by TLS, and while bytes of the answer before wait, there is no duplicate.
        own = self._socket
        return 0 if own is None or self._transport.is_closing() else queued_bytes(own)

    def abort(self) -> None:
        self._transport.abort()

    def close(self) -> None:
        if self._duplicate is not None:
            self._duplicate.close()
            self._duplicate = self.direct = None
        self._socket = None
