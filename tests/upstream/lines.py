"""One upstream connection for a test: on a socket with a peer, or on a transport that does nothing."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from gateway.errors import RivergateError
from gateway.upstream.connection import BodyHandler, UpstreamConnection

from .kit import until

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def reset(sock: socket.socket) -> None:
    """Close with an RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Recorder:
    """A `ResponseReceiver` that writes down what it hears. `then` is called with the name of each callback."""

    def __init__(self, then: Callable[[str], None] = lambda name: None) -> None:
        self.calls: list[str] = []
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.body = b""
        self.error: RivergateError | None = None
        self.untouched: bool | None = None
        self._then = then

    @property
    def ends(self) -> list[str]:
        return [call for call in self.calls if call in ("end", "lost")]

    def on_head(self, status: int, headers: Mapping[str, str]) -> BodyHandler:
        self.status, self.headers = status, headers
        self._note("head")
        return self.on_body

    def on_body(self, data: bytes) -> None:
        self.body += data
        self._note("body")

    def on_end(self) -> None:
        self._note("end")

    def on_lost(self, error: RivergateError, *, untouched: bool) -> None:
        self.error, self.untouched = error, untouched
        self._note("lost")

    def _note(self, name: str) -> None:
        self.calls.append(name)
        self._then(name)


class StandingTransport(asyncio.Transport):
    """A transport that does nothing, as if its peer took everything at once and sent nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self._is_reading = True
        self._is_closing = False

    def write(self, data: Any) -> None:
        self.sent += data

    def abort(self) -> None:
        self._is_closing = True

    def is_closing(self) -> bool:
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        return 0

    def is_reading(self) -> bool:
        return self._is_reading

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True


class StandingLine:
    """An `UpstreamConnection` without a socket, which the test feeds with bytes, and what its owner hears."""

    def __init__(self) -> None:
        self.idle: list[UpstreamConnection] = []
        self.lost: list[UpstreamConnection] = []
        self.connection = UpstreamConnection(self.idle.append, self.lost.append)
        self.transport = StandingTransport()
        self.connection.connection_made(self.transport)
        self.feed = self.connection.data_received

    def ask(self, recorder: Recorder | None = None) -> Recorder:
        """Send a request; what comes of it is in the recorder."""
        recorder = recorder or Recorder()
        self.connection.send(REQUEST, recorder)
        return recorder


class Line:
    """An `UpstreamConnection`, the other end of its socket, and what its owner hears."""

    def __init__(self) -> None:
        self.idle: list[UpstreamConnection] = []
        self.lost: list[UpstreamConnection] = []
        self.connection = UpstreamConnection(self.idle.append, self.lost.append)
        self.transport: asyncio.BaseTransport
        self.peer: socket.socket

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["Line"]:
        line = cls()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            connecting = asyncio.get_running_loop().create_connection(lambda: line.connection, "127.0.0.1", port)
            line.transport, _ = await connecting
            line.peer, _ = listener.accept()
        line.peer.settimeout(5)
        try:
            yield line
        finally:
            line.connection.abort()
            line.peer.close()
            await until(lambda: line.lost)

    def ask(self, recorder: Recorder | None = None) -> Recorder:
        """Send a request; what comes of it is in the recorder."""
        recorder = recorder or Recorder()
        self.connection.send(REQUEST, recorder)
        return recorder

    def hang_up(self) -> None:
        """Close the peer's end with a FIN: without unread bytes, which would make it an RST."""
        self.peer.recv(65536)
        self.peer.close()
