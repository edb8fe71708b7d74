"""Long work of any number of requests gets one step in each turn of the loop, in order."""

import asyncio

import pytest

from gateway.http.turns import Turns


async def test_one_step_runs_in_each_turn_and_everybody_gets_on() -> None:
    turns, steps = Turns(), list[tuple[int, int]]()
    turn, runs = 0, True

    async def count_turns() -> None:
        nonlocal turn
        while runs:
            turn += 1
            await asyncio.sleep(0)

    async def work(worker: int) -> None:
        for _ in range(4):
            await turns.run(lambda: steps.append((turn, worker)))

    counter = asyncio.create_task(count_turns())
    await asyncio.gather(*[work(worker) for worker in range(3)])
    runs = False
    await counter
    assert len({turn for turn, _ in steps}) == len(steps) == 12
    assert {worker for _, worker in steps[:3]} == {0, 1, 2}


async def test_a_step_that_fails_gives_its_turn_back() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError):
        await turns.run(lambda: 1 // 0)
    assert await turns.run(lambda: 5) == 5
