"""Shell: the socket of a transport as one of Python's own: made once, and used as long as the connection lives.

In: an asyncio transport. Out: a socket for sends and options that go past the transport. uvloop's own object for its
socket has no `send`, and duplicates the descriptor for each option that is set. The invariant: the transport owns the
descriptor, and closes it right behind its protocol's `connection_lost`, which therefore has to give the socket back.
"""

import asyncio
import socket


class BorrowedSocket:
    """A socket object on the descriptor of a transport. To make it takes 10 us, so it is made at its first use."""

    __slots__ = ("_family", "_own", "_socket", "_transport")

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._own: socket.socket | None = transport.get_extra_info("socket")  # the transport's own object
        self._socket: socket.socket | None = None
        self._family: socket.AddressFamily | None = (
            None  # as soon as somebody has asked: uvloop makes it anew each time
        )

    @property
    def family(self) -> socket.AddressFamily | None:
        """The family of the address; None without a socket, as on a transport that is lost."""
        if self._family is None and self._own is not None:
            self._family = socket.AddressFamily(self._own.family)
        return self._family

    def descriptor(self) -> int:
        """The transport's descriptor; -1 as soon as the transport is closing."""
        return -1 if self._own is None or self._transport.is_closing() else self._own.fileno()

    def take(self) -> socket.socket | None:
        """The socket, which never waits. None: the transport has none, or is closing."""
        if self._socket is None and self._own is not None and (descriptor := self.descriptor()) >= 0:
            own = self._own
            self._socket = socket.socket(own.family, own.type, own.proto, fileno=descriptor)
            self._socket.setblocking(False)
        return self._socket

    def give_back(self) -> None:
        """Use the descriptor no more: what is sent to the socket from now on fails with `OSError`. Idempotent."""
        self._own = self._family = None
        if self._socket is not None:
            self._socket.detach()
            self._socket = None

    def __del__(self) -> None:
        self.give_back()  # a Python socket that is freed would close the descriptor
