"""What it costs that a subscriber joins, leaves and is sent an event, as counts, never as times.

Each bound is the value that was reached and 2 %. Whoever brings a count down brings its bound down, too.
"""

import asyncio
import contextlib
import gc
import inspect
import resource
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import FrameType

import pytest
import uvloop

from tests.kit.allocations import Allocations, play_apart
from tests.kit.bytecodes import Bytecodes
from tests.kit.chain import HEAD, Chain, Client, Run, chunk

WARM, COUNTED = 20, 100  # subscribers
WARM_ROUNDS = 3  # in which the free lists of the interpreter and of the event loop fill
EVENTS = 20
PAUSE = 0.002  # seconds, in which all that is due in the next turns of the loop is done
JOIN, END = "the joins", "the ends"
BOUNDS = {"stream": {JOIN: 2440, END: 486}, "feed": {JOIN: 2325, END: 486}}  # bytecodes of one subscriber
TAKEN = {"stream": {JOIN: 217, END: 21}, "feed": {JOIN: 195, END: 21}}  # blocks of memory that one subscriber takes
MARGIN = (
    1.0 if sys.version_info[:2] == (3, 11) else 1.25
)  # the bounds are of CPython 3.11; others have other bytecodes
LEAST = 0.9 if sys.version_info[:2] == (3, 11) else 0.0  # of a bound: what takes less should bring its bound down
HELD = 9  # blocks of memory that an idle subscriber holds, with those of its client in the test
BY_THE_CLOCK = ("access/", "observe/loop_lag.py", "upstream/pace.py", "stream/attendance.py")
FEED = "/v1/feeds/news/events"


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs a coroutine in uvloop, as the gateway does, and undoes what a service changes in its process."""
    interval, files = sys.getswitchinterval(), resource.getrlimit(resource.RLIMIT_NOFILE)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run
    sys.setswitchinterval(interval)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    gc.unfreeze()


class Scene:
    """A gateway with a stream and a feed, whose producers are sockets of the test."""

    def __init__(self, chain: Chain, source: socket.socket) -> None:
        self.chain = chain
        self._source = source
        self._events = 0

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, folder: Path) -> AsyncIterator["Scene"]:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/events"
            async with Chain.open(folder, feeds=[{"name": "news", "url": url}]) as chain:
                await chain.join(1, FEED)
                source, _ = await loop.sock_accept(listening)
                with source:
                    source.setblocking(False)
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    await Client(source).until(b"\r\n\r\n")
                    await loop.sock_sendall(source, HEAD)
                    yield cls(chain, source)

    async def join(self, kind: str, count: int) -> list[Client]:
        """Let subscribers join one by one, each when the one before has its response head."""
        path = FEED if kind == "feed" else self.chain.events_path
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()
        joined = []
        for _ in range(count):
            joined.append(await Client.open(self.chain.port, request))
            await joined[-1].until(b"retry: ")
            await asyncio.sleep(PAUSE)
        return joined

    async def leave(self, subscribers: list[Client]) -> None:
        for subscriber in subscribers:
            subscriber.socket.close()
            await asyncio.sleep(PAUSE)

    async def publish(self, kind: str, subscribers: list[Client]) -> None:
        """Publish an event, and wait until these subscribers have it."""
        loop = asyncio.get_running_loop()
        self._events += 1
        await loop.sock_sendall(self._source if kind == "feed" else self.chain.upstream, chunk(self._events))
        mark = b'"t%d"' % self._events
        for subscriber in subscribers:
            await subscriber.until(mark)


@pytest.mark.parametrize("kind", BOUNDS)
def test_a_join_and_an_end_execute_so_many_bytecodes(run: Run, tmp_path: Path, kind: str) -> None:
    counts = Bytecodes()

    async def main() -> None:
        async with Scene.open(tmp_path) as scene:
            staying = await scene.join(kind, WARM)
            with counts.counting():
                counts.begin(JOIN)
                joined = await scene.join(kind, COUNTED)
                counts.begin(END)
                await scene.leave(joined)
            await scene.leave(staying)

    run(main())
    found = {phase: counts.executed(phase, BY_THE_CLOCK) / COUNTED for phase in (JOIN, END)}
    bounds = BOUNDS[kind]
    assert {phase: count for phase, count in found.items() if count > MARGIN * bounds[phase]} == {}
    assert {phase: count for phase, count in found.items() if count < LEAST * bounds[phase]} == {}, "bring it down"


@pytest.mark.parametrize("kind", TAKEN)
def test_a_join_and_an_end_take_so_many_blocks_of_memory(run: Run, tmp_path: Path, kind: str) -> None:
    async def play(scene: Scene, counts: Allocations) -> None:
        staying = await scene.join(kind, WARM)
        for _ in range(COUNTED):
            with counts.counted_round():
                counts.begin(JOIN)
                joined = await scene.join(kind, 1)
                counts.begin(END)
                await scene.leave(joined)
        await scene.leave(staying)

    async def main() -> None:
        async with Scene.open(tmp_path) as scene:
            with Allocations.counting(tmp_path) as counts:
                await play_apart(play(scene, counts))
        found = {phase: counts.typical(phase) for phase in (JOIN, END)}
        assert all(0 < found[phase] <= bound * MARGIN for phase, bound in TAKEN[kind].items()), found

    run(main())


@pytest.mark.parametrize("kind", BOUNDS)
def test_a_takeover_runs_no_coroutine(run: Run, tmp_path: Path, kind: str) -> None:
    """What aiohttp and the front door do for a plain subscription is done in the calls that its bytes cause."""
    calls: Counter[str] = Counter()

    def on_call(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if "/aiohttp/" in code.co_filename or "/gateway/http/" in code.co_filename:
            calls["coroutine" if code.co_flags & inspect.CO_COROUTINE else "function"] += 1

    async def main() -> None:
        async with Scene.open(tmp_path) as scene:
            sys.settrace(on_call)
            try:
                joined = await scene.join(kind, WARM)
            finally:
                sys.settrace(None)
            await scene.leave(joined)

    run(main())
    assert calls.keys() == {"function"}


def own_objects() -> Counter[str]:
    """The objects of the gateway's own classes, by class."""
    kinds = (type(found) for found in gc.get_objects())
    return Counter(kind.__name__ for kind in kinds if kind.__module__.startswith("gateway."))


