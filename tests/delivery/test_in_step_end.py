"""The end of a log reaches each subscriber of a group in step once, with nothing behind it, and holds up nobody."""

import asyncio

import pytest

from gateway.delivery.in_step import STEP
from gateway.endings import Ending
from tests.delivery.kit import BIG, Scene
from tests.delivery.sockets import SMALL, Run, unix_pair

from .test_in_step_in_stream import MANY, in_step


def test_of_two_subscribers_of_which_one_is_full_at_the_last_piece_the_other_gets_the_end_once(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        scene.join(pair=lambda: unix_pair(SMALL))
        await in_step(scene, 1)
        scene.close(BIG)
        await scene.all_have_ended()  # AssertionError: after the end: b'id: e1-2\nevent: end\n...'
        assert all(client.ended and client.at == 2 for client in scene.clients)

    run(main())


def test_of_two_subscribers_of_which_one_is_gone_at_the_last_piece_the_other_gets_the_end_once(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        gone, staying = await in_step(scene, 2)
        gone.socket.close()
        scene.close()
        await scene.all_have_ended()
        assert staying.ended

    run(main())


def test_the_only_one_that_stays_while_the_end_is_under_way_gets_it_once(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        clients = await in_step(scene)
        scene.close(cut=True)
        staying = next(client for client in clients if client.take() == 1 and client.ended)
        for client in clients:
            if client is not staying:
                client.subscriber.end()
        await scene.all_have_ended()

    run(main())


@pytest.mark.parametrize("what", ["tick", "expiry", "dismissal", "client hangs up"])
def test_nothing_follows_the_end_while_others_are_still_to_get_it(run: Run, what: str) -> None:
    async def main() -> None:
        scene = Scene()
        clients = await in_step(scene)
        scene.close(cut=True)
        at_end = [client for client in clients if client.take() == 1 and client.ended]
        assert 0 < len(at_end) < MANY
        for client in at_end:
            if what == "tick" and client.subscriber.position >= scene.stream.log.next_seq:  # as Stream._on_tick does
                client.subscriber.keep_alive()
            elif what == "expiry":
                client.subscriber.send_away(Ending.EXPIRED)  # as the timer of Subscriber.expire_in does
            elif what == "client hangs up":
                client.socket.close()
        if what == "dismissal":
            scene.stream.dismiss(lambda: 1000)
        await scene.all_have_ended()
        assert {client.subscriber.ending for client in at_end} == {Ending.COMPLETED}

    run(main())


def test_the_loop_comes_round_while_many_subscribers_end(run: Run) -> None:
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
