"""What an ended stream costs while it is kept, and that nothing takes longer because many are kept."""

import asyncio
import gc
import logging
import resource
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.endings import Ending
from gateway.http.stream_pages import MAX_PAGE, read_page
from gateway.http.turns import Turns
from gateway.run.gc_policy import GarbagePolicy
from gateway.run.statistics import MAX_LISTED
from gateway.stream.position import start_of
from gateway.stream.view import Framing
from tests.completion.house import House, street
from tests.delivery.memory import MemorySink
from tests.kit.chain import POST, Chain, Run, frame
from tests.kit.turns import TurnWatch
from tests.stream.talk import Talk

WARM, COUNTED = 600, 1000
MOST_TRACKED = COUNTED // 10  # objects that the collector walks
PATIENCE = 100.0  # seconds
MANY = 100_000
LONGEST_TURN = 0.01  # seconds of processor time; 2 to 5 ms where this was written
FRAMES = [b'data: {"choices": [{"delta": {"content": "token %d"}}]}\n\n' % number for number in range(5)]
LONG_LOG = [b"x" * 100] * 160_000  # 16 MB, the largest log of a running stream by default
MAX_RETAINED_BYTES = 4 * 16_000_000


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs a coroutine in uvloop, as the gateway does, and undoes what a service changes in its process."""
    interval, files = sys.getswitchinterval(), resource.getrlimit(resource.RLIMIT_NOFILE)
    logging.disable(logging.INFO)  # pytest would keep the lines of all answers
    gc.collect()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run
    sys.setswitchinterval(interval)
    resource.setrlimit(resource.RLIMIT_NOFILE, files)
    logging.disable(logging.NOTSET)
    gc.unfreeze()


async def lowest(count: Callable[[], int], enough: int) -> int:
    """The count, as soon as it is low enough, or else the last one: ended streams are put away in later turns."""
    found = count()
    for _ in range(100):
        gc.collect()
        if (found := count()) < enough:
            break
        await asyncio.sleep(0.05)
    return found


def measured(folder: Path) -> tuple[int, int]:
    """What `COUNTED` kept streams cost a gateway that has its process to itself: tracked objects, and bytes."""

    async def main() -> tuple[int, int]:
        async with Chain.open(folder) as chain:
            await chain.answer(POST, WARM)
            gc.collect()
            tracemalloc.start()
            before, size = len(gc.get_objects()), tracemalloc.get_traced_memory()[0]
            await chain.answer(POST, COUNTED)
            tracked = await lowest(lambda: len(gc.get_objects()) - before, MOST_TRACKED)
            return tracked, tracemalloc.get_traced_memory()[0] - size

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def test_a_kept_stream_is_its_log_and_a_kibibyte_and_nothing_for_the_collector(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:  # other tests' gateways run in this process
        tracked, size = pool.submit(measured, tmp_path).result(PATIENCE)
    assert tracked < MOST_TRACKED
    assert size < (1.3 * len(frame(0)) + 1024) * COUNTED


class Archive:
    """A house with 100,000 kept streams, whose turns of the loop are watched."""

    def __init__(self, house: House, garbage: GarbagePolicy) -> None:
        self.house = house
        self._garbage = garbage
        self.hub = house.hub
        self._watch = TurnWatch()

    async def fill(self) -> None:
        for number in range(MANY):
            self.keep(f"st_{number}", [bytes(bytearray(frame)) for frame in FRAMES])  # frames of its own
            if number % 20 == 0:  # twenty endings in one turn are a burst
                self._garbage.after_answer()
                await asyncio.sleep(0)
        await asyncio.sleep(0)

    def keep(self, name: str, frames: list[bytes]) -> None:
        talk = Talk(self.hub, name, key=name if name.endswith("0") else None)
        self.hub.add_stream(talk)
        talk.stream.on_frames(frames)
        talk.end()

    @asynccontextmanager
    async def watched(self, step: str) -> AsyncIterator[None]:
        """The block in which no turn takes long."""
        self._watch.longest = 0.0
        self._watch.start()
        await asyncio.sleep(0)
        yield
        await asyncio.sleep(0)
        self._watch.stop()
        await asyncio.sleep(0)
        assert self._watch.longest < LONGEST_TURN, step


Step = Callable[[Archive], Awaitable[Any]]


async def list_first_page(archive: Archive) -> None:
    page = await read_page(archive.hub, lambda owner: True, MAX_PAGE, None, Turns())
    assert page["first_id"] == f"st_{MANY - 1}"


async def list_for_a_stranger_ten_times_at_once(archive: Archive) -> None:
    turns = Turns()
    pages = [read_page(archive.hub, lambda owner: owner == "you", MAX_PAGE, None, turns) for _ in range(10)]
    assert [page["data"] for page in await asyncio.gather(*pages)] == [[]] * 10


async def read_statistics(archive: Archive) -> None:
    assert len(archive.house.statistics.snapshot()["list"]) == MAX_LISTED
    assert len(list(archive.house.statistics.readings())) > 10
    assert archive.hub.statistics().kept == MANY


async def resume_join_and_stop(archive: Archive) -> None:
    for number in range(0, MANY, 5000):
        production = archive.hub.find_key("me", f"st_{number}")
        assert production is not None
        start = start_of(production.stream.log, "e1-1", False, oldest=0)
        assert start is not None
        sink = MemorySink()
        production.stream.join(chunked=False, framing=Framing.EVENTS, seq=start.seq).attach(sink)
        assert sink.body.count(b"token") == 3
        production.stop(Ending.STOPPED)
        assert production.describe()["ending"] == "completed"


async def collect_all_garbage(archive: Archive) -> None:
    gc.collect()


async def end_a_long_stream(archive: Archive) -> None:
    archive.keep("long", LONG_LOG)
    while archive.hub.open_streams():  # noqa: ASYNC110 - each turn is watched
        await asyncio.sleep(0)


async def forget_most_for_their_bytes(archive: Archive) -> None:
    """All but few are pushed out at once, by streams that take all the room."""
    for number in range(4):
        archive.keep(f"large_{number}", LONG_LOG)
        while archive.hub.open_streams() or archive.hub.statistics().kept_bytes > MAX_RETAINED_BYTES:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert len(archive.hub.ids()) < MANY / 2


STEPS: list[Step] = [
    list_first_page,
    list_for_a_stranger_ten_times_at_once,
    read_statistics,
    resume_join_and_stop,
    collect_all_garbage,
    end_a_long_stream,
    forget_most_for_their_bytes,
]


@pytest.mark.deep
def test_with_a_hundred_thousand_kept_streams_no_turn_takes_long(run: Run) -> None:
    async def main() -> None:
        async with street(stream={"max_retained_bytes": MAX_RETAINED_BYTES, "retain_seconds": 3600}) as place:
            garbage = GarbagePolicy(lambda: False)
            archive = Archive(place.house(), garbage)
            garbage.start()
            try:
                async with archive.watched("fill"):
                    await archive.fill()
                for step in STEPS:
                    async with archive.watched(step.__name__):
                        await step(archive)
            finally:
                garbage.stop()
                await archive.house.close()

    run(main())
