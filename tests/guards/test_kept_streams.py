"""What an ended stream costs while it is kept, and that nothing takes longer because many are kept."""

import asyncio
import gc
import resource
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.config import StreamSettings
from gateway.endings import Ending
from gateway.http.stream_pages import MAX_PAGE, read_page
from gateway.http.turns import Turns
from gateway.run.gc_policy import GarbagePolicy
from gateway.stream.hub import Hub
from gateway.stream.position import start_of
from gateway.stream.view import Framing
from tests.completion.house import House, ask, street
from tests.delivery.memory import MemorySink
from tests.kit.chain import POST, Chain, Run, frame
from tests.kit.turns import TurnWatch
from tests.stream.talk import Talk

WARM, COUNTED = 600, 1000
MANY = 100_000
LONGEST_TURN = 0.01  # seconds of processor time; 2 to 5 ms where this was written
FRAMES = [b'data: {"choices": [{"delta": {"content": "token %d"}}]}\n\n' % number for number in range(5)]
LONG_LOG = [b"x" * 100] * 160_000  # 16 MB, the largest log of a running stream by default


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs a coroutine in uvloop, as the gateway does, and undoes what a service changes in its process."""
    interval, files = sys.getswitchinterval(), resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.unfreeze()
    gc.collect()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run
    sys.setswitchinterval(interval)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    gc.unfreeze()


def test_a_kept_stream_is_its_log_and_a_kibibyte_and_nothing_for_the_collector(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with Chain.open(tmp_path) as chain:
            await chain.answer(POST, WARM)
            gc.collect()
            tracemalloc.start()
            try:
                tracked, size = len(gc.get_objects()), tracemalloc.get_traced_memory()[0]
                await chain.answer(POST, COUNTED)
                gc.collect()
                tracked = len(gc.get_objects()) - tracked
                size = tracemalloc.get_traced_memory()[0] - size
            finally:
                tracemalloc.stop()
        assert tracked < 0.1 * COUNTED
        assert size < (1.3 * len(frame(0)) + 1024) * COUNTED

    run(main())


class Archive:
    """A house with 100,000 kept streams, whose turns of the loop are watched."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.hub = house.hub
        self._watch = TurnWatch()

    async def fill(self) -> None:
        for number in range(MANY):
            self.keep(f"st_{number}", [bytes(bytearray(frame)) for frame in FRAMES])  # frames of its own
            if number % 20 == 0:  # as many endings in a turn would be a burst
                await asyncio.sleep(0)
        await asyncio.sleep(0)

    def keep(self, name: str, frames: list[bytes]) -> None:
        talk = Talk(self.hub, name, key=name)
        self.hub.add_stream(talk)
        talk.stream.on_frames(frames)
        talk.end()

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """The block in which no turn takes long."""
        self._watch.longest = 0.0
        self._watch.start()
        await asyncio.sleep(0)
        yield
        await asyncio.sleep(0)
        self._watch.stop()
        await asyncio.sleep(0)
        assert self._watch.longest < LONGEST_TURN
