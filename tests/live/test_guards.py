"""What a token and a subscriber cost, as counts: system calls, objects, tasks and bytes; never as times."""

import asyncio
import contextlib
import gc
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import Config
from gateway.dialects.chat.frames import DONE
from gateway.run.service import Service

from .conftest import KEYS
from .processes import Gateway
from .rawhttp import RawClient
from .subscribers import Crowd, call, create, wait_for_state
from .upstreams import MODEL, Upstream, body, configuration

SILENT = {"ttft_ms": 600_000}
PATIENCE = 30.0
STRACE = shutil.which("strace")


@pytest.fixture
def gateway(logs: Path, tmp_path: Path, alpha: Upstream) -> Iterator[Gateway]:
    sections = f'[storage]\npath = "{tmp_path}/s.db"\n'
    gateway = Gateway(logs, configuration([(alpha, [MODEL])], sections), KEYS)
    yield gateway
    gateway.terminate()


# --- of a process: system calls and memory

TOKENS = 200
TOGETHER = 100
MEMORY_CROWD = 2000
WARM_CROWD = 500  # who comes first pays for what all use
MAX_BYTES = 4096  # of user-space memory for an idle subscriber; bench/fanout.py measures 500 to 600


class SystemCalls:
    """Counts, by strace(1), the calls of a process that send, as long as the block lasts."""

    SENDING = ("write", "writev", "sendto", "sendmsg")

    def __init__(self, pid: int, folder: Path) -> None:
        if STRACE is None:
            pytest.skip("strace is not installed")
        self._told = folder / "strace"
        command = [STRACE, "-f", "-c", "-e", f"trace={','.join(self.SENDING)}", "-o", f"{self._told}", "-p", f"{pid}"]
        self._strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._strace.stderr is not None
        line = self._strace.stderr.readline()
        if "attached" not in line:
            self._strace.wait()
            pytest.skip(f"strace may not look: {line}")

    def total(self) -> int:
        """How many there were; to be asked once."""
        self._strace.send_signal(signal.SIGINT)
        self._strace.communicate(timeout=PATIENCE)
        rows = [line.split() for line in self._told.read_text().splitlines()]
        return sum(int(row[3]) for row in rows if row and row[-1] in self.SENDING)


def counter(gateway: Gateway, name: str) -> float:
    families = text_string_to_metric_families(call(gateway, "GET", "/metrics").body.decode())
    return next(one.samples[0].value for one in families if one.name == name)


def test_an_event_to_a_subscriber_is_one_system_call_at_most(gateway: Gateway, tmp_path: Path) -> None:
    stream = create(gateway, {"ttft_ms": 1000, "gap_ms": 20, "tokens": TOKENS})
    calls = SystemCalls(gateway.process.pid, tmp_path)
    crowd = Crowd(gateway.port, [stream["events_url"]] * TOGETHER)
    crowd.bodies()
    sent = calls.total()
    crowd.leave(reset=False)
    told = wait_for_state(gateway, stream["id"], readers=0)
    assert told["deliveries"] == TOGETHER * told["events"]
    assert told["sends"] <= told["deliveries"] + TOGETHER  # each has an end, which is no event
    assert sent >= told["sends"], "strace has not seen them all"
    assert sent <= 1.02 * told["sends"] + 5 * TOGETHER  # a head for each, and what begins its events


