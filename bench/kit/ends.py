"""Shell: the two ends of the load: clients, each a keep-alive connection that asks for one stream after another, and
the upstream, a model provider on raw sockets.

In: exchanges. Out: POSTs and chunked SSE streams, one event per chunk and per send, on schedule: role and first token
at once, event k at (k - 1) gaps; the times of an exchange as both ends see it. Invariant: the time of each send is
noted before the send, a close as soon as it is seen, in silence too; what is counted was compared, and the first
difference ends the connection with a reason.
"""

import contextlib
import re
import socket
import struct
from collections.abc import Callable

from bench.kit.loop import Loop, clock
from bench.kit.script import FIRST_CONTENT, LISTING, STREAM_HEAD, BrokenStream, Exchange, Position, Speech, Target

RECEIVE_BYTES = 1 << 16
CONNECT_TIMEOUT = 5.0
RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time


class Client:
    """`on_end(client, reason)` is called once per exchange: reason "" when every byte was right."""

    __slots__ = ("_aligned", "_check", "_exchange", "_loop", "_on_end", "_position", "_sock", "_target", "stray")

    def __init__(self, loop: Loop, target: Target, on_end: Callable[["Client", str], None]) -> None:
        self._loop, self._target, self._on_end = loop, target, on_end
        self._sock: socket.socket | None = None
        self._exchange: Exchange | None = None
        self._position = Position()
        self._aligned = False  # the next read is compared with the next chunk of the script at once
        self.stray = b""  # bytes that came between two streams: no peer may send any

    def ask(self, exchange: Exchange) -> None:
        """Send the request; connects first if there is no connection."""
        self._exchange, self._aligned, self._position = exchange, False, Position()
        self._check = self._target.check(exchange.script)
        request = self._target.request(exchange.key)
        try:
            if self._sock is None:
                self._sock = socket.create_connection(("127.0.0.1", self._target.port), CONNECT_TIMEOUT)
                self._sock.setblocking(False)
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._loop.watch(self._sock.fileno(), lambda mask: self._receive())
            exchange.asked_at = clock()
            self._sock.sendall(request)  # 300 bytes into an empty socket buffer: never blocks
        except OSError as error:
            self._end(f"request failed: {error}")

    def leave(self, *, reset: bool) -> float:
        """Hang up in the middle of an answer, by FIN or RST; return when, 0.0 if the answer was over already. What
        has arrived is taken and checked before: bytes left unread would turn a FIN into an RST."""
        while self._receive():
            pass
        sock = self._sock
        if sock is None or self._exchange is None:
            return 0.0
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
        left_at = clock()
        self.close()
        return left_at

    def close(self) -> None:
        sock, self._sock, self._exchange = self._sock, None, None
        if sock is not None:
            self._loop.forget(sock.fileno())
            sock.close()

    def _receive(self) -> bool:
        """Take what one read gives; False: there was nothing to read."""
        sock, exchange = self._sock, self._exchange
        if sock is None:
            return False
        try:
            data = sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        now = clock()
        if exchange is None:  # the peer may close between two requests, but has nothing to say
            self.close()
            self.stray += data[:100]
        elif self._aligned and data == exchange.script.chunks[len(exchange.receipts)]:
            exchange.receipts.append(now)
            if len(exchange.receipts) == len(exchange.script.chunks):
                self._end("")
        else:
            self._take(exchange, data, now)
        return True

    def _take(self, exchange: Exchange, data: bytes, now: float) -> None:
        """The careful way: heads, chunks cut or joined anywhere, comments, the end."""
        done, total = len(exchange.receipts), len(exchange.script.events)
        try:
            if not data:
                raise BrokenStream(f"closed after {done} of {total} events")
            at = self._position if self._position.events == done else Position(done, begun=True)
            position = self._check.advance(at, data)
            if position.ended and position.events < total:
                raise BrokenStream(f"ended after {position.events} of {total} events")
        except BrokenStream as error:
            self._end(str(error))
            return
        exchange.receipts.extend([now] * (position.events - done))
        self._position = position
        begins = position == Position(position.events, begun=True)  # the next byte begins a chunk and an event
        self._aligned = self._check.exact and begins and position.events < total
        if position.ended:
            self._end("")

    def _end(self, reason: str) -> None:
        self._exchange = None
        if reason:
            self.close()
        self._on_end(self, reason)


