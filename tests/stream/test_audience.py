"""A subscriber left, the last subscriber left, nobody came: three events, and what follows from each."""

import asyncio
import gc
import weakref

import pytest

from gateway.endings import Ending
from gateway.stream.audience import Audience, Policy

PATIENCE = 5.0
SOON = 0.02  # seconds of a grace whose end a test waits for
SEVERAL = 5  # a test that expects no decision waits for this many graces


class Watcher:
    """Remembers what an audience decides."""

    def __init__(self) -> None:
        self.endings: list[Ending] = []
        self.decided = asyncio.Event()

    def on_empty(self, ending: Ending) -> None:
        self.endings.append(ending)
        self.decided.set()

    async def wait(self) -> list[Ending]:
        async with asyncio.timeout(PATIENCE):
            await self.decided.wait()
        return self.endings

    async def hears_nothing(self) -> bool:
        try:
            async with asyncio.timeout(SEVERAL * SOON):
                await self.decided.wait()
        except TimeoutError:
            return True
        return False


def watched(**policy: object) -> tuple[Audience, Watcher]:
    watcher = Watcher()
    return Audience(Policy(**policy), watcher.on_empty), watcher  # type: ignore[arg-type]


async def test_subscribers_are_counted_now_and_ever() -> None:
    audience, _ = watched()
    audience.join()
    audience.join()
    audience.leave()
    assert (audience.subscribers, audience.total) == (1, 2)


async def test_a_subscriber_that_leaves_while_others_stay_decides_nothing() -> None:
    audience, watcher = watched()
    audience.join()
    audience.join()
    audience.leave()
    assert watcher.endings == []


async def test_without_a_grace_the_last_subscriber_abandons_in_the_very_call() -> None:
    audience, watcher = watched()
    audience.join()
    audience.leave()
    assert watcher.endings == [Ending.ABANDONED]


async def test_a_grace_is_waited_for() -> None:
    audience, watcher = watched(grace_seconds=SOON)
    audience.join()
    audience.leave()
    assert watcher.endings == []
    assert await watcher.wait() == [Ending.ABANDONED]


async def test_a_subscriber_within_the_grace_takes_it_back_and_the_next_leaving_begins_it_anew() -> None:
    audience, watcher = watched(grace_seconds=SOON)
    audience.join()
    audience.leave()
    audience.join()
    assert await watcher.hears_nothing()
    audience.leave()
    assert await watcher.wait() == [Ending.ABANDONED]


async def test_an_attached_stream_that_nobody_has_joined_yet_waits_without_limit() -> None:
    _, watcher = watched(grace_seconds=SOON, lonely_seconds=SOON)
    assert await watcher.hears_nothing()


async def test_a_detached_stream_that_nobody_joins_expires() -> None:
    _, watcher = watched(detached=True, on_last_reader="drain", lonely_seconds=SOON)
    assert watcher.endings == []
    assert await watcher.wait() == [Ending.EXPIRED]


async def test_a_detached_stream_with_a_subscriber_does_not_expire() -> None:
    audience, watcher = watched(detached=True, on_last_reader="drain", lonely_seconds=SOON)
    audience.join()
    assert await watcher.hears_nothing()


@pytest.mark.parametrize("detached", [True, False])
async def test_a_drained_stream_runs_on_without_subscribers_and_expires_then(detached: bool) -> None:
    audience, watcher = watched(detached=detached, on_last_reader="drain", grace_seconds=0, lonely_seconds=SOON)
    audience.join()
    audience.leave()
    assert watcher.endings == []
    assert await watcher.wait() == [Ending.EXPIRED]


async def test_only_time_without_subscribers_counts_as_lonely() -> None:
    audience, watcher = watched(on_last_reader="drain", lonely_seconds=SOON)
    for _ in range(3):
        audience.join()
        audience.leave()
    audience.join()
    assert await watcher.hears_nothing()


async def test_after_close_nothing_follows() -> None:
    for policy in ({"grace_seconds": SOON}, {"on_last_reader": "drain", "lonely_seconds": SOON}):
        audience, watcher = watched(**policy)
        audience.join()
        audience.leave()
        audience.close()
        audience.close()
        assert await watcher.hears_nothing()


@pytest.mark.parametrize("leaves_after_the_end", [0, 1, 2])
@pytest.mark.parametrize("policy", [{"on_last_reader": "drain"}, {"grace_seconds": 3600.0}])
async def test_an_audience_that_has_ended_is_held_by_no_timer_whoever_leaves_then(
    policy: dict[str, object], leaves_after_the_end: int
) -> None:
    audience, watcher = watched(**policy)
    audience.join()
    audience.close()
    for _ in range(leaves_after_the_end):
        audience.leave()
        audience.join()
    audience.leave()
    held = weakref.ref(watcher)
    del audience, watcher
    gc.collect()
    assert held() is None
