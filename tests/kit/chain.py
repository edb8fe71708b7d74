"""A service in the test's own event loop, between an upstream and clients that are sockets of the test.

Every byte passes when the test says so: what an event costs can be counted.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import orjson

from gateway.config import Config
from gateway.dialects.choices.frames import DONE
from gateway.run.service import Service
from tests.kit.completions import MODEL, body

PATIENCE = 30.0

Run = Callable[[Coroutine[Any, Any, None]], None]


class Client:
    """A connection in the test's own loop, without a task or a buffer."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected

    @classmethod
    async def open(cls, port: int, request: bytes) -> "Client":
        connected = socket.socket()
        connected.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connected, ("127.0.0.1", port))
        await loop.sock_sendall(connected, request)
        return cls(connected)

    async def until(self, mark: bytes) -> bytes:
        """The bytes that come, up to and including `mark`."""
        loop, found = asyncio.get_running_loop(), b""
        async with asyncio.timeout(PATIENCE):
            while mark not in found:
                more = await loop.sock_recv(self.socket, 1 << 16)
                assert more, found
                found += more
        return found


class Chain:
    """A gateway in this process between an upstream and a client that are sockets of the test."""

    def __init__(
        self, service: Service, listening: socket.socket, upstream: socket.socket, client: Client, stream_id: str
    ) -> None:
        self._service = service
        self._listening = listening
        self._upstream = upstream
        self._client = client
        self._count = 0
        self._subscribers: list[Client] = []
        self._stream_id = stream_id

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, folder: Path, **sections: Any) -> AsyncIterator["Chain"]:
        """A gateway with one completion that runs; `sections` are added to its configuration."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as opened:
            listening.setblocking(False)
            service = Service(settings(folder, listening.getsockname()[1], **sections))
            await service.start()
            try:
                client = await Client.open(service.port, POST)
                opened.callback(client.socket.close)
                upstream, _ = await loop.sock_accept(listening)
                opened.callback(upstream.close)
                upstream.setblocking(False)
                await Client(upstream).until(b"messages")
                await loop.sock_sendall(upstream, HEAD + chunk(0))
                head = await client.until(b"\r\n\r\n")
                chain = cls(service, listening, upstream, client, header(head, b"x-stream-id"))
                yield chain
                chain.close()
            finally:
                await service.stop()

    async def send(self, events: int) -> None:
        """Relay this many events one by one: each when every client has received the event before it."""
        loop = asyncio.get_running_loop()
        for _ in range(events):
            self._count += 1
            await loop.sock_sendall(self._upstream, chunk(self._count))
            mark = b'"t%d"' % self._count
            for client in (self._client, *self._subscribers):
                await client.until(mark)

    @property
    def port(self) -> int:
        return self._service.port

    @contextlib.asynccontextmanager
    async def running(self, request: bytes) -> AsyncIterator[tuple[socket.socket, Client]]:
        """Run another completion up to its first content; yields its upstream's socket and its client."""
        loop = asyncio.get_running_loop()
        client = await Client.open(self.port, request)
        with client.socket:
            upstream, _ = await loop.sock_accept(self._listening)
            with upstream:
                upstream.setblocking(False)
                upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each answer takes 40 ms
                await Client(upstream).until(b"messages")
                await loop.sock_sendall(upstream, HEAD + chunk(0))
                await client.until(b'"t0"')
                yield upstream, client

    async def answer(self, request: bytes, count: int) -> None:
        """Ask for this many completions on one connection of a client, and read each to its last byte."""
        loop = asyncio.get_running_loop()
        async with self.running(request) as (upstream, client):
            for number in range(count):
                if number:
                    await loop.sock_sendall(client.socket, request)
                    await Client(upstream).until(b"messages")
                    await loop.sock_sendall(upstream, HEAD + chunk(0))
                await loop.sock_sendall(upstream, LAST)
                await client.until(b"0\r\n\r\n")

    @property
    def upstream(self) -> socket.socket:
        """The upstream's socket of the completion that runs."""
        return self._upstream

    @property
    def events_path(self) -> str:
        """Where the events of the stream that runs are."""
        return f"/v1/streams/{self._stream_id}/events?from=now"

    async def join(self, count: int, path: str = "") -> None:
        """Let `count` subscribers join the stream, or the feed at this path."""
        path = path or self.events_path
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()
        for _ in range(count):
            self._subscribers.append(await Client.open(self._service.port, request))
            await self._subscribers[-1].until(b"retry: ")

    def leave(self, count: int) -> None:
        """Let `count` subscribers leave, the newest first."""
        for _ in range(count):
            self._subscribers.pop().socket.close()

    def close(self) -> None:
        self.leave(len(self._subscribers))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"%x\r\n%b\r\n0\r\n\r\n" % (len(DONE), DONE)
CONTENT = orjson.dumps(body(stream=True))
POST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(CONTENT), CONTENT)
)


def settings(folder: Path, port: int, **sections: Any) -> Config:
    return Config.model_validate(
        {
            "server": {"listen": "127.0.0.1:0"},
            "storage": {"path": str(folder / "s.db")},
            "upstreams": [{"name": "a", "base_url": f"http://127.0.0.1:{port}/v1", "models": [{"id": MODEL}]}],
            **sections,
        }
    )


def frame(number: int) -> bytes:
    """An event of a completion."""
    delta = {"role": "assistant", "content": f"t{number}"} if number == 0 else {"content": f"t{number}"}
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    fields = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}
    return b"data: %b\n\n" % orjson.dumps(fields)


def chunk(number: int) -> bytes:
    """An event of a completion in a transfer chunk of its own."""
    data = frame(number)
    return b"%x\r\n%b\r\n" % (len(data), data)


def header(head: bytes, name: bytes) -> str:
    lines = (line.partition(b": ") for line in head.split(b"\r\n"))
    return next(value for key, _, value in lines if key.lower() == name).decode()


def names() -> list[str]:
    """The names of all running tasks, without the numbers of their connections."""
    return sorted(task.get_name() for task in asyncio.all_tasks())
