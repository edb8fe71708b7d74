"""HTTP/1.1 by hand: every byte of an answer, where it was cut, and every way to hang up."""

import json
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from .waiting import PATIENCE

_RST_ON_CLOSE = struct.pack("ii", 1, 0)


class Listening(Protocol):
    """Whatever serves on a port of this machine."""

    @property
    def port(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. `chunks` are the transfer chunks, if it had any."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    chunks: tuple[bytes, ...] = ()

    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error

    def events(self) -> list[Any]:
        """The JSON of the data lines, `[DONE]` as a string; the body must be nothing but frames and comments."""
        found = []
        *frames, rest = self.body.decode().split("\n\n")
        assert rest == ""
        for frame in frames:
            if frame == ": keepalive":
                continue
            assert frame.startswith("data: ")
            assert "\n" not in frame
            found.append("[DONE]" if frame == "data: [DONE]" else json.loads(frame[6:]))
        return found

    def text(self) -> str:
        """The content of all chunks."""
        chunks = [event for event in self.events() if event != "[DONE]" and event.get("choices")]
        parts = [chunk["choices"][0]["delta"].get("content") for chunk in chunks]
        return "".join(part or "" for part in parts)


class RawClient:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def post(self, body: object, *, version: str = "1.1", **headers: str) -> None:
        """Ask for a completion; `body` is JSON, or bytes as they are."""
        self.request("POST", "/v1/chat/completions", body, version=version, **headers)

    def request(self, method: str, path: str, body: object = b"", *, version: str = "1.1", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(content))}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = f"{method} {path} HTTP/{version}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items()) + "\r\n"
        self.socket.sendall(head.encode() + content)

    def head(self) -> Answer:
        status_line, *lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in lines if line)
        return Answer(int(status_line.split(" ")[1]), {name.lower(): value for name, _, value in pairs})

    def chunk(self) -> bytes:
        """One transfer chunk; empty for the last."""
        size = int(self._until(b"\r\n"), 16)
        chunk = self._exactly(size + 2)
        assert chunk.endswith(b"\r\n")
        return chunk[:-2]

    def answer(self) -> Answer:
        """A whole response, however its body is delimited."""
        head = self.head()
        if head.headers.get("transfer-encoding") == "chunked":
            chunks = tuple(iter(self.chunk, b""))
            return Answer(head.status, head.headers, b"".join(chunks), chunks)
        if "content-length" in head.headers:
            return Answer(head.status, head.headers, self._exactly(int(head.headers["content-length"])))
        return Answer(head.status, head.headers, self.rest())

    def receive(self) -> bytes:
        """What one read brings; empty at the end."""
        return self.socket.recv(1 << 20)

    def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        while data := self.receive():
            self._buffer += data
        return self._take(len(self._buffer))

    def hang_up(self, how: str) -> None:
        """Leave by "fin" (close), by "half" (close for writing only) or by "rst"."""
        if how == "half":
            self.socket.shutdown(socket.SHUT_WR)
            return
        if how == "rst":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self.close()

    def close(self) -> None:
        self.socket.close()

    def _until(self, mark: bytes) -> bytes:
        while (end := self._buffer.find(mark)) < 0:
            self._more()
        return self._take(end + len(mark))[:end]

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _more(self) -> None:
        data = self.receive()
        if not data:
            raise EOFError(f"the connection ended after {bytes(self._buffer)!r}")
        self._buffer += data


def fetch(port: int, body: object, **headers: str) -> Answer:
    """One completion on a connection of its own."""
    with RawClient(port) as client:
        client.post(body, **headers)
        return client.answer()


def call(server: Listening, method: str, path: str, content: object = b"", **headers: str) -> Answer:
    """One request on a connection of its own."""
    with RawClient(server.port) as client:
        client.request(method, path, content, **headers)
        return client.answer()


def encrypted(plain: socket.socket, trust: Path) -> ssl.SSLSocket:
    """The socket with TLS on it, the server's certificate checked against this authority."""
    return ssl.create_default_context(cafile=str(trust)).wrap_socket(plain, server_hostname="localhost")
