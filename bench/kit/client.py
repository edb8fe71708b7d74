"""Shell: the client half of the load: one keep-alive connection that asks for one stream after another.

In: exchanges. Out: POSTs on a raw socket; `receipts` noted as events become complete. Invariant: what is counted was
compared; the first difference ends the connection with a reason.
"""

import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from bench.kit.check import START, Broken, Check, Position
from bench.kit.loop import Loop, clock
from bench.kit.script import MODEL, Exchange

RECEIVE_BYTES = 1 << 16
CONNECT_TIMEOUT = 5.0
RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time
Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """Where the load goes, what it says there, and how it judges what comes back."""

    port: int
    check: type[Check] = Check
    headers: tuple[Header, ...] = ()

    def request(self, key: str) -> bytes:
        message = {"role": "user", "content": f"Tell me a story. bench:{key};"}
        body = json.dumps({"model": MODEL, "stream": True, "messages": [message]}).encode()
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            "Content-Type: application/json",
            "Accept: text/event-stream",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Client:
    """`on_end(client, reason)` is called once per exchange: reason "" when every byte was right."""

    __slots__ = ("_aligned", "_check", "_exchange", "_loop", "_on_end", "_position", "_sock", "_target", "stray")

    def __init__(self, loop: Loop, target: Target, on_end: Callable[["Client", str], None]) -> None:
        self._loop, self._target, self._on_end = loop, target, on_end
        self._sock: socket.socket | None = None
        self._exchange: Exchange | None = None
        self._position = START
        self._aligned = False  # the next read is compared with the next chunk of the script at once
        self.stray = b""  # bytes that came between two streams: no peer may send any

    def ask(self, exchange: Exchange) -> None:
        """Send the request; connects first if there is no connection."""
        self._exchange, self._aligned, self._position = exchange, False, START
        self._check = self._target.check(exchange.script)
        request = self._target.request(exchange.key)
        try:
            sock = self._sock or self._connect()
            exchange.asked_at = clock()
            sock.sendall(request)  # 300 bytes into an empty socket buffer: never blocks
        except OSError as error:
            self._end(f"request failed: {error}")

    def leave(self, *, reset: bool) -> float:
        """Hang up in the middle of an answer, by FIN or RST; return when, 0.0 if the answer was over already.

        What has arrived is taken and checked before: bytes left unread would turn a FIN into an RST.
        """
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

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._target.port), CONNECT_TIMEOUT)
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._loop.watch(sock.fileno(), lambda mask: self._receive())
        self._sock = sock
        return sock

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
                raise Broken(f"closed after {done} of {total} events")
            at = self._position if self._position.events == done else Position(done, chunked=True)
            position = self._check.advance(at, data)
            if position.chunked is False:
                raise Broken("the response body is not chunked")
            if position.ended and position.events < total:
                raise Broken(f"ended after {position.events} of {total} events")
        except Broken as error:
            self._end(str(error))
            return
        exchange.receipts.extend([now] * (position.events - done))
        self._position = position
        self._aligned = self._check.exact and position.aligned and position.events < total
        if position.ended:
            self._end("")

    def _end(self, reason: str) -> None:
        self._exchange = None
        if reason:
            self.close()
        self._on_end(self, reason)
