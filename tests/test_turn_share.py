"""Beginnings and ends of requests get a share of each turn of the loop, in their order, and tokens go between."""

import asyncio
import logging
import time

import pytest

from gateway.turn_share import SHARE_SECONDS, TurnShare


def spend(seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


async def test_what_finds_a_free_share_is_done_in_the_same_call() -> None:
    share, done = TurnShare(), []
    share.run(lambda: done.append(1))
    share.run(lambda: done.append(2))
    assert (done, len(share)) == ([1, 2], 0)


async def test_what_is_beyond_the_share_waits_for_the_next_turns_in_its_order() -> None:
    share, done, turns = TurnShare(), [], 0

    def work(number: int) -> None:
        spend(SHARE_SECONDS * 0.6)
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


async def test_what_comes_while_others_wait_goes_behind_them() -> None:
    share, done = TurnShare(), []
    share.run(lambda: spend(2 * SHARE_SECONDS))
    share.run(lambda: done.append("first"))
    share.run(lambda: done.append("second"))
    await asyncio.sleep(0)
    share.run(lambda: done.append("third"))
    await asyncio.sleep(0)
    assert done == ["first", "second", "third"]


async def test_a_fault_is_raised_where_work_is_done_at_once_and_logged_where_it_waited(
    caplog: pytest.LogCaptureFixture,
) -> None:
    share, done = TurnShare(), []

    def fail() -> None:
        raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        share.run(fail)
    share.run(lambda: spend(2 * SHARE_SECONDS))
    share.run(fail)
    share.run(lambda: done.append("behind it"))
    with caplog.at_level(logging.ERROR):
        await asyncio.sleep(0)
    assert done == ["behind it"]
    assert [record.message for record in caplog.records] == ["the beginning or the end of a request failed"]


async def test_requests_that_wait_are_let_go_one_in_a_turn_and_one_that_has_left_is_passed_over() -> None:
    share, done = TurnShare(), []

    async def request(number: int) -> None:
        await share.turn()
        done.append(number)

    tasks = [asyncio.create_task(request(number)) for number in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    for _ in range(12):
        before = len(done)
        await asyncio.sleep(0)
        assert len(done) - before <= 1, done
    assert done == [0, 2, 3]
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_nobody_is_asked_to_wait_in_a_quiet_loop() -> None:
    share = TurnShare()
    async with asyncio.timeout(5):
        for _ in range(100):
            await share.turn()
    share.run(lambda: None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(share) == 0