REQUEST_ENDS = (b"}", b"\r\n0\r\n\r\n")
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_KEY = re.compile(rb"bench:([0-9.]+);")


class Upstream:
    """Listens on a port of its own choice; serves the exchanges it expects, 404 for anything else, and a list of
    models for every GET, since some gateways ask for that before they serve."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.expected: dict[str, Exchange] = {}  # by key
        self.connections: set[_Connection] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.on_lost: Callable[[Exchange], None] = lambda exchange: None  # called when `lost_at` has been noted
        loop.watch(self._listener.fileno(), self._on_accept)

    def reset(self) -> None:
        """Forget what is expected and cut what is running: the end of a run, whatever state it is in."""
        self.expected.clear()
        for connection in [connection for connection in self.connections if connection.exchange]:
            connection.close()

    def close(self) -> None:
        for connection in list(self.connections):
            connection.close()
        self._loop.forget(self._listener.fileno())
        self._listener.close()

    def _on_accept(self, mask: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.connections.add(_Connection(self, self._loop, self._listener.accept()[0]))


class _Connection:
    """One connection from the proxy: requests one after another, each answered by its exchange's script."""

    __slots__ = ("_buffer", "_loop", "_sock", "_upstream", "exchange")

    def __init__(self, upstream: Upstream, loop: Loop, sock: socket.socket) -> None:
        self._upstream, self._loop, self._sock = upstream, loop, sock
        self._buffer = b""
        self.exchange: Exchange | None = None
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.watch(sock.fileno(), self._on_ready)

    def close(self) -> None:
        self.exchange = None
        self._loop.forget(self._sock.fileno())
        self._sock.close()
        self._upstream.connections.discard(self)

    def _lose(self) -> None:
        """The other side has closed, by FIN or RST."""
        lost_at, exchange = clock(), self.exchange
        self.close()
        if exchange is not None:
            exchange.lost_at = lost_at
            self._upstream.on_lost(exchange)

    def _on_ready(self, mask: int) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._buffer += data
        if not data:
            self._lose()
        elif self.exchange is None:
            self._serve()

    def _serve(self) -> None:
        """Answer the request in the buffer if it is complete: if it ends as its JSON, its chunks or its head do."""
        if self._buffer.startswith(b"GET ") and self._buffer.endswith(b"\r\n\r\n"):
            self._buffer = b""
            self._send(LISTING)
            return
        if not self._buffer.endswith(REQUEST_ENDS):
            return
        key, self._buffer = _KEY.search(self._buffer), b""
        exchange = self._upstream.expected.pop(key[1].decode(), None) if key else None
        if exchange is None:
            self._send(_NOT_FOUND)
            return
        self.exchange = exchange
        exchange.taken_at = clock()
        if exchange.speech is not Speech.NOTHING:
            self._say(exchange, STREAM_HEAD)
        if exchange.speech is Speech.ALL:
            self._say(exchange)
            self._loop.call_at(exchange.taken_at + exchange.gap, self._on_time)

    def _on_time(self, now: float) -> float | None:
        """Send the next event; return when the one after it is due."""
        exchange = self.exchange
        if exchange is None:
            return None
        self._say(exchange)
        number = len(exchange.sends)
        if number < len(exchange.script.chunks):
            return exchange.sends[0] + (number - FIRST_CONTENT) * exchange.gap
        self.exchange = None
        return None

    def _say(self, exchange: Exchange, head: bytes = b"") -> None:
        """The next event, its time first."""
        number = len(exchange.sends)
        exchange.sends.append(clock())
        self._send(head + exchange.script.chunks[number])

    def _send(self, data: bytes) -> None:
        """Whoever leaves megabytes unread in the socket's buffer has not kept pace: that stream is lost."""
        try:
            taken = self._sock.send(data)
        except OSError:
            taken = 0
        if taken < len(data):
            self._lose()
