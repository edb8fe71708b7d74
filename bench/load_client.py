"""Shell: the client half of the load, one keep-alive connection that asks for one stream after another.

In: exchanges. Out: POSTs on a raw socket; `receipts` noted as events become complete. Invariant: what is
counted was compared; the first difference ends the connection with a reason.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from bench.frames import MODEL, BrokenStream, Dechunker, ExactCheck, Exchange
from bench.loop import Loop, clock

RECEIVE_BYTES = 1 << 16
CONNECT_TIMEOUT = 5.0
MAX_HEAD_BYTES = 1 << 16  # LiteLLM's head has about 2 KiB
RST_ON_CLOSE = struct.pack("ii", 1, 0)  # linger on, for no time
Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """Where the load goes, what it says there, and how it judges what comes back."""

    port: int
    check: type[ExactCheck] = ExactCheck
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

    __slots__ = (
        "_aligned",
        "_check",
        "_dechunker",
        "_exchange",
        "_head",
        "_loop",
        "_on_end",
        "_sock",
        "_target",
        "stray",
    )

    def __init__(self, loop: Loop, target: Target, on_end: Callable[[Client, str], None]) -> None:
        self._loop, self._target, self._on_end = loop, target, on_end
        self._sock: socket.socket | None = None
        self._exchange: Exchange | None = None
        self._head: bytes | None = b""  # the response head so far; None once it is complete
        self._aligned = False  # an event is expected next, with no byte before it
        self._dechunker = Dechunker()
        self.stray = b""  # bytes that came between two streams: no peer may send any

    def ask(self, exchange: Exchange) -> None:
        """Send the request; connects first if there is no connection."""
        self._exchange, self._head, self._aligned = exchange, b"", False
        self._dechunker, self._check = Dechunker(), self._target.check(exchange.script)
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
        self._loop.watch(sock.fileno(), self._on_ready)
        self._sock = sock
        return sock

    def _on_ready(self, mask: int) -> None:
        self._receive()

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
        if exchange is None:
            self._on_silent_data(data)
        elif self._aligned and data == exchange.script.chunks[self._check.done]:
            self._check.done += 1
            exchange.receipts.append(now)
            if self._check.done == len(exchange.script.chunks):
                self._end("")
        else:
            self._take(exchange, data, now)
        return True

    def _on_silent_data(self, data: bytes) -> None:
        """Between two requests: the proxy may close, but has nothing to say."""
        self.close()
        self.stray += data[:100]

    def _take(self, exchange: Exchange, data: bytes, now: float) -> None:
        """The careful way: heads, chunks cut or joined anywhere, comments, the end."""
        check, dechunker = self._check, self._dechunker
        try:
            if not data:
                raise BrokenStream(f"closed after {check.done} of {len(exchange.script.events)} events")
            if self._head is not None:
                data = self._take_head(self._head + data)
            done = check.feed(dechunker.feed(data))
            exchange.receipts.extend([now] * (done - len(exchange.receipts)))
            if dechunker.ended and done < len(exchange.script.events):
                raise BrokenStream(f"ended after {done} of {len(exchange.script.events)} events")
        except BrokenStream as error:
            self._end(str(error))
            return
        if dechunker.ended:
            self._end("")
        elif self._head is None and done < len(exchange.script.events):
            self._aligned = check.exact and check.aligned and dechunker.aligned
        else:  # the head, or after [DONE] the end of the body alone, are awaited: no chunk of the script
            self._aligned = False

    def _take_head(self, data: bytes) -> bytes:
        """Check the response head; return the bytes after it (b"" while it is incomplete)."""
        head, separator, rest = data.partition(b"\r\n\r\n")
        if not separator:
            self._head = data
            if len(data) > MAX_HEAD_BYTES:
                raise BrokenStream("a response head without an end")
            return b""
        if not head.startswith(b"HTTP/1.1 200"):
            raise BrokenStream(f"answered {head[:40]!r} {rest[:300]!r}")
        if b"\r\ntransfer-encoding: chunked" not in head.lower():
            raise BrokenStream("the response body is not chunked")
        self._head = None
        return rest

    def _end(self, reason: str) -> None:
        self._exchange = None
        if reason:
            self.close()
        self._on_end(self, reason)
