"""What a request costs, as counts of bytecodes, blocks of memory and wake-ups, never as times.

Each bound is the value that was reached and 2 %. Whoever brings a count down brings its bound down, too.
"""

import asyncio
import logging
import resource
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvloop

from gateway.access.settling import GATHER_SECONDS
from gateway.access.sqlite_books import SqliteBooks
from gateway.config import Config
from gateway.run.service import Service
from tests.access.books import record
from tests.kit.allocations import Allocations, play_apart
from tests.kit.bytecodes import Bytecodes
from tests.kit.chain import HEAD, POST, Client, Run
from tests.kit.completions import MODEL

WARM, COUNTED = 20, 40
PAUSE = 0.002  # seconds, in which all that is due in the next turns of the loop is done
FIRST, BEHIND_THE_FIRST, ENDING = "the first token", "the tokens behind the first", "the ending"
PHASES = (FIRST, BEHIND_THE_FIRST, ENDING)
WHOLE = "the whole request"
BOUNDS = {BEHIND_THE_FIRST: 790, ENDING: 4_945, WHOLE: 12_400}  # bytecodes of one request with CPython 3.11
BLOCKS = {FIRST: 395, ENDING: 242, WHOLE: 662}  # blocks of memory that one request takes with CPython 3.11
RECORDS = 100  # in one transaction of the ledger
RECORD_BYTECODES = {None: 13, "key_1": 54}  # of one record with its share, in open mode and of a key
MARGIN = 1.0 if sys.version_info[:2] == (3, 11) else 1.25  # other versions have other bytecodes
# What works by the clock, so that its share differs from run to run.
BY_THE_CLOCK = ("access/settling.py", "access/books_thread.py", "observe/loop_lag.py", "upstream/pace.py")


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs a coroutine in uvloop, as the gateway does, and undoes what a service changes in its process."""
    interval, files = sys.getswitchinterval(), resource.getrlimit(resource.RLIMIT_NOFILE)
    logging.disable(logging.INFO)  # pytest would keep the lines of all answers
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run
    sys.setswitchinterval(interval)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    logging.disable(logging.NOTSET)


def settings(folder: Path, port: int) -> Config:
    model = {"id": MODEL, "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}
    upstream = {"name": "a", "base_url": f"http://127.0.0.1:{port}/v1", "models": [model]}
    storage = {"path": str(folder / "s.db")}
    return Config.model_validate({"server": {"listen": "127.0.0.1:0"}, "storage": storage, "upstreams": [upstream]})


def chunk(data: bytes) -> bytes:
    """An event in a transfer chunk of its own."""
    event = b"data: %b\n\n" % data
    return b"%x\r\n%b\r\n" % (len(event), event)


def event(number: int, *choices: dict[str, Any], **more: Any) -> bytes:
    """An event of answer `number`, as OpenAI writes it."""
    head = {"id": f"chatcmpl-{number:06d}", "object": "chat.completion.chunk", "created": 1_700_000_000 + number}
    return chunk(orjson.dumps({**head, "model": MODEL, "choices": choices, **more}))


def choice(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


class Scene:
    """A gateway between one client and one upstream, both of which keep their connections."""

    def __init__(self, client: Client, upstream: socket.socket) -> None:
        self.counts: Bytecodes | Allocations = Bytecodes()
        self._client = client
        self._upstream = upstream

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path) -> AsyncIterator["Scene"]:
        """A gateway that has imported, learned and filled its caches with the first requests."""
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            service = Service(settings(folder, listening.getsockname()[1]))
            await service.start()
            client = await Client.open(service.port, POST)
            upstream, _ = await loop.sock_accept(listening)
            with client.socket, upstream:
                upstream.setblocking(False)
                upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                scene = cls(client, upstream)
                for number in range(WARM):
                    await scene.answer(number)
                yield scene
            await service.stop()

    async def answer(self, number: int) -> None:
        """Answer one request with four tokens, each of which is a read of its own, and an end that is one read."""
        loop, counts = asyncio.get_running_loop(), self.counts
        counts.begin(FIRST)
        if number:
            await loop.sock_sendall(self._client.socket, POST)
        await Client(self._upstream).until(b"messages")
        await loop.sock_sendall(self._upstream, HEAD + event(number, choice({"role": "assistant", "content": ""})))
        await asyncio.sleep(PAUSE)
        for token in range(4):
            await loop.sock_sendall(self._upstream, event(number, choice({"content": f"t{token}"})))
            await self._client.until(b'"t%d"' % token)
            await asyncio.sleep(PAUSE)
            counts.begin(BEHIND_THE_FIRST)
        counts.begin(ENDING)
        last = event(number, choice({}, "stop")) + event(number, usage=USAGE) + chunk(b"[DONE]") + b"0\r\n\r\n"
        await loop.sock_sendall(self._upstream, last)
        await self._client.until(b"0\r\n\r\n")
        await asyncio.sleep(PAUSE)


def test_a_request_executes_no_more_bytecodes_and_wakes_the_ledger_no_more_often(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        counts = Bytecodes()
        async with Scene.open(tmp_path) as scene:
            loop = asyncio.get_running_loop()
            scene.counts, began = counts, loop.time()
            with counts.counting():
                for number in range(WARM, WARM + COUNTED):
                    await scene.answer(number)
            seconds = loop.time() - began
        found = {phase: counts.executed(phase, BY_THE_CLOCK) / COUNTED for phase in PHASES}
        found[WHOLE] = sum(found.values())
        assert all(found[phase] <= bound * MARGIN for phase, bound in BOUNDS.items()), found
        # However many requests there are, their records are written in batches.
        # A coroutine that waits once is called and resumed: two calls a batch.
        assert counts.calls("access/books_thread.py:BooksThread.settle") <= 2 * (seconds / GATHER_SECONDS + 1)

    run(main())


def test_a_request_takes_no_more_blocks_of_memory(run: Run, tmp_path: Path) -> None:
    async def play(scene: Scene, counts: Allocations) -> None:
        for number in range(WARM, WARM + COUNTED):
            with counts.counted_round():
                await scene.answer(number)

    async def main() -> None:
        async with Scene.open(tmp_path) as scene:
            with Allocations.counting(tmp_path) as counts:
                scene.counts = counts
                await play_apart(play(scene, counts))
        found = {phase: counts.typical(phase) for phase in PHASES}
        found[WHOLE] = sum(found.values())
        assert all(0 < found[phase] <= bound * MARGIN for phase, bound in BLOCKS.items()), found

    run(main())


@pytest.mark.parametrize("key_id", RECORD_BYTECODES)
def test_a_record_is_written_by_few_bytecodes(tmp_path: Path, key_id: str | None) -> None:
    """The thread of the ledger holds the interpreter's lock while it executes them."""
    counts, books = Bytecodes(), SqliteBooks.open(tmp_path / "s.db")
    batch = [record(key_id) for _ in range(RECORDS)]
    counts.begin(ENDING)
    with counts.counting():
        books.settle(batch)
    books.close()
    assert 0 < counts.executed(ENDING) / RECORDS <= RECORD_BYTECODES[key_id] * MARGIN
