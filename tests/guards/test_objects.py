"""What a token, a subscriber and a request leave behind in the process: objects, garbage and tasks, as counts."""

import asyncio
import gc
import resource
import socket
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvloop

from tests.kit.chain import CONTENT, POST, Chain, Client, Run, frame, names
from tests.kit.completions import body

EVENTS = 2000
WARM_EVENTS = 200
SUBSCRIBERS = 50
FRAME_OVERHEAD = sys.getsizeof(b"") + 9  # an empty bytes object, and 9 bytes for its place in the growing list


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs a coroutine in uvloop, as the gateway does, and undoes what a service changes in its process."""
    interval, files = sys.getswitchinterval(), resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # garbage of earlier tests must not be freed while a test counts objects
    gc.freeze()  # what is left is looked through no more
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run
    sys.setswitchinterval(interval)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)


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
    "the framework's way": POST.replace(b"Host: localhost", b"Host: localhost\r\nUpgrade: nothing"),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_a_stream_that_is_over_leaves_nothing_for_the_garbage_collector(run: Run, tmp_path: Path, way: str) -> None:
    async def main() -> None:
        async with Chain.open(tmp_path) as chain:
            await chain.answer(WAYS[way], 5)
            gc.collect()
            found: list[int] = []
            gc.callbacks.append(lambda phase, details: found.append(details.get("collected", 0)))
            try:
                await chain.answer(WAYS[way], 20)
                gc.collect()
            finally:
                gc.callbacks.pop()
            assert sum(found) < 20  # fewer objects than there were streams

    run(main())


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("content", [body(stream=True, model="nobody/knows"), body(stream=True, messages="hot"), {}])
def test_a_request_that_is_refused_leaves_nothing_for_the_garbage_collector(
    run: Run, tmp_path: Path, way: str, content: dict[str, Any]
) -> None:
    async def main() -> None:
        async with Chain.open(tmp_path) as chain:
            told = orjson.dumps(content) + b" " * (len(CONTENT) - len(orjson.dumps(content)))
            request = WAYS[way].partition(b"Content-Length")[0] + b"Content-Length: %d\r\n\r\n%b" % (len(told), told)
            client = await Client.open(chain.port, request)
            with client.socket:
                await client.until(b"}}")
                gc.collect()
                found: list[int] = []
                gc.callbacks.append(lambda phase, details: found.append(details.get("collected", 0)))
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
def test_a_client_that_hangs_up_leaves_nothing_for_the_garbage_collector(run: Run, tmp_path: Path, way: str) -> None:
    async def main() -> None:
        async with Chain.open(tmp_path) as chain:
            for _ in range(3):
                async with chain.running(WAYS[way]):
                    pass
            await asyncio.sleep(0.1)
            gc.collect()
            found: list[int] = []
            gc.callbacks.append(lambda phase, details: found.append(details.get("collected", 0)))
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
                assert len(names()) == before  # no task but the one of its connection

    run(main())