def private_bytes(gateway: Gateway) -> int:
    """User-space memory of the process that is its own."""
    lines = Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * MEMORY_CROWD:
        pytest.skip("the limit of open files is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_an_idle_subscriber_takes_little_memory(gateway: Gateway) -> None:
    stream = create(gateway, SILENT)
    crowds = []

    def join(count: int) -> int:
        crowds.append(Crowd(gateway.port, [stream["events_url"]] * count))
        crowds[-1].read(crowds[-1].have_heads)
        wait_for_state(gateway, stream["id"], readers=sum(map(len, crowds)))
        return private_bytes(gateway)

    warm = join(WARM_CROWD)
    assert (join(MEMORY_CROWD) - warm) / MEMORY_CROWD < MAX_BYTES
    for crowd in crowds:
        crowd.leave(reset=True)
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")


def test_a_subscriber_that_reads_nothing_holds_a_cursor_and_little_of_the_kernels_memory(gateway: Gateway) -> None:
    """Of 3.75 MB the kernel would take all, were it not told otherwise."""
    stream = create(gateway, {"ttft_ms": 5, "gap_ms": 0, "text": ("x" * 24_999 + " ") * 150})
    with RawClient(gateway.port) as idle:
        idle.request("GET", stream["events_url"])
        told = wait_for_state(gateway, stream["id"], state="ended")
        assert told["bytes"] > 150 * 25_000
        assert told["lag_events"] > 150 * 3 // 4


# --- within a process: objects and tasks

EVENTS = 2000
WARM_EVENTS = 300
SUBSCRIBERS = 50
FRAME_OVERHEAD = sys.getsizeof(b"") + 9  # and its place in the list, which is a little longer than it has to be

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs it in the gateway's own event loop, and undoes what a service changes in its process."""
    interval, files = sys.getswitchinterval(), resource.getrlimit(resource.RLIMIT_NOFILE)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run
    sys.setswitchinterval(interval)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    gc.unfreeze()


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
        """What comes, up to this."""
        loop, told = asyncio.get_running_loop(), b""
        async with asyncio.timeout(PATIENCE):
            while mark not in told:
                more = await loop.sock_recv(self.socket, 1 << 16)
                assert more, told
                told += more
        return told


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
    async def open(cls, folder: Path) -> AsyncIterator["Chain"]:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening, contextlib.ExitStack() as opened:
            listening.setblocking(False)
            service = Service(settings(folder, listening.getsockname()[1]))
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
        """So many events, each on its own: the next one when all have got it."""
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
        """Another completion, whose first content has come; its upstream and its client."""
        loop = asyncio.get_running_loop()
        client = await Client.open(self.port, request)
        with client.socket:
            upstream, _ = await loop.sock_accept(self._listening)
            with upstream:
                upstream.setblocking(False)
                await Client(upstream).until(b"messages")
                await loop.sock_sendall(upstream, HEAD + chunk(0))
                await client.until(b'"t0"')
                yield upstream, client

    async def answer(self, request: bytes, count: int) -> None:
        """So many completions on one connection of a client, from the first byte to the last."""
        loop = asyncio.get_running_loop()
        async with self.running(request) as (upstream, client):
            for number in range(count):
                if number:
                    await loop.sock_sendall(client.socket, request)
                    await Client(upstream).until(b"messages")
                    await loop.sock_sendall(upstream, HEAD + chunk(0))
                await loop.sock_sendall(upstream, LAST)
                await client.until(b"0\r\n\r\n")

    async def join(self, count: int) -> None:
        path = f"/v1/streams/{self._stream_id}/events?from=now"
        request = f"GET {path} HTTP/1.1\r\nHost: gateway\r\nAccept: text/event-stream\r\n\r\n".encode()
        for _ in range(count):
            self._subscribers.append(await Client.open(self._service.port, request))
            await self._subscribers[-1].until(b"retry: ")

    def leave(self, count: int) -> None:
        """The last to come go first."""
        for _ in range(count):
            self._subscribers.pop().socket.close()

    def close(self) -> None:
        self.leave(len(self._subscribers))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"%x\r\n%b\r\n0\r\n\r\n" % (len(DONE), DONE)
CONTENT = orjson.dumps(body(stream=True))
POST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(CONTENT), CONTENT)
)


def settings(folder: Path, port: int) -> Config:
    return Config.model_validate(
        {
            "server": {"listen": "127.0.0.1:0"},
            "storage": {"path": str(folder / "s.db")},
            "upstreams": [{"name": "a", "base_url": f"http://127.0.0.1:{port}/v1", "models": [{"id": MODEL}]}],
        }
    )


def frame(number: int) -> bytes:
    """An event of a completion."""
    delta = {"role": "assistant", "content": f"t{number}"} if number == 0 else {"content": f"t{number}"}
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    told = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}
    return b"data: %b\n\n" % orjson.dumps(told)


def chunk(number: int) -> bytes:
    """The same in a transfer chunk of its own."""
    data = frame(number)
    return b"%x\r\n%b\r\n" % (len(data), data)


def header(head: bytes, name: bytes) -> str:
    lines = (line.partition(b": ") for line in head.split(b"\r\n"))
    return next(value for key, _, value in lines if key.lower() == name).decode()


