"""The end of a log reaches each reader of a cohort once, with nothing behind it, and holds up nobody."""

import asyncio

import pytest

from gateway.delivery.in_step import STEP
from gateway.endings import Ending
from tests.delivery.kit import BIG, Scene
from tests.delivery.sockets import SMALL, Run, unix_pair

from .test_in_step_in_stream import MANY, in_step


def test_of_two_readers_of_which_one_is_full_at_the_last_piece_the_other_gets_the_end_once(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        scene.sit(pair=lambda: unix_pair(SMALL))
        await in_step(scene, 1)
        scene.close(BIG)
        await scene.all_have_ended()  # AssertionError: after the end: b'id: e1-2\nevent: end\n...'
        assert all(one.ended and one.at == 2 for one in scene.seats)

    run(main())


def test_of_two_readers_of_which_one_is_gone_at_the_last_piece_the_other_gets_the_end_once(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        gone, staying = await in_step(scene, 2)
        gone.client.close()
        scene.close()
        await scene.all_have_ended()
        assert staying.ended

    run(main())


def test_the_only_one_that_stays_while_the_end_is_under_way_gets_it_once(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        seats = await in_step(scene)
        scene.close(cut=True)
        staying = next(one for one in seats if one.take() == 1 and one.ended)
        for one in seats:
            if one is not staying:
                one.reader.end()
        await scene.all_have_ended()

    run(main())


@pytest.mark.parametrize("what", ["tick", "expiry", "dismissal", "client hangs up"])
def test_nothing_follows_the_end_while_others_are_still_to_get_it(run: Run, what: str) -> None:
    async def main() -> None:
        scene = Scene()
        seats = await in_step(scene)
        scene.close(cut=True)
        told = [one for one in seats if one.take() == 1 and one.ended]
        assert 0 < len(told) < MANY
        for one in told:
            if what == "tick" and one.reader.position >= scene.stream.log.next_seq:  # as Stream._on_tick does
                one.reader.keep_alive()
            elif what == "expiry":
                one.reader.send_away(Ending.EXPIRED)  # as the timer of Subscriber.expire_in does
            elif what == "client hangs up":
                one.client.close()
        if what == "dismissal":
            scene.stream.dismiss(lambda: 1000)
        await scene.all_have_ended()
        assert {one.reader.ending for one in told} == {Ending.COMPLETED}

    run(main())


def test_the_loop_comes_round_while_many_readers_end(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        await in_step(scene, 8 * STEP)
        scene.close(cut=True)
        left = [len(scene.staying())]
        while left[-1]:
            await asyncio.sleep(0)
            left.append(len(scene.staying()))
        assert any(0 < count < 8 * STEP for count in left), left

    run(main())
