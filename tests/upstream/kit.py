"""What the tests of the upstream side speak with: a scripted upstream on loopback, and attempts on it."""

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson
from pydantic import SecretStr

from gateway import clock, config
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import AnswerIdentity
from gateway.errors import RivergateError, UpstreamError, UpstreamRefused
from gateway.tasks import Tasks
from gateway.upstream.attempt import Attempt
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.order import Order

BOUND = 1.0  # seconds that "at once" may take on a loaded machine
KEY = "sk-never-to-be-told"
PROMPT = "the prompt that stays private"
SECRETS = ("127.0.0.1", "localhost", KEY, PROMPT)


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until a condition holds that nothing announces."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition has no event to wait on
            await asyncio.sleep(0.001)


async def passes(count: int) -> None:
    """Let the loop run this many passes."""
    for _ in range(count):
        await asyncio.sleep(0)


def open_sockets() -> int:
    """How many sockets this process has open; other files do not count (libuv keeps a /dev/null)."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return found


class Peer:
    """The upstream's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def request(self) -> bytes:
        """One request, head and body."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line[16:]) for line in lines if line.startswith(b"content-length: ")), 0)
        return head + await self._reader.readexactly(length)

    async def read(self, size: int) -> bytes:
        return await self._reader.read(size)

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def events(self, *data: bytes) -> None:
        """The head of a chunked event stream, and its first events in one chunk."""
        self.send(STREAM_HEAD)
        self.chunk(*data)

    def chunk(self, *data: bytes) -> None:
        body = b"".join(data)
        if body:
            self.send(b"%x\r\n%b\r\n" % (len(body), body))

    async def hung_up(self) -> bool:
        """Wait for the other side to close; returns whether it closed within `BOUND`."""
        try:
            async with asyncio.timeout(BOUND):
                with suppress(ConnectionError):
                    while await self._reader.read(65536):
                        pass
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    @property
    def transport(self) -> asyncio.WriteTransport:
        return self._writer.transport


class Server:
    """A listener that does nothing by itself: a test takes its connections and plays the upstream."""

    def __init__(self) -> None:
        self._peers: asyncio.Queue[Peer] = asyncio.Queue()
        self._all: list[Peer] = []
        self.accepted = 0
        self.port = 0
        self.scheme = "http"

    @classmethod
    @asynccontextmanager
    async def open(
        cls, ssl: Any = None, play: Callable[[Peer], Awaitable[None]] | None = None
    ) -> AsyncIterator["Server"]:
        server = cls()

        async def on_connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server.accepted += 1
            peer = Peer(reader, writer)
            server._all.append(peer)
            if play is None:
                server._peers.put_nowait(peer)
            else:
                with suppress(ConnectionError, asyncio.IncompleteReadError):
                    await play(peer)
                peer.close()

        listener = await asyncio.start_server(on_connected, "127.0.0.1", 0, ssl=ssl)
        server.port = listener.sockets[0].getsockname()[1]
        server.scheme = "https" if ssl else "http"
        try:
            yield server
        finally:
            listener.close()
            for peer in server._all:
                with suppress(AttributeError):  # Python 3.11.2, of TLS: closed twice, nothing is left to abort
                    peer.transport.abort()
            await listener.wait_closed()
            await passes(3)

    @property
    def base_url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/v1"

    async def peer(self) -> Peer:
        async with asyncio.timeout(5):
            return await self._peers.get()


def endpoint(base_url: str, idle_ms: int = 60_000, proxies: Mapping[str, str] | None = None, **more: Any) -> Endpoint:
    """An endpoint named `alpha` with our key."""
    upstream = config.UpstreamSettings.model_validate(
        {"name": "alpha", "base_url": base_url, "api_key": SecretStr(KEY), "models": [{"id": "m"}], **more}
    )
    return Endpoint.build(upstream, idle_ms / 1000, proxies or {})


async def close(to: Endpoint) -> None:
    """Close the pool, and wait until every connection is gone."""
    to.pool.close()
    await until(lambda: to.pool.statistics().open == 0)


class Observer:
    """Both the observer of an attempt and the receiver of its frames, writing down what it hears."""

    def __init__(self, then: Callable[[str], None] = lambda name: None) -> None:
        self.calls: list[str] = []
        self.frames: list[bytes] = []
        self.error: RivergateError | None = None
        self.last_at = 0.0
        self.flows = True
        self._then = then

    @property
    def text(self) -> str:
        """The content of the frames, joined."""
        choices = [choice for frame in self.frames for choice in orjson.loads(frame[6:])["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    @property
    def outcome(self) -> list[str]:
        """The calls without the frames."""
        return [call for call in self.calls if call != "frames"]

    singly = False

    def on_content(self, attempt: Attempt) -> None:
        self._told("content")
        if self.flows:
            attempt.stream.flow_to(self)

    def on_frame(self, frame: bytes, chunk: bytes = b"") -> None:
        self.on_frames([frame])

    def on_frames(self, frames: list[bytes]) -> None:
        self.frames += frames
        self._told("frames")

    def on_complete(self, attempt: Attempt) -> None:
        if self.frames:
            attempt.stream.deliver_last()
        self._told("complete")

    def on_failed(self, attempt: Attempt, error: RivergateError) -> None:
        self.error = error
        self._told("failed")

    async def over(self) -> None:
        await until(lambda: "complete" in self.calls or "failed" in self.calls)

    def _told(self, name: str) -> None:
        self.last_at = clock.monotonic()
        self.calls.append(name)
        self._then(name)


class Trial:
    """One attempt on an endpoint, with its observer and the owner of its tasks."""

    def __init__(
        self, to: Endpoint, *, streamed: bool = True, observer: Observer | None = None, **order: Any
    ) -> None:
        self.endpoint = to
        self.observer = observer or Observer()
        self.observer.flows = self.observer.flows and streamed
        self.tasks = Tasks()
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": PROMPT}],
            **({"stream": True} if streamed else {}),
        }
        content = CHAT.parse(orjson.dumps(body)).upstream_body(
            "m-at-alpha", streamed=streamed, include_usage=to.include_usage
        )
        request = to.encode(CHAT.upstream_path, content, streamed=streamed, request_id="req-1")
        identity = AnswerIdentity("1", 1_700_000_000, "m")
        self.attempt = Attempt(Order(to, CHAT, identity, streamed, **order), request, self.observer, self.tasks)
        self.started = clock.monotonic()
        self.attempt.start()

    @classmethod
    async def run(cls, to: Endpoint, **more: Any) -> "Trial":
        """An attempt that has ended."""
        trial = cls(to, **more)
        await trial.observer.over()
        return trial

    @property
    def error(self) -> RivergateError:
        """The only failure of the attempt, checked to be fit for clients."""
        error = self.observer.error
        assert error is not None, self.observer.calls
        assert self.observer.calls.count("failed") == 1
        assert self.observer.calls[-1] == "failed"
        assert_fit_for_clients(error)
        return error


def assert_fit_for_clients(error: RivergateError) -> None:
    if not isinstance(error, UpstreamRefused):
        assert error.message.startswith("alpha: ")
    assert not [secret for secret in SECRETS if secret in error.message], error.message


def assert_names_no_host(error: UpstreamError) -> None:
    assert not [secret for secret in SECRETS if secret in error.message], error.message


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def event(delta: Mapping[str, Any], finish_reason: str | None = None, **more: Any) -> bytes:
    """A conforming chunk of a completion."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more}
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


ROLE = event({"role": "assistant", "content": ""})
FINISH = event({}, "stop")


def word(text: str) -> bytes:
    return event({"content": text})


async def used(server: Server, to: Endpoint) -> Peer:
    """The peer of a connection that has served a request and rests."""
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"), FINISH, DONE)
    peer.send(LAST_CHUNK)
    await trial.observer.over()
    await until(lambda: to.pool.statistics().idle == 1)
    return peer
