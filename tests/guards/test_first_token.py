"""What a plain streamed request costs up to its first token, as counts: bytecodes and blocks of memory."""

import asyncio
import gc
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import uvloop

from gateway.run.service import Service
from tests.kit.bytecodes import Bytecodes
from tests.kit.chain import HEAD, LAST, POST, Client, settings
from tests.kit.completions import MODEL

WARM_REQUESTS, REQUESTS = 20, 30  # the first requests import, learn and fill caches
PHASE = "to the first token"
# Bytecodes and blocks of memory: what was reached with CPython 3.11, and a fiftieth more. Other versions have other
# bytecodes, so they get a quarter more.
BYTECODES, BLOCKS = 6_225, 106
MARGIN = 1.0 if sys.version_info[:2] == (3, 11) else 1.25
# What works by the clock, so that its share differs from run to run.
BY_THE_CLOCK = ("access/settling.py", "access/books_thread.py", "observe/loop_lag.py", "upstream/pace.py")


def chunk(delta: dict[str, str]) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    fields = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL, "choices": [choice]}
    data = b"data: %b\n\n" % orjson.dumps(fields)
    return b"%x\r\n%b\r\n" % (len(data), data)


FIRST = HEAD + chunk({"role": "assistant", "content": ""}) + chunk({"content": "first"})


class Line:
    """One connection of a client and one of the upstream, which a gateway in this process keeps."""

    def __init__(self, client: socket.socket, upstream: socket.socket) -> None:
        self._client = client
        self._upstream = upstream

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path) -> AsyncIterator["Line"]:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            service = Service(settings(folder, listening.getsockname()[1]))
            await service.start()
            try:
                client = await Client.open(service.port, POST)
                upstream, _ = await loop.sock_accept(listening)
                upstream.setblocking(False)
                with client.socket, upstream:
                    line = cls(client.socket, upstream)
                    await line.to_first_token(asked=True)
                    await line.to_end()
                    yield line
            finally:
                await service.stop()

    async def to_first_token(self, *, asked: bool = False) -> None:
        """Ask for a completion, and read the client's answer up to its first token."""
        loop = asyncio.get_running_loop()
        if not asked:
            await loop.sock_sendall(self._client, POST)
        await Client(self._upstream).until(b"messages")
        await loop.sock_sendall(self._upstream, FIRST)
        await Client(self._client).until(b"first")

    async def to_end(self) -> None:
        await asyncio.get_running_loop().sock_sendall(self._upstream, chunk({"content": " second"}) + LAST)
        await Client(self._client).until(b"0\r\n\r\n")
        await asyncio.sleep(0.002)  # what follows an answer is done in the next turns


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def test_a_request_takes_no_more_bytecodes_to_its_first_token_than_were_reached(tmp_path: Path) -> None:
    counts: list[int] = []

    async def main() -> None:
        async with Line.open(tmp_path) as line:
            for number in range(WARM_REQUESTS + REQUESTS):
                counted = Bytecodes()
                counted.begin(PHASE)
                with counted.counting():
                    await line.to_first_token()
                await line.to_end()
                if number >= WARM_REQUESTS:
                    counts.append(counted.executed(PHASE, BY_THE_CLOCK))

    run(main())
    assert 0 < min(counts) <= BYTECODES * MARGIN, sorted(counts)


def test_a_request_holds_no_more_memory_at_its_first_token_than_was_reached(tmp_path: Path) -> None:
    blocks: list[int] = []

    async def main() -> None:
        async with Line.open(tmp_path) as line:
            for number in range(WARM_REQUESTS + REQUESTS):
                before = sys.getallocatedblocks()
                await line.to_first_token()
                held = sys.getallocatedblocks() - before
                await line.to_end()
                if number >= WARM_REQUESTS:
                    blocks.append(held)

    gc.collect()
    gc.disable()
    try:
        run(main())
    finally:
        gc.enable()
    assert 0 < sorted(blocks)[REQUESTS // 2] <= BLOCKS * MARGIN, sorted(blocks)
