"""Shell: the way to a subscriber by a bare socket that was taken over from the HTTP server.

In: pieces, and what the watch sees. Out: bytes to the socket; to the sink's owner, that there is room again or that
the client hung up. What the kernel does not take at once is kept as a reference to the shared bytes and an offset;
the sink is blocked until the watch says that there is room. The invariant: the sink owns the socket, and closes it
once, after the last byte or at once.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from gateway.delivery.long_piece import Sendable
from gateway.delivery.sinks import queued_bytes, send_nowait, send_rest
from gateway.delivery.watch import Watch

MAX_UNREAD_BYTES = 8 << 20  # what is read from a client before its socket is closed: more than a receive buffer holds
CLOSE_SECONDS = 30.0  # how long a client may need for the last bytes of a stream that has ended


class SinkOwner(Protocol):
    """The subscriber that the sink leads to."""

    def on_writable(self) -> None:
        """The sink has room again."""

    def on_hang_up(self) -> None:
        """The client is gone."""


class SocketSink:
    """The way to one taken-over socket (`Sink`, `Watched`)."""

    __slots__ = ("_close_timer", "_owner", "_rest", "_sent", "_watch", "blocked", "body_end", "direct")

    steady = True  # of the class, since an idle subscriber is to take little memory

    def __init__(self, taken: socket.socket, watch: Watch, *, body_end: bytes) -> None:
        """`body_end`: the last chunk, or nothing where the body ends with the connection."""
        self._watch = watch
        self._owner: SinkOwner | None = None  # None before the start and after the close
        self._rest: Sendable = b""  # the piece that was sent in part
        self._sent = 0  # how many bytes of `_rest` the kernel has taken
        self._close_timer: asyncio.TimerHandle | None = None
        self.body_end = body_end
        self.blocked = False
        self.direct: socket.socket | None = taken
        if taken.gettimeout() != 0:
            taken.setblocking(False)  # a system call

    def start(self, owner: SinkOwner) -> None:
        """Watch the socket for its owner. Raises `OSError` if the kernel watches no more sockets."""
        assert self.direct is not None
        self._owner = owner
        self._watch.add(self.direct.fileno(), self)
        if self.blocked:
            self._watch.await_room(self.direct.fileno())

    def write(self, data: Sendable) -> None:
        assert self.direct is not None
        sent = send_nowait(self.direct, data)
        if sent != len(data):
            self.on_short_write(data, sent)

    def on_short_write(self, data: Sendable, sent: int) -> None:
        self.blocked = True
        if sent >= 0:
            self._rest, self._sent = data, sent  # with -1 the client is gone: the watch is about to say so
            if self.direct is not None:
                self._watch.await_room(self.direct.fileno())

    def when_sent(self, call: Callable[[], None]) -> None:
        call()  # the socket is closed behind the last byte, whoever holds the sink

    def unsent_bytes(self) -> int:
        return len(self._rest) - self._sent

    def kernel_bytes(self) -> int:
        return queued_bytes(self.direct) if self.direct is not None else 0

    def abort(self) -> None:
        """Forget what is unsent."""
        self._rest, self._sent = b"", 0

    def close(self) -> None:
        """Close the socket as soon as the kernel has taken what was written."""
        self._owner = None
        if self.unsent_bytes():
            self._close_timer = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._shut)
        else:
            self._shut()

    # --- the watch's side (Watched)

    def on_room(self) -> None:
        if not self.unsent_bytes():
            return  # an edge for room that nobody waits for
        rest, self._rest, sent = self._rest, b"", self._sent
        self._sent = 0
        self.blocked = False
        assert self.direct is not None
        if (more := send_rest(self.direct, rest, sent)) != len(rest) - sent:
            self.on_short_write(rest, sent + more if more >= 0 else -1)
            return
        if self._owner is not None:
            self._owner.on_writable()
        else:
            self._shut()

    def on_hang_up(self) -> None:
        owner = self._owner
        self._rest, self._sent = b"", 0
        if owner is not None:
            owner.on_hang_up()
        else:
            self._shut()

    def _shut(self) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        taken, self.direct = self.direct, None
        if taken is None:
            return
        self._watch.remove(taken.fileno())
        # Unread bytes of the client would turn the close into a reset, and the client would lose the last events.
        with contextlib.suppress(OSError):
            taken.shutdown(socket.SHUT_WR)
            for _ in range(MAX_UNREAD_BYTES // 65536):
                if not taken.recv(65536):
                    break
        taken.close()
