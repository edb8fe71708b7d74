"""Subscribers in step whose sockets are full fall behind, miss nothing, and come back into step."""

from collections.abc import Callable

import pytest

from gateway.delivery.in_step import STEP
from gateway.endings import Ending
from tests.delivery.kit import BIG, MANY, Costly, Pair, Scene, by_border, in_step
from tests.delivery.memory import Source
from tests.delivery.sockets import SMALL, Run, passes, tcp_pair, unix_pair, until

# --- subscribers block


@pytest.mark.parametrize("pair", [unix_pair, tcp_pair])
@pytest.mark.parametrize("count", [2, MANY])
def test_full_sockets_fall_behind_and_come_back_into_step(run: Run, pair: Callable[[int], Pair], count: int) -> None:
    async def main() -> None:
        scene = Scene()
        full = scene.join(2, pair=lambda: pair(SMALL))
        free = await in_step(scene, count)
        scene.publish(BIG, cut=True)
        for number in range(20):
            scene.publish(b"data: %d\n\n" % number)
        await until(lambda: {client.take() for client in free} == {22})
        assert all(client.sink.blocked and client.subscriber.position == 2 for client in full)
        counts = scene.stream.statistics()
        assert (counts.lag_events, counts.deliveries) == (20, 22 * count + 2 * 2)
        await scene.all_have_read()
        sends = scene.stream.statistics().sends
        scene.publish(b"data: again\n\n")
        await scene.all_have_read()
        assert scene.stream.statistics().sends - sends == count + 2
        assert {client.at for client in scene.clients} == {23}

    run(main())


def test_all_of_a_group_block_and_come_back_one_by_one(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        clients = scene.join(STEP + 3, pair=lambda: unix_pair(SMALL))
        await scene.all_have_read()
        scene.publish(BIG)
        await until(lambda: all(client.subscriber.position == 1 for client in clients))
        assert all(client.sink.blocked for client in clients)
        for number, client in enumerate(clients):
            scene.publish(b"data: %d\n\n" % number)
            await until(client.has_all)
        await scene.all_have_read()
        assert scene.stream.statistics().lag_events == 0

    run(main())


def test_a_socket_that_is_full_at_the_very_last_piece_gets_it_to_its_end(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        full = scene.join(3, pair=lambda: unix_pair(SMALL))
        free = await in_step(scene, 2)
        scene.close(BIG)
        assert {client.subscriber.ending for client in scene.clients} == {Ending.COMPLETED}
        assert all(client.sink.unsent_bytes() for client in full)
        assert {client.take() for client in free} == {2}
        await scene.all_have_ended()
        assert all(client.ended and client.at == 2 for client in scene.clients)
        assert scene.stream.statistics().deliveries == 2 * 5
        assert len(scene.watch) == 0

    run(main())


@pytest.mark.parametrize("in_mid_pass", [False, True])
def test_a_comment_that_fills_a_socket_takes_its_subscriber_out_and_it_comes_back(
    run: Run, in_mid_pass: bool
) -> None:
    async def main() -> None:
        scene = Scene()
        commented = scene.join(2, pair=lambda: unix_pair(SMALL))[
            1
        ]  # the second subscriber is among the first of the group in step
        await in_step(scene)
        clients = list(scene.clients)
        if in_mid_pass:
            scene.publish(b"data: a\n\n", cut=True)
            by_border(clients)
        written = 0
        assert commented.subscriber.position == len(scene.log)
        while not commented.sink.blocked:
            commented.subscriber.keep_alive()
            written += 1
        assert commented.subscriber.position == len(scene.log)
        behind = len(scene.log)
        for number in range(3):
            scene.publish(b"data: %d\n\n" % number)
        await until(lambda: all(client.take() == len(scene.log) for client in clients if client is not commented))
        assert commented.subscriber.position == behind
        assert scene.stream.statistics().lag_events == 3
        await scene.all_have_read()
        assert commented.comments == written
        scene.publish(b"data: last\n\n")
        await scene.all_have_read()

    run(main())


def test_a_producer_that_goes_on_at_once_when_a_subscriber_leaves_in_mid_pass_is_heard_by_all(run: Run) -> None:
    class Eager(Source):
        def resume(self) -> None:
            super().resume()
            if len(scene.log) == 4:
                scene.publish(b"data: resumed\n\n")

    scene: Scene

    async def main() -> None:
        nonlocal scene
        source = Eager()
        scene = Scene(source=source, max_log_bytes=4096)
        slow = scene.join(pair=lambda: unix_pair(SMALL), framing=Costly.COMPLETION)[0]
        clients = await in_step(scene)
        for _ in range(2):
            scene.publish(BIG)
            await until(lambda: all(client.take() == len(scene.log) for client in clients))
            await passes(20)
        assert (slow.subscriber.position, source.paused) == (2, True)
        scene.publish(b"data: a\n\n", cut=True)
        assert len([client for client in clients if client.subscriber.position == 4]) == STEP
        slow.subscriber.end()
        assert (source.paused, scene.log[-1]) == (False, b"data: resumed\n\n")
        await scene.all_have_read()
        assert {client.at for client in clients} == {5}

    run(main())
