"""Shell: the subscribers of one stream, thousands of raw sockets behind one edge-triggered epoll.

In: a port and a path. Out: counts of events that arrived whole, right and in order, and their latencies. Invariant:
the load never sleeps in epoll: a peer whose sends had to wake it each time would pay for that, and more so the
slower it is; the load looks every 0.3 ms instead, like a network that is always awake.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import sys
import termios
import time
from collections.abc import Callable

from bench.fanout_check import Checker, Position
from bench.frames import BrokenStream
from bench.loop import clock

LOOK_SECONDS = 0.0003
RECEIVE_BYTES = 1 << 16
MAX_READY = 512  # sockets between two looks at the clock: about a millisecond
MAX_JOINING = 64  # requests without a response head
CONNECT_TIMEOUT = 10.0
BUCKET_SECONDS = 0.0001
BUCKETS = 300_000  # half a minute; what comes later counts as that

_INTEREST = select.EPOLLIN | select.EPOLLET
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, so that no port stays in TIME_WAIT


class Late(Exception):
    """Not everything had arrived when the time was over."""


class Audience:
    """`published()` must be told before the bytes go out."""

    def __init__(self, port: int, path: str, events: tuple[bytes, ...]) -> None:
        self._port, self._path = port, path
        self._checker = Checker(events)
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._receive: dict[int, Callable[[int], bytes]] = {}
        self._positions: dict[int, Position] = {}
        self._joining: dict[int, float] = {}
        self._sent_at: list[float] = []
        self.join_seconds: list[float] = []  # from connect to the response head (or to the first event)
        self.received = 0  # events, over all subscribers
        self.latencies: list[int] | None = None  # counts by bucket, while somebody wants them

    def ask(self, query: str) -> None:
        """Whoever connects from now on adds this to the path."""
        self._path += ("&" if "?" in self._path else "?") + query

    def __len__(self) -> int:
        return len(self._sockets)

    @property
    def published(self) -> int:
        return self._checker.published

    @property
    def joining(self) -> int:
        """Subscribers without a response head."""
        return len(self._joining)

    @property
    def missing(self) -> int:
        """Deliveries that are still to come, over all subscribers."""
        return len(self._sockets) * self._checker.published - self.received

    def publish(self, count: int) -> range:
        """The next `count` events go out now; return their numbers."""
        first = self._checker.published
        if first + count > len(self._checker.events):
            raise BrokenStream("the prepared events are used up")
        self._checker.published += count
        self._sent_at += [clock()] * count
        return range(first, first + count)

    def join(self, number: int, seconds: float, have: int = 0) -> None:
        """Connect so many, a few at a time, that have the first `have` events; return when all have their head."""
        until = clock() + seconds
        for _ in range(number):
            self.connect(have)
            while len(self._joining) >= MAX_JOINING:
                self.look(until)
        while self._joining:
            self.look(until)

    def connect(self, have: int = 0, last_id: bytes = b"") -> int:
        """One more subscriber, that has the first `have` events; return its descriptor."""
        begun = clock()
        sock = socket.create_connection(("127.0.0.1", self._port), CONNECT_TIMEOUT)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        resume = b"Last-Event-ID: %b\r\n" % last_id if last_id else b""
        head = f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAccept: text/event-stream\r\n"
        sock.send(head.encode() + resume + b"\r\n")
        fd = sock.fileno()
        self._sockets[fd], self._receive[fd] = sock, sock.recv
        self._positions[fd], self._joining[fd] = self._checker.start(have), begun
        self.received += have
        self._epoll.register(fd, _INTEREST)
        return fd

    def drop(self, fd: int) -> tuple[int, bytes]:
        """Hang up; return how many events this subscriber had, and the id of the last one."""
        position = self._positions.pop(fd)
        self._epoll.unregister(fd)
        self._sockets.pop(fd).close()
        del self._receive[fd]
        self._joining.pop(fd, None)
        self.received -= position.events
        return position.events, self._checker.ids.get(position.events - 1, b"").removeprefix(b"id: ")

    def wait_all(self, until: float) -> None:
        """Return when everybody has everything. Raises `Late` when the clock shows `until`."""
        while self.missing:
            self.look(until)
        if not self._joining:
            self._checker.forget()

    def look(self, until: float) -> None:
        """Read what is there; sleep a moment if nothing is. Raises `Late`."""
        ready = self._epoll.poll(0, MAX_READY)
        if ready:
            self._read(ready)
        elif clock() > until:
            raise Late(
                f"{self.missing} of {len(self) * self.published} deliveries, {len(self._joining)} heads missing"
            )
        else:
            time.sleep(LOOK_SECONDS)

    def waiting_bytes(self) -> list[int]:
        """What has arrived for each subscriber and was not read yet."""
        return [_unread(fd) for fd in self._sockets]

    def drop_all(self) -> None:
        """Everybody hangs up."""
        for fd in list(self._sockets):
            self.drop(fd)

    def close(self) -> None:
        self.drop_all()
        self._epoll.close()

    def _read(self, ready: list[tuple[int, int]]) -> None:
        receive, positions, moves = self._receive, self._positions, self._checker.moves
        now = clock()
        for fd, _ in ready:
            full = True
            while full:
                try:
                    data = receive[fd](RECEIVE_BYTES)
                except BlockingIOError:
                    break
                except OSError as error:
                    raise BrokenStream(f"a subscriber was cut off: {error}") from None
                if not data:
                    raise BrokenStream("a subscriber was hung up on")
                full = len(data) == RECEIVE_BYTES
                position = positions[fd]
                known = moves.get(position)
                new = known[1] if known is not None and known[0] == data else self._careful(fd, position, data)
                positions[fd] = new
                self.received += new.events - position.events
                if self.latencies is not None:
                    self._note(range(position.events, new.events), now)

    def _careful(self, fd: int, position: Position, data: bytes) -> Position:
        new = self._checker.advance(position, data)
        if fd in self._joining and new.chunked is not None:
            self.join_seconds.append(clock() - self._joining.pop(fd))
        return new

    def _note(self, events: range, now: float) -> None:
        latencies = self.latencies
        assert latencies is not None
        for number in events:
            latencies[min(int((now - self._sent_at[number]) / BUCKET_SECONDS), BUCKETS - 1)] += 1


def _unread(fd: int) -> int:
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
