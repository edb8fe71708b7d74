"""Beginnings and ends of requests get a share of each turn of the loop, in their order, and tokens go between."""

import asyncio
import logging

import pytest

from gateway.turn_share import SHARE_SECONDS, TurnShare


class Watch:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def spend(self, shares: float) -> None:
        """Let this many shares of a turn go by."""
        self.seconds += shares * SHARE_SECONDS


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def share(watch: Watch) -> TurnShare:
    return TurnShare(watch)


async def test_what_finds_a_free_share_is_done_in_the_same_call(share: TurnShare) -> None:
    done: list[object] = []
    share.run(lambda: done.append(1))
    share.run(lambda: done.append(2))
    assert (done, len(share)) == ([1, 2], 0)


async def test_what_is_beyond_the_share_waits_for_the_next_turns_in_its_order(share: TurnShare, watch: Watch) -> None:
    done: list[int] = []
    turns = 0

    def work(number: int) -> None:
        watch.spend(0.6)
        done.append(number)

    for number in range(10):
        share.run(lambda number=number: work(number))  # type: ignore[misc]
    assert done == [0, 1]
    while len(share):
        before = len(done)
        await asyncio.sleep(0)
        turns += 1
        assert len(done) - before <= 2
    assert done == list(range(10))
    assert turns >= 4


async def test_what_comes_while_others_wait_goes_behind_them(share: TurnShare, watch: Watch) -> None:
    done: list[object] = []
    share.run(lambda: watch.spend(2))
    share.run(lambda: done.append("first"))
    share.run(lambda: done.append("second"))
    await asyncio.sleep(0)
    share.run(lambda: done.append("third"))
    await asyncio.sleep(0)
    assert done == ["first", "second", "third"]


async def test_a_fault_is_raised_where_work_is_done_at_once_and_logged_where_it_waited(
    share: TurnShare, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[object] = []

    def fail() -> None:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        share.run(fail)
    share.run(lambda: watch.spend(2))
    share.run(fail)
    share.run(lambda: done.append("behind it"))
    with caplog.at_level(logging.ERROR):
        await asyncio.sleep(0)
    assert done == ["behind it"]
    assert [record.message for record in caplog.records] == ["the beginning or the end of a request failed"]


async def test_work_that_goes_on_unmeasured_leaves_nothing_of_its_turn(share: TurnShare) -> None:
    done: list[object] = []

    def work(number: int) -> None:
        done.append(number)
        share.take_rest()

    for number in range(4):
        share.run(lambda number=number: work(number))  # type: ignore[misc]
    for served in range(1, 5):
        assert len(done) == served
        await asyncio.sleep(0)
    assert done == [0, 1, 2, 3]


async def test_a_quiet_loop_is_not_woken(share: TurnShare) -> None:
    share.run(lambda: None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(share) == 0


async def test_a_share_that_is_taken_outside_of_its_queue_comes_back(share: TurnShare) -> None:
    done: list[object] = []
    share.take_rest()
    share.run(lambda: done.append("behind it"))
    assert done == []
    await asyncio.sleep(0)
    assert done == ["behind it"]
