"""Shell: the subscribers of one stream, thousands of raw sockets behind one edge-triggered epoll.

In: a port and a path. Out: counts of events that arrived whole, right and in order, and their latencies. Invariant:
the load never sleeps in epoll: a peer whose sends had to wake it each time would pay for that, and more so the slower
it is; the load looks every 0.3 ms instead, like a network that is always awake.
"""

import fcntl
import math
import select
import socket
import sys
import termios
import time
from collections.abc import Callable

from bench.kit.ends import RECEIVE_BYTES, RST_ON_CLOSE
from bench.kit.loop import clock
from bench.kit.script import BrokenStream, Position, SubscriberCheck

LOOK_SECONDS = 0.0003
MAX_READY = 512  # sockets between two looks at the clock: about a millisecond
MAX_JOINING = 64  # requests without a response head
CONNECT_TIMEOUT = 10.0


class Subscribers:
    """`publish()` must be called before the bytes go out."""

    def __init__(self, port: int, path: str, events: tuple[bytes, ...]) -> None:
        self._port, self._path = port, path
        self._check = SubscriberCheck(events)
        self._epoll = select.epoll()
        self.sockets: dict[int, socket.socket] = {}
        self._receive: dict[int, Callable[[int], bytes]] = {}
        self._positions: dict[int, Position] = {}
        self.joining: dict[int, float] = {}  # who has no response head yet, and since when
        self._sent_at: list[float] = []
        self.latencies: list[float] | None = None  # from send to receipt of each delivery, while somebody wants them
        self.join_seconds: list[float] = []  # from connect to the response head (or to the first event)
        self.published = 0  # events
        self.received = 0  # events, over all subscribers

    def from_now(self) -> None:
        """Who connects from now on gets no event of the past."""
        self._path += ("&" if "?" in self._path else "?") + "from=now"

    @property
    def missing(self) -> int:
        """Deliveries that are still to come, over all subscribers."""
        return len(self.sockets) * self.published - self.received

    def publish(self, count: int) -> range:
        """The next `count` events go out now; their numbers."""
        first = self._check.published
        if first + count > len(self._check.events):
            raise BrokenStream("the prepared events are used up")
        self.published = self._check.published = first + count
        self._sent_at += [clock()] * count
        return range(first, first + count)

    def join(self, number: int, seconds: float, have: int = 0) -> None:
        """Connect subscribers, a few at a time, that have the first `have` events; wait for their heads."""
        until = clock() + seconds
        for _ in range(number):
            self.connect(have)
            while len(self.joining) >= MAX_JOINING:
                self.look(until)
        while self.joining:
            self.look(until)

    def connect(self, have: int = 0, last_id: bytes = b"") -> int:
        """One more subscriber, that has the first `have` events; its descriptor."""
        begun = clock()
        sock = socket.create_connection(("127.0.0.1", self._port), CONNECT_TIMEOUT)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)  # no port stays in TIME_WAIT
        resume = b"Last-Event-ID: %b\r\n" % last_id if last_id else b""
        head = f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAccept: text/event-stream\r\n"
        sock.send(head.encode() + resume + b"\r\n")
        fd = sock.fileno()
        self.sockets[fd], self._receive[fd] = sock, sock.recv
        self._positions[fd], self.joining[fd] = Position(have), begun
        self.received += have
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLET)
        return fd

    def drop(self, fd: int) -> tuple[int, bytes]:
        """Hang up; how many events this subscriber had, and the id of the last one."""
        position = self._positions.pop(fd)
        self._epoll.unregister(fd)
        self.sockets.pop(fd).close()
        del self._receive[fd]
        self.joining.pop(fd, None)
        self.received -= position.events
        return position.events, self._check.ids.get(position.events - 1, b"").removeprefix(b"id: ")

    def wait_all(self, seconds: float) -> None:
        """Return when everybody has everything. Raises `BrokenStream` when it takes longer."""
        until = clock() + seconds
        while self.missing:
            self.look(until)
        if not self.joining:
            self._check.moves.clear()  # since everybody has moved on

    def settle(self, seconds: float) -> None:
        """Read what comes, for as long as that."""
        until = clock() + seconds
        while clock() < until:
            self.look(math.inf)

    def look(self, until: float) -> None:
        """Read what is there; sleep a moment if nothing is. Raises `BrokenStream` when the clock shows `until`."""
        ready = self._epoll.poll(0, MAX_READY)
        if ready:
            self._read(ready)
        elif clock() > until:
            total, heads = len(self.sockets) * self.published, len(self.joining)
            raise BrokenStream(f"late: {self.missing} of {total} deliveries, {heads} heads missing")
        else:
            time.sleep(LOOK_SECONDS)

    def waiting_bytes(self) -> list[int]:
        """What has arrived for each subscriber and was not read yet."""
        asked = (fcntl.ioctl(fd, termios.FIONREAD, bytes(4)) for fd in self.sockets)
        return [int.from_bytes(answer, sys.byteorder) for answer in asked]

    def close(self) -> None:
        """Everybody hangs up."""
        for fd in list(self.sockets):
            self.drop(fd)
        self._epoll.close()

    def _read(self, ready: list[tuple[int, int]]) -> None:
        receive, positions, moves = self._receive, self._positions, self._check.moves
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
                    self.latencies += [now - at for at in self._sent_at[position.events : new.events]]

    def _careful(self, fd: int, position: Position, data: bytes) -> Position:
        new = self._check.advance(position, data)
        if fd in self.joining and new.begun:
            self.join_seconds.append(clock() - self.joining.pop(fd))
        return new
