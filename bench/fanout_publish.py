"""Shell: the publisher's half of the load: gets events into a peer by whatever way the peer has for it.

In: numbers of events. Out: their bytes, in one send however many they are. Invariant: nothing here waits for an
answer of the peer while a pass is being measured; what it answers is thrown away.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from bench.frames import MODEL, Script

TIMEOUT = 10.0  # for a peer to take or to answer something
_UPSTREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


class Publisher(Protocol):
    """`path` is what subscribers ask for."""

    path: str

    def open(self, port: int) -> None: ...

    def send(self, numbers: Sequence[int]) -> None: ...

    def close(self) -> None: ...


class _OneSocket:
    def __init__(self, script: Script) -> None:
        self._script = script
        self._sock: socket.socket | None = None

    def _use(self, sock: socket.socket) -> None:
        sock.settimeout(TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock

    def _send(self, data: bytes) -> None:
        assert self._sock is not None
        self._sock.sendall(data)

    def _drain(self) -> bytes:
        """What the peer has answered so far."""
        assert self._sock is not None
        parts = []
        self._sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while data := self._sock.recv(1 << 16):
                parts.append(data)
        self._sock.settimeout(TIMEOUT)
        return b"".join(parts)

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()


class Provider(_OneSocket):
    """The gateway's: a model provider behind a detached stream, one event per chunk."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TIMEOUT)
        self.port: int = self._listener.getsockname()[1]
        self.path = ""

    def open(self, port: int) -> None:
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        body = json.dumps({"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Tell."}]})
        asked.request("POST", "/v1/streams", body, {"Content-Type": "application/json"})
        answer = asked.getresponse()
        told = answer.read()
        if answer.status != 201:
            raise OSError(f"POST /v1/streams answered {answer.status} {told[:300]!r}")
        url = urlsplit(json.loads(told)["events_url"])  # a path alone, or a whole URL
        self.path = url.path + (f"?{url.query}" if url.query else "")
        asked.close()
        self._use(self._listener.accept()[0])
        request = b""
        while b"\r\n\r\n" not in request or not request.endswith(b"}"):
            request += self._sock.recv(1 << 16) if self._sock else b""
        self._send(_UPSTREAM_HEAD)

    def send(self, numbers: Sequence[int]) -> None:
        self._send(b"".join(self._script.chunks[numbers[0] : numbers[-1] + 1]))

    def close(self) -> None:
        super().close()
        self._listener.close()


class Posts(_OneSocket):
    """Nchan's: a POST per event on one connection, pipelined."""

    path = "/sub"

    def open(self, port: int) -> None:
        self._use(socket.create_connection(("127.0.0.1", port), TIMEOUT))

    def send(self, numbers: Sequence[int]) -> None:
        answers = self._drain()
        if b"HTTP/1.1 4" in answers or b"HTTP/1.1 5" in answers:
            raise OSError(f"a POST was answered {answers[:300]!r}")
        self._send(b"".join(self._post(number) for number in numbers))

    def _post(self, number: int) -> bytes:
        data = self._script.events[number][len("data: ") : -2]  # the peer adds the framing of its own
        head = b"POST /pub HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
        return head % len(data) + data


class Upload(_OneSocket):
    """One long POST in chunks: aiohttp's with the events as they are."""

    path = "/sub"

    def open(self, port: int) -> None:
        self._use(socket.create_connection(("127.0.0.1", port), TIMEOUT))
        self._send(b"POST /pub HTTP/1.1\r\nHost: bench\r\nTransfer-Encoding: chunked\r\n\r\n")

    def send(self, numbers: Sequence[int]) -> None:
        self._send(b"".join(self._script.chunks[numbers[0] : numbers[-1] + 1]))


class RawUpload(Upload):
    """The C loop's: what is uploaded is what subscribers get, with an id, as long as the gateway's."""

    def send(self, numbers: Sequence[int]) -> None:
        self._send(b"".join(self._chunk(number) for number in numbers))

    def _chunk(self, number: int) -> bytes:
        event = b"id: c0ffee000000-%d\n%b" % (number, self._script.events[number])
        return b"%x\r\n%b\r\n" % (len(event), event)
