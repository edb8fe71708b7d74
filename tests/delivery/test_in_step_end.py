"""The end of a log reaches each subscriber in step once, with nothing behind it; forgotten events are not sent."""

import asyncio
import gc
import os

import pytest

from gateway.delivery.in_step import LARGE_STEP, STEP
from gateway.endings import Ending
from gateway.stream.room import Ring
from tests.delivery.kit import BIG, MANY, Costly, Scene, by_border, descriptor, in_step
from tests.delivery.memory import frames
from tests.delivery.sockets import SMALL, Run, passes, unix_pair, until


def test_if_one_of_two_subscribers_is_full_at_the_last_piece_the_other_gets_the_end_once(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        scene.join(pair=lambda: unix_pair(SMALL))
        await in_step(scene, 1)
        scene.close(BIG)
        await scene.all_have_ended()  # AssertionError: after the end: b'id: e1-2\nevent: end\n...'
        assert all(client.ended and client.at == 2 for client in scene.clients)

    run(main())


def test_if_one_of_two_subscribers_is_gone_at_the_last_piece_the_other_gets_the_end_once(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        gone, staying = await in_step(scene, 2)
        gone.socket.close()
        scene.close()
        await scene.all_have_ended()
        assert staying.ended

    run(main())


def test_the_only_subscriber_that_stays_while_the_end_is_under_way_gets_it_once(run: Run) -> None:
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


def test_an_end_in_mid_pass_reaches_all(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        clients = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        served, unserved = by_border(clients)
        scene.close(b"data: last\n\n", cut=True)
        for leaver in (served[3], unserved[3]):
            leaver.subscriber.end()
        await scene.all_have_ended()
        assert (served[3].at, unserved[3].at) == (2, 1)
        staying = [client for client in clients if client not in (served[3], unserved[3])]
        assert all(client.ended and client.at == 3 for client in staying)
        assert {client.subscriber.ending for client in staying} == {Ending.COMPLETED}
        assert scene.stream.statistics().deliveries == 3 * (MANY - 2) + 2 + 1

    run(main())


def test_subscribers_of_a_ring_that_turns_in_mid_pass_skip_what_is_gone_together(run: Run) -> None:
    async def main() -> None:
        scene = Scene(ring=Ring(8, "skip", newest_only=True))
        slow = scene.join(pair=lambda: unix_pair(SMALL))[0]
        clients = await in_step(scene)
        scene.publish(BIG, cut=True)
        by_border(clients, LARGE_STEP)  # pieces of this size
        scene.publish(*frames(30))
        await scene.all_have_read()
        assert {client.at for client in scene.clients} == {32}
        assert {client.missed for client in clients} == {scene.stream.log.first_seq - 2}
        assert slow.missed > 0
        scene.publish(b"data: again\n\n")
        await scene.all_have_read()
        assert {client.at for client in scene.clients} == {33}

    run(main())


def test_a_ring_that_closes_laggards_in_mid_pass_closes_those_it_has_not_come_to(run: Run) -> None:
    async def main() -> None:
        scene = Scene(ring=Ring(8, "close", newest_only=True))
        clients = await in_step(scene)
        scene.publish(*frames(4), cut=True, at_once=True)
        served = [client for client in clients if client.subscriber.position == 5]
        assert len(served) == STEP
        freed = {descriptor(client) for client in clients if client not in served}
        scene.publish(*frames(5))
        lagging = [client for client in clients if client.subscriber.ending is Ending.LAGGED]
        assert set(clients) - set(lagging) == set(served)
        assert scene.stream.statistics().lagged_subscribers == len(lagging)
        strangers = [stranger for _ in lagging for stranger in unix_pair()]
        assert freed <= {client.fileno() for client in strangers}
        await scene.all_have_read()
        assert {(client.at, client.missed) for client in served} == {(10, 0)}
        assert {(client.take(), client.eof) for client in lagging} == {(1, True)}
        for stranger in strangers:
            with pytest.raises(BlockingIOError):
                stranger.recv(1)

    run(main())


def test_a_group_whose_position_is_forgotten_lags_and_stops_nobody_else(run: Run) -> None:
    """A completion has no `gap` event, so that its subscribers have to end as lagged."""

    async def main() -> None:
        scene = Scene(ring=Ring(8, "skip", newest_only=True))
        completions = scene.join(4, framing=Costly.COMPLETION, chunked=True)
        clients = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        scene.publish(*frames(12))
        await until(lambda: all(client.subscriber.ending for client in completions))
        await scene.all_have_read()
        assert {client.subscriber.ending for client in completions} == {Ending.LAGGED}
        assert {client.at for client in clients} == {14}
        assert scene.stream.statistics().lagged_subscribers == 4

    run(main())


def test_nothing_is_left_open_of_subscribers_that_have_come_and_gone(run: Run) -> None:
    async def main() -> None:
        gc.collect()  # the sockets of other tests
        scene = Scene(abort_grace_ms=3_600_000)
        opened = []
        for _ in range(3):
            new = await in_step(scene) if scene.log else scene.join(MANY)
            scene.publish(b"data: a\n\n", cut=True)
            for client in new:
                client.subscriber.end()
                client.socket.close()
            await passes(20)
            opened.append(len(os.listdir("/proc/self/fd")))
        assert len(set(opened)) == 1
        assert len(scene.watch) == 0
        assert scene.stream.statistics().subscribers == 0
        scene.close()

    run(main())
