"""A reader left, the last reader left, nobody came: three events, and what follows from each."""

import asyncio
import gc
import weakref

import pytest

from gateway.endings import Ending
from gateway.stream.audience import Audience, Policy

PATIENCE = 5.0
SOON = 0.02  # seconds of a grace that a test waits for
SEVERAL = 5  # graces, in which nothing must happen


class Watcher:
    """What an audience decides."""

    def __init__(self) -> None:
        self.endings: list[Ending] = []
        self.told = asyncio.Event()

    def on_empty(self, ending: Ending) -> None:
        self.endings.append(ending)
        self.told.set()

    async def wait(self) -> list[Ending]:
        async with asyncio.timeout(PATIENCE):
            await self.told.wait()
        return self.endings

    async def is_told_nothing(self) -> bool:
        try:
            async with asyncio.timeout(SEVERAL * SOON):
                await self.told.wait()
        except TimeoutError:
            return True
        return False


def audience(**policy: object) -> tuple[Audience, Watcher]:
    watcher = Watcher()
    return Audience(Policy(**policy), watcher.on_empty), watcher  # type: ignore[arg-type]


async def test_readers_are_counted_now_and_ever() -> None:
    one, _ = audience()
    one.join()
    one.join()
    one.leave()
    assert (one.readers, one.total) == (1, 2)


async def test_a_reader_that_leaves_while_others_stay_decides_nothing() -> None:
    one, watcher = audience()
    one.join()
    one.join()
    one.leave()
    assert watcher.endings == []


async def test_without_a_grace_the_last_reader_abandons_in_the_very_call() -> None:
    one, watcher = audience()
    one.join()
    one.leave()
    assert watcher.endings == [Ending.ABANDONED]


async def test_a_grace_is_waited_for() -> None:
    one, watcher = audience(grace_seconds=SOON)
    one.join()
    one.leave()
    assert watcher.endings == []
    assert await watcher.wait() == [Ending.ABANDONED]


async def test_a_reader_within_the_grace_takes_it_back_and_the_next_leaving_begins_it_anew() -> None:
    one, watcher = audience(grace_seconds=SOON)
    one.join()
    one.leave()
    one.join()
    assert await watcher.is_told_nothing()
    one.leave()
    assert await watcher.wait() == [Ending.ABANDONED]


async def test_an_attached_stream_that_nobody_has_joined_yet_waits_without_limit() -> None:
    _, watcher = audience(grace_seconds=SOON, lonely_seconds=SOON)
    assert await watcher.is_told_nothing()


async def test_a_detached_stream_that_nobody_joins_expires() -> None:
    _, watcher = audience(detached=True, on_last_reader="drain", lonely_seconds=SOON)
    assert watcher.endings == []
    assert await watcher.wait() == [Ending.EXPIRED]


async def test_a_detached_stream_with_a_reader_does_not_expire() -> None:
    one, watcher = audience(detached=True, on_last_reader="drain", lonely_seconds=SOON)
    one.join()
    assert await watcher.is_told_nothing()


@pytest.mark.parametrize("detached", [True, False])
async def test_a_drained_stream_runs_on_without_readers_and_expires_then(detached: bool) -> None:
    one, watcher = audience(detached=detached, on_last_reader="drain", grace_seconds=0, lonely_seconds=SOON)
    one.join()
    one.leave()
    assert watcher.endings == []
    assert await watcher.wait() == [Ending.EXPIRED]


async def test_only_time_without_readers_counts_as_lonely() -> None:
    one, watcher = audience(on_last_reader="drain", lonely_seconds=SOON)
    for _ in range(3):
        one.join()
        one.leave()
    one.join()
    assert await watcher.is_told_nothing()


async def test_after_close_nothing_follows() -> None:
    for policy in ({"grace_seconds": SOON}, {"on_last_reader": "drain", "lonely_seconds": SOON}):
        one, watcher = audience(**policy)
        one.join()
        one.leave()
        one.close()
        one.close()
        assert await watcher.is_told_nothing()


@pytest.mark.parametrize("leaves_after_the_end", [0, 1, 2])
@pytest.mark.parametrize("policy", [{"on_last_reader": "drain"}, {"grace_seconds": 3600.0}])
async def test_what_has_ended_is_held_by_no_timer_whoever_leaves_then(
    policy: dict[str, object], leaves_after_the_end: int
) -> None:
    one, watcher = audience(**policy)
    one.join()
    one.close()
    for _ in range(leaves_after_the_end):
        one.leave()
        one.join()
    one.leave()
    held = weakref.ref(watcher)
    del one, watcher
    gc.collect()
    assert held() is None
