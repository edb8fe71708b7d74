"""Shell: the upstream half of the load, a model provider on raw sockets.

In: a POST whose message holds the key of an expected exchange. Out: a chunked SSE stream, one event per chunk
and per send, on schedule: role and first token at once, event k at (k - 1) gaps. Invariant: the time of each
send is noted before the send, and a close as soon as it is seen, in silence too.
"""

import contextlib
import re
import select
import socket
from collections.abc import Callable

from bench.kit.loop import Loop, clock
from bench.kit.script import FIRST_CONTENT, STREAM_HEAD, Exchange, Says

MAX_REQUEST_BYTES = 1 << 20  # a proxy that sends more than this for our 200-byte body is broken
_REFUSAL = b'{"error":{"message":"not a call of this bench"}}'
_NOT_FOUND = (
    b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_REFUSAL)
    + _REFUSAL
)
_KEY = re.compile(rb"bench:([0-9.]+);")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)


def ignore(exchange: Exchange) -> None:
    """Nothing follows from a lost exchange."""


class Upstream:
    """Listens on a port of its own choice; serves the exchanges it expects, 404 for anything else."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.expected: dict[str, Exchange] = {}
        self.connections: set[_Connection] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.on_lost: Callable[[Exchange], None] = ignore  # called when `lost_at` has been noted
        loop.watch(self._listener.fileno(), self._on_accept)

    def expect(self, exchange: Exchange) -> None:
        self.expected[exchange.key] = exchange

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

    __slots__ = ("_backlog", "_buffer", "_loop", "_next", "_sock", "_upstream", "exchange")

    def __init__(self, upstream: Upstream, loop: Loop, sock: socket.socket) -> None:
        self._upstream, self._loop, self._sock = upstream, loop, sock
        self._buffer = b""
        self._backlog = b""  # what the socket did not take; the schedule goes on meanwhile
        self.exchange: Exchange | None = None
        self._next = 0
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
        if mask & select.EPOLLOUT and self._backlog:
            backlog, self._backlog = self._backlog, b""
            self._send(backlog)
            if not self._backlog and self._sock.fileno() >= 0:
                self._loop.want_write(self._sock.fileno(), False)
        if mask & ~select.EPOLLOUT and self._sock.fileno() >= 0:
            self._read()

    def _read(self) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._buffer += data
        if not data:
            self._lose()
        elif len(self._buffer) > MAX_REQUEST_BYTES:
            self.close()
        elif self.exchange is None:
            self._serve()

    def _serve(self) -> None:
        """Answer the request in the buffer if it is complete."""
        size = _request_size(self._buffer)
        if size is None:
            return
        request, self._buffer = self._buffer[:size], self._buffer[size:]
        key = _KEY.search(request)
        exchange = self._upstream.expected.pop(key[1].decode(), None) if key else None
        if exchange is None:
            self._send(_NOT_FOUND)
            return
        chunks, sends = exchange.script.chunks, exchange.sends
        self.exchange, self._next = exchange, FIRST_CONTENT + 1
        begun = exchange.taken_at = clock()
        if exchange.says is Says.NOTHING:
            return
        sends.append(begun)
        self._send(STREAM_HEAD + chunks[0])
        if exchange.says is Says.ROLE:
            return
        sends.append(clock())
        self._send(chunks[FIRST_CONTENT])
        self._loop.call_at(begun + exchange.gap, self._on_time)

    def _on_time(self, now: float) -> float | None:
        """Send the next event; return when the one after it is due."""
        exchange, number = self.exchange, self._next
        if exchange is None:
            return None
        sends, chunks = exchange.sends, exchange.script.chunks
        sends.append(clock())
        self._send(chunks[number])
        self._next = number = number + 1
        if number < len(chunks):
            return sends[0] + (number - FIRST_CONTENT) * exchange.gap
        self.exchange = None
        if self._buffer:
            self._serve()
        return None

    def _send(self, data: bytes) -> None:
        if self._backlog:
            self._backlog += data
            return
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose()
            return
        if sent < len(data):
            self._backlog = data[sent:]
            self._loop.want_write(self._sock.fileno(), True)


def _request_size(data: bytes) -> int | None:
    """The size of the first request in `data`, None while it is incomplete."""
    head_end = data.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    head, body_at = data[:head_end], head_end + 4
    if _CHUNKED.search(head):
        end = data.find(b"\r\n0\r\n\r\n", head_end + 2)
        return None if end < 0 else end + 7
    length = _LENGTH.search(head)
    size = body_at + (int(length[1]) if length else 0)
    return size if len(data) >= size else None
