"""Under load the event loop rests between two turns; without load nothing waits."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.pace import ENOUGH, PERIOD, WORTH, Pace

REST = 0.02
LONG_REST = 0.25  # seconds; longer than a loaded machine holds a process up


async def looked(pace: Pace, reads: int) -> bool:
    """Whether `pace` is due after it looked at a period with this many reads."""
    for _ in range(reads):
        pace.reads += 1
        if pace.is_due:
            pace.begin_turn()
    pace.look()
    await asyncio.sleep(0)  # lets the loop rest if `pace` asked for a rest
    return pace.is_due


def reads_for(together: float, rest: float = REST) -> int:
    """How many reads a period needs so that `together` of them fall into one rest."""
    return round(together * PERIOD / rest)


def run(main: Callable[[Pace], Awaitable[None]], rest: float = REST) -> None:
    async def whole() -> None:
        await main(Pace(rest))

    asyncio.run(whole())


def test_few_reads_never_make_the_loop_rest() -> None:
    async def main(pace: Pace) -> None:
        for _ in range(3):
            assert not await looked(pace, reads_for(WORTH) - 1)
        assert pace.rests == 0

    run(main)


def test_a_load_makes_the_loop_rest_and_the_end_of_the_load_ends_the_rests() -> None:
    async def main(pace: Pace) -> None:
        assert await looked(pace, reads_for(WORTH))
        assert await looked(pace, reads_for(ENOUGH))  # resting goes on at a smaller load than it began with
        assert not await looked(pace, reads_for(ENOUGH) - 1)

    run(main)


def test_two_turns_are_a_rest_apart_and_a_turn_that_took_longer_is_followed_by_none() -> None:
    async def main(pace: Pace) -> None:
        assert await looked(pace, reads_for(WORTH, LONG_REST))
        for work, rests in ((0.0, 1), (2 * LONG_REST, 0)):
            pace.begin_turn()
            await asyncio.sleep(0)
            began, before = time.monotonic(), pace.rests
            asyncio.get_running_loop().call_soon(time.sleep, work)  # the other work of the turn
            pace.begin_turn()
            await asyncio.sleep(0)
            assert pace.rests - before == rests
            assert time.monotonic() - began >= LONG_REST / 2
            assert pace.is_due

    run(main, LONG_REST)


def test_without_a_configured_time_there_is_no_rest() -> None:
    async def main() -> None:
        pace = Pace()
        pace.start()
        assert not await looked(pace, 1_000_000)
        pace.stop()

    asyncio.run(main())


def test_a_pace_looks_by_itself_from_its_start_to_its_stop() -> None:
    async def main(pace: Pace) -> None:
        pace.start()
        pace.reads += 1_000_000
        async with asyncio.timeout(20):
            while not pace.is_due:  # noqa: ASYNC110 - the pace announces nothing
                await asyncio.sleep(0.01)
        pace.stop()
        assert not pace.is_due

    run(main)


def test_every_read_counts_and_the_first_of_a_turn_begins_it() -> None:
    async def main(pace: Pace) -> None:
        connection = UpstreamConnection(lambda _: None, lambda _: None, pace)
        connection.data_received(b"x")
        assert pace.reads == 1
        pace.is_due = True
        connection.data_received(b"x")
        connection.data_received(b"x")
        assert not pace.is_due
        assert pace.reads == 3

    run(main)
