"""The lag of a real event loop: nearly zero when it is idle, and as long as a callback blocks it."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from gateway.observe import loop_lag
from gateway.observe.loop_lag import LoopLag

BLOCKED = 0.2
PATIENCE = 5.0


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the period between two measurements, so that the tests are quick."""
    monkeypatch.setattr(loop_lag, "PERIOD", 0.02)


@pytest.fixture
def lag() -> Iterator[LoopLag]:
    lag = LoopLag()
    yield lag
    lag.stop()


async def wait_for_look(lag: LoopLag, since: float) -> float:
    """The lag of the first measurement that differs from `since`."""
    async with asyncio.timeout(PATIENCE):
        while lag.last == since:  # noqa: ASYNC110 - it has no event, and needs none
            await asyncio.sleep(0.001)
    return lag.last


def block() -> None:
    """Block the loop, like a callback that computes or waits for a disk."""
    end = time.monotonic() + BLOCKED
    while time.monotonic() < end:
        pass


async def test_nothing_is_measured_before_the_start() -> None:
    lag = LoopLag()
    assert (lag.last, lag.worst()) == (0.0, 0.0)


async def test_a_callback_that_blocks_the_loop_is_measured(lag: LoopLag) -> None:
    lag.start()
    block()
    measured = await wait_for_look(lag, 0.0)
    assert BLOCKED - loop_lag.PERIOD - 0.01 <= measured < BLOCKED + PATIENCE


async def test_the_worst_stays_until_it_is_asked_for_and_is_then_forgotten(lag: LoopLag) -> None:
    lag.start()
    block()
    measured = await wait_for_look(lag, 0.0)
    await wait_for_look(lag, measured)  # a measurement with an almost idle loop
    assert lag.worst() >= measured
    assert lag.worst() < measured


async def test_after_the_stop_nothing_is_measured(lag: LoopLag) -> None:
    lag.start()
    lag.stop()
    block()
    await asyncio.sleep(3 * loop_lag.PERIOD)
    assert lag.worst() == 0.0


async def test_a_stop_without_a_start_and_a_second_one_do_nothing(lag: LoopLag) -> None:
    lag.stop()
    lag.stop()