@pytest.mark.parametrize("kind", BOUNDS)
def test_an_idle_subscriber_is_two_objects_and_a_socket_and_leaves_nothing(
    run: Run, tmp_path: Path, kind: str
) -> None:
    async def main() -> None:
        async with Scene.open(tmp_path) as scene:
            staying = await scene.join(kind, WARM)
            for _ in range(WARM_ROUNDS):
                await scene.leave(await scene.join(kind, COUNTED))
            gc.collect()
            objects, blocks, found = own_objects(), sys.getallocatedblocks(), []
            gc.callbacks.append(lambda phase, details: found.append(details.get("collected", 0)))
            try:
                joined = await scene.join(kind, COUNTED)
                gc.collect()
                held = sys.getallocatedblocks() - blocks
                assert own_objects() - objects == {"Subscriber": COUNTED, "SocketSink": COUNTED}
                await scene.leave(joined)
                gc.collect()
            finally:
                gc.callbacks.pop()
            assert own_objects() == objects
            await scene.leave(staying)
        assert sum(found) < COUNTED / 10  # objects that the collector of cyclic garbage had to free
        assert held / COUNTED <= HELD

    run(main())


def test_a_feed_is_delivered_as_a_stream_is(run: Run, tmp_path: Path) -> None:
    """One send for each subscriber, in one flat loop over all of them; what an event costs beside it is small."""
    counts, sends = Bytecodes(), []

    async def main() -> None:
        async with Scene.open(tmp_path) as scene:
            for kind in BOUNDS:
                joined = await scene.join(kind, COUNTED)
                await scene.publish(kind, joined)
                counts.begin(kind)
                with counts.counting():
                    for _ in range(EVENTS):
                        await scene.publish(kind, joined)
                sends.append(counts.calls("delivery/in_step.py:_send_all"))
                await scene.leave(joined)

    run(main())
    assert sends == [EVENTS, 2 * EVENTS]
    each = {kind: counts.executed(kind, BY_THE_CLOCK) / EVENTS / COUNTED for kind in BOUNDS}
    assert each["feed"] < 1.1 * each["stream"]