@pytest.mark.parametrize("subscribers", [0, 5])
def test_of_an_event_that_was_relayed_nothing_stays_but_its_frame(run: Run, tmp_path: Path, subscribers: int) -> None:
    async def main() -> None:
        async with Chain.open(tmp_path) as chain:
            await chain.join(subscribers)
            await chain.send(WARM_EVENTS)
            tracemalloc.start()
            try:
                gc.collect()
                blocks, size = sys.getallocatedblocks(), tracemalloc.get_traced_memory()[0]
                await chain.send(EVENTS)
                gc.collect()
                blocks = sys.getallocatedblocks() - blocks
                size = tracemalloc.get_traced_memory()[0] - size
            finally:
                tracemalloc.stop()
        assert 0.9 * EVENTS < blocks < 1.2 * EVENTS
        frames = EVENTS * (len(frame(WARM_EVENTS + EVENTS)) + FRAME_OVERHEAD)
        assert 0.8 * frames < size < 1.2 * frames

    run(main())


def test_a_subscriber_is_no_task(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with Chain.open(tmp_path) as chain:
            await chain.join(1)
            await chain.send(3)
            before = names()
            await chain.join(SUBSCRIBERS)
            await chain.send(3)
            assert names() == before

    run(main())


WAYS = {
    "the short way": POST,
    "the framework's way": POST.replace(b"Host: gateway", b"Host: gateway\r\nUpgrade: nothing"),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_a_stream_that_is_over_leaves_nothing_for_the_garbage_collector(run: Run, tmp_path: Path, way: str) -> None:
    async def main() -> None:
        async with Chain.open(tmp_path) as chain:
            await chain.answer(WAYS[way], 5)
            gc.collect()
            found: list[int] = []
            gc.callbacks.append(lambda phase, told: found.append(told.get("collected", 0)))
            try:
                await chain.answer(WAYS[way], 20)
                gc.collect()
            finally:
                gc.callbacks.pop()
            assert sum(found) < 20  # not one for each of them

    run(main())


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize(
    "content", [body(stream=True, model="nobody/knows"), body(stream=True, temperature="hot"), {}]
)
def test_nor_does_a_request_that_is_refused(run: Run, tmp_path: Path, way: str, content: dict[str, Any]) -> None:
    async def main() -> None:
        async with Chain.open(tmp_path) as chain:
            told = orjson.dumps(content) + b" " * (len(CONTENT) - len(orjson.dumps(content)))
            request = WAYS[way].partition(b"Content-Length")[0] + b"Content-Length: %d\r\n\r\n%b" % (len(told), told)
            client = await Client.open(chain.port, request)
            with client.socket:
                await client.until(b"}}")
                gc.collect()
                found: list[int] = []
                gc.callbacks.append(lambda phase, told: found.append(told.get("collected", 0)))
                try:
                    for _ in range(20):
                        await asyncio.get_running_loop().sock_sendall(client.socket, request)
                        await client.until(b"}}")
                    gc.collect()
                finally:
                    gc.callbacks.pop()
        assert sum(found) < 20

    run(main())


@pytest.mark.parametrize("way", list(WAYS))
def test_nor_does_a_client_that_hangs_up(run: Run, tmp_path: Path, way: str) -> None:
    async def main() -> None:
        async with Chain.open(tmp_path) as chain:
            for _ in range(3):
                async with chain.running(WAYS[way]):
                    pass
            await asyncio.sleep(0.1)
            gc.collect()
            found: list[int] = []
            gc.callbacks.append(lambda phase, told: found.append(told.get("collected", 0)))
            try:
                for _ in range(20):
                    async with chain.running(WAYS[way]):
                        pass
                await asyncio.sleep(0.1)
                gc.collect()
            finally:
                gc.callbacks.pop()
        assert sum(found) < 20

    run(main())


def test_a_completion_that_takes_the_short_way_is_no_task(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with Chain.open(tmp_path) as chain:
            with socket.create_connection(("127.0.0.1", chain.port)):
                await asyncio.sleep(0.1)
                before = len(names())
            async with chain.running(POST):
                assert len(names()) == before  # that of its connection

    run(main())


def names() -> list[str]:
    """Of the tasks that there are, without the connections' own numbers."""
    return sorted(task.get_name() for task in asyncio.all_tasks())
