"""Subscribers of shared streams, one at a time or by the thousand, and every event as it came."""

import json
import re
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .http_client import RawClient, encrypted
from .waiting import PATIENCE

EVENT_STREAM = {"Accept": "text/event-stream"}


@dataclass(frozen=True, slots=True)
class Event:
    """One event as EventSource sees it; `id` is None if the event has no id of its own."""

    name: str
    data: str
    id: str | None

    @classmethod
    def parse(cls, block: str) -> "Event | None":
        """The event in a block; None for a block without data, such as a comment or a `retry`."""
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            field, _, value = line.partition(": ")
            fields.setdefault(field, []).append(value)
        if "data" not in fields:
            return None
        return cls(fields.get("event", ["message"])[0], "\n".join(fields["data"]), fields.get("id", [None])[0])

    @property
    def json(self) -> Any:
        return json.loads(self.data)

    @property
    def seq(self) -> int:
        assert self.id is not None
        return int(self.id.partition("-")[2])

    @property
    def epoch(self) -> str:
        assert self.id is not None
        return self.id.partition("-")[0]


def text_of(events: Sequence[Event]) -> str:
    """The text of a completion, joined from its events."""
    chunks = [event.json for event in events if event.name == "message"]
    parts = [choice["delta"].get("content") for chunk in chunks for choice in chunk.get("choices", ())]
    return "".join(part or "" for part in parts)


class Subscriber(RawClient):
    """A GET subscription on a connection of its own; the constructor reads the head of the answer."""

    def __init__(
        self, port: int, path: str, *, version: str = "1.1", trust: Path | None = None, **headers: str
    ) -> None:
        super().__init__(port)
        if trust is not None:
            self.socket = encrypted(self.socket, trust)
        self.request("GET", path, version=version, **EVENT_STREAM, **headers)
        self.response = self.head()
        self.comments: list[str] = []
        self.retry: int | None = None
        self._blocks: list[str] = []
        self._text = ""
        self._over = False

    def next_event(self) -> Event | None:
        """The next event; None when the body has ended properly."""
        while not self._blocks:
            if self._over:
                lines = self._text.split("\n")
                assert all(line.startswith((":", "retry: ")) for line in lines[:-1]), "the body ended within an event"
                assert lines[-1] == ""
                return None
            self._read()
        event = Event.parse(self._blocks.pop(0))
        assert event is not None, "a block without data, which many clients take for an empty event"
        return event

    def events(self, count: int) -> list[Event]:
        """The next `count` events; fails if the body ends before."""
        found: list[Event] = []
        for _ in range(count):
            event = self.next_event()
            assert event is not None, f"the body ended after {len(found)} of {count} events"
            found.append(event)
        return found

    def all_events(self) -> list[Event]:
        """Everything up to the end of the body, after which the connection must end too."""
        found = []
        while (event := self.next_event()) is not None:
            found.append(event)
        assert self.receive() == b""
        return found

    def wait_for_comment(self, comment: str) -> None:
        while comment not in self.comments:
            self._read()

    def _note(self, lines: str) -> None:
        for line in lines.split("\n"):
            if line.startswith(": "):
                self.comments.append(line[2:])
            elif line.startswith("retry: "):
                self.retry = int(line[7:])

    def _read(self) -> None:
        data = self.chunk() if self.response.headers.get("transfer-encoding") == "chunked" else self._some()
        self._over = not data
        self._note(data.decode())  # a transfer chunk holds whole lines
        *blocks, self._text = (self._text + data.decode()).split("\n\n")
        self._blocks += blocks

    def _some(self) -> bytes:
        """Bytes of a body that ends with its connection, up to the end of a line."""
        data = self._take(len(self._buffer))
        while not data.endswith(b"\n"):
            more = self.receive()
            if not more:
                return data
            data += more
        return data


# --- by the thousand

_CHUNKED_HEAD = re.compile(rb"HTTP/1\.1 200 OK\r\n(?:[^\r]+\r\n)*?transfer-encoding: chunked\r\n", re.IGNORECASE)
_PRELUDE = re.compile(rb": connected\nretry: \d+\n")


def dechunked(raw: bytes) -> bytes:
    """The body of a whole chunked answer, to the byte; the last chunk must be there, and nothing behind it."""
    head, blank, rest = raw.partition(b"\r\n\r\n")
    assert blank
    assert _CHUNKED_HEAD.match(head + b"\r\n"), head
    parts: list[bytes] = []
    at = 0
    while True:
        end = rest.index(b"\r\n", at)
        size = int(rest[at:end], 16)
        at = end + 2 + size
        assert rest[at : at + 2] == b"\r\n"
        if not size:
            assert at + 2 == len(rest)
            return b"".join(parts)
        parts.append(rest[end + 2 : at])
        at += 2


def without_prelude(content: bytes) -> bytes:
    """The events without the prelude, whose `retry` is a random number for each subscriber."""
    found = _PRELUDE.match(content)
    assert found
    return content[found.end() :]


class Crowd:
    """Many subscribers in one thread."""

    def __init__(self, port: int, paths: Sequence[str]) -> None:
        self._selector = selectors.DefaultSelector()
        self._received: dict[socket.socket, list[bytes]] = {}
        self._open = 0
        for path in paths:
            client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
            client.setblocking(False)
            self._received[client] = []
            self._selector.register(client, selectors.EVENT_READ)
            self._open += 1

    def read(self, until: Any, seconds: float = 30.0) -> None:
        """Read what comes until `until` is true, or all subscribers have ended."""
        deadline = time.monotonic() + seconds
        while self._open and not until():
            assert time.monotonic() < deadline, f"{self._open} of {len(self._received)} are still open"
            for key, _ in self._selector.select(0.1):
                client = key.fileobj
                assert isinstance(client, socket.socket)
                data = client.recv(1 << 18)
                if data:
                    self._received[client].append(data)
                else:
                    self._selector.unregister(client)
                    self._open -= 1

    def __len__(self) -> int:
        return len(self._received)

    def have_heads(self) -> bool:
        return all(self._received.values())

    def bodies(self) -> list[bytes]:
        """The events of each subscriber as bytes, in the order of the paths; called when all have ended."""
        self.read(lambda: False)
        return [without_prelude(dechunked(b"".join(pieces))) for pieces in self._received.values()]

    def leave(self, *, reset: bool) -> None:
        for client in self._received:
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        self._selector.close()
