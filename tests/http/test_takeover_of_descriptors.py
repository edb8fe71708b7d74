"""Sockets are taken over from the HTTP server on uvloop and on asyncio's own loop alike."""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from tests.kit.chain import PATIENCE, Chain, Run

CHURN = 300
EVENTS = 40


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    interval, failures = sys.getswitchinterval(), list[dict[str, object]]()
    with asyncio.Runner(loop_factory=request.param) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: failures.append(context))
        yield runner.run
    sys.setswitchinterval(interval)
    gc.unfreeze()
    assert failures == []


def test_subscribers_get_every_event_behind_the_head_in_order(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with Chain.open(tmp_path) as chain:
            await chain.join(5)  # on return each subscriber has read its head and the beginning of its events
            await chain.send(EVENTS)  # each event is sent when all subscribers have got the event before it

    run(main())


def test_subscribers_that_join_and_leave_leave_no_descriptor_behind(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with Chain.open(tmp_path) as chain:
            await chain.join(1)
            await chain.send(1)
            before = files()
            for _ in range(CHURN // 50):
                await chain.join(50)
                await chain.send(1)
                chain.leave(50)
            await until(lambda: files() <= before)
            await chain.send(3)

    run(main())


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the gateway's own work makes it true
            await asyncio.sleep(0.01)
