"""Subscribers in step get the whole log, in order, once, whoever joins or leaves while a pass is anywhere.

The sockets are real; a test cuts a pass of the stream after a step.
"""

import socket

import pytest

from gateway.delivery.in_step import STEP
from gateway.endings import Ending
from tests.delivery.kit import BIG, KINDS, MANY, Costly, Scene, by_border, descriptor, in_step
from tests.delivery.memory import Source
from tests.delivery.sockets import Run, passes, reset, tcp_pair, unix_pair, until

# --- subscribers leave


def test_in_mid_pass_the_positions_and_the_statistics_are_what_the_clients_have(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        clients = await in_step(scene)
        before = scene.stream.statistics().sends
        scene.publish(b"data: a\n\n", cut=True)
        by_border(clients)
        assert [client.take() for client in clients] == [client.subscriber.position for client in clients]
        counts = scene.stream.statistics()
        assert (counts.deliveries, counts.lag_events, counts.sends - before) == (MANY + STEP, 1, STEP)
        await scene.all_have_read()
        counts = scene.stream.statistics()
        assert (counts.deliveries, counts.lag_events, counts.sends - before) == (2 * MANY, 0, MANY)
        for number in range(10):
            scene.publish(b"data: %d\n\n" % number)
            await scene.all_have_read()
        counts = scene.stream.statistics()
        assert (counts.deliveries, counts.lag_events, counts.sends - before) == (12 * MANY, 0, 11 * MANY)

    run(main())


def test_a_descriptor_that_is_given_to_a_stranger_in_mid_pass_is_written_to_no_more(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        clients = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        served, unserved = by_border(clients)
        leavers = served[::3] + unserved[::3]
        freed: set[int] = set()
        strangers: list[socket.socket] = []
        for client in leavers:
            freed.add(descriptor(client))
            client.subscriber.end()
            strangers += unix_pair()
        assert freed <= {stranger.fileno() for stranger in strangers}
        scene.publish(b"data: b\n\n")
        await scene.all_have_read()
        scene.publish(b"data: c\n\n")
        await scene.all_have_read()
        for client in leavers:
            assert client.take() == client.subscriber.position == (2 if client in served else 1)
            assert (client.eof, client.subscriber.ending) == (True, Ending.LEFT)
        for stranger in strangers:
            with pytest.raises(BlockingIOError):
                stranger.recv(1)
        assert {client.take() for client in clients if client not in leavers} == {4}
        assert scene.stream.statistics().deliveries == sum(client.at for client in clients)

    run(main())


@pytest.mark.parametrize("way", ["fin", "half", "rst"])
def test_clients_that_hang_up_in_mid_pass_are_found_gone_and_the_others_miss_nothing(run: Run, way: str) -> None:
    async def main() -> None:
        scene = Scene()
        scene.join(MANY // 2, pair=tcp_pair)
        await in_step(scene, MANY - MANY // 2)
        clients = list(scene.clients)
        scene.publish(b"data: a\n\n", cut=True)
        served, unserved = by_border(clients)
        leavers = served[::4] + unserved[::4]
        for client in leavers:
            if way == "half":
                client.socket.shutdown(socket.SHUT_WR)
            else:
                (reset if way == "rst" else socket.socket.close)(client.socket)
        for number in range(5):
            scene.publish(b"data: %d\n\n" % number)
        await until(lambda: all(client.subscriber.ending is Ending.LEFT for client in leavers))
        await scene.all_have_read()
        assert {client.at for client in clients if client not in leavers} == {7}
        assert len(scene.watch) == MANY - len(leavers)
        for client in leavers:
            assert way != "half" or client.take() <= client.subscriber.position

    run(main())


def test_subscribers_that_are_sent_away_in_mid_pass_come_again_where_they_were(run: Run) -> None:
    async def main() -> None:
        scene = Scene(abort_grace_ms=3_600_000)
        clients = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        by_border(clients)
        scene.stream.dismiss(lambda: 1000)
        positions = [client.subscriber.position for client in clients]
        scene.publish(b"data: b\n\n")
        await scene.all_have_ended()
        assert all(client.ended for client in clients)
        assert [client.at for client in clients] == positions
        for position in positions:
            scene.join(seq=position)
        await scene.all_have_read()
        assert {client.at for client in scene.clients[MANY:]} == {3}

    run(main())


def test_all_leave_in_mid_pass_and_the_stream_is_abandoned_by_a_producer_that_ends_it_at_once(run: Run) -> None:
    class Prompt(Source):
        def stop(self, ending: Ending) -> None:
            super().stop(ending)
            scene.stream.close(ending, [b"data: gone\n\n"])

    scene: Scene

    async def main() -> None:
        nonlocal scene
        source = Prompt()
        scene = Scene(source=source)
        clients = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        for client in clients:
            client.subscriber.end()
        await scene.all_have_ended()
        await passes(20)
        assert source.endings == [Ending.ABANDONED]
        assert [client.at for client in clients] == [client.subscriber.position for client in clients]
        assert len(scene.watch) == 0

    run(main())


@pytest.mark.usefixtures("whole_passes")
def test_a_group_of_three_shrinks_to_one_and_grows_again(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        clients, sends = await in_step(scene, 3), scene.stream.statistics().sends
        for leaver in clients[:2]:
            leaver.subscriber.end()
            scene.publish(b"data: a\n\n")
            assert clients[2].take() == len(scene.log)
        for _ in range(3):
            late = scene.join(seq=len(scene.log))[0]
            scene.publish(b"data: b\n\n")
            scene.publish(b"data: c\n\n")
            assert (late.take(), clients[2].take()) == (len(scene.log), len(scene.log))
        assert scene.stream.statistics().sends - sends == 2 + 1 + 2 * (2 + 3 + 4)
        scene.close(b"data: last\n\n")
        await scene.all_have_ended()
        assert all(client.ended and client.at == len(scene.log) for client in scene.clients[2:])

    run(main())


@pytest.mark.parametrize("was_served", [True, False])
def test_a_group_that_shrinks_to_one_in_mid_pass_leaves_that_one_where_it_is(run: Run, was_served: bool) -> None:
    async def main() -> None:
        scene = Scene()
        clients = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        served, unserved = by_border(clients)
        last = (served if was_served else unserved)[1]
        for client in clients:
            if client is not last:
                client.subscriber.end()
        assert last.take() == last.subscriber.position == (2 if was_served else 1)
        scene.publish(b"data: b\n\n")
        assert last.take() == last.subscriber.position
        scene.join(seq=1)
        scene.publish(b"data: c\n\n")
        await scene.all_have_read()
        scene.publish(b"data: d\n\n")
        assert [client.take() for client in scene.staying()] == [5, 5]

    run(main())


# --- subscribers come


def test_subscribers_that_join_in_mid_pass_get_what_they_came_for_and_then_go_in_step(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        clients = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        by_border(clients)
        scene.join(2, seq=0)
        scene.join(2, seq=1)
        newest = scene.join(2, seq=2)
        scene.publish(b"data: b\n\n", cut=True)
        scene.join(2, seq=3)
        await scene.all_have_read()
        sends = scene.stream.statistics().sends
        scene.publish(b"data: c\n\n")
        await scene.all_have_read()
        assert {client.at for client in scene.clients} == {4}
        assert newest[0].start == 2
        assert scene.stream.statistics().sends - sends == len(scene.clients)

    run(main())


def test_a_subscriber_far_behind_that_joins_in_mid_pass_begins_no_second_one(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        for _ in range(3):
            scene.publish(BIG)
            await scene.all_have_read()
        clients = scene.join(MANY, seq=3)
        scene.publish(b"data: first\n\n")
        await scene.all_have_read()
        scene.publish(b"data: a\n\n", cut=True)
        assert [client.subscriber.position for client in clients].count(5) == STEP
        far = scene.join(2, seq=0)
        assert [client.subscriber.position for client in far] == [0, 0]
        await scene.all_have_read()
        assert {client.at for client in scene.clients} == {5}
        assert scene.stream.statistics().deliveries == 2 * MANY + 2 * 5

    run(main())


def test_every_view_has_a_group_of_its_own_and_a_pass_may_be_cut_in_each(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        for framing, chunked in KINDS:
            scene.join(20, framing=framing, chunked=chunked)
        scene.join(STEP, framing=Costly.SOURCE_EVENTS, chunked=True)
        for number in range(4):
            named, plain = b"source-id: s%d\ndata: a\n\n" % number, b"data: %d\n\n" % number
            scene.publish(named, cut=True)
            await passes(1)
            scene.publish(plain, BIG, cut=True, at_once=True)
            scene.clients[25 * number + 1].subscriber.end()
        await scene.all_have_read()
        assert {client.at for client in scene.staying()} == {12}
        assert len(scene.staying()) == 120 + STEP - 4
        scene.close(b"data: last\n\n", cut=True)
        await scene.all_have_ended()
        assert sum(client.ended and client.at == 13 for client in scene.clients) == 120 + STEP - 4

    run(main())


def test_a_pass_that_the_clock_cuts_where_it_will_loses_nobody_anything(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        clients = scene.join(3 * STEP)
        for number in range(10):
            scene.publish(BIG)
            scene.publish(b"data: %d\n\n" % number)
            clients[number].subscriber.end()
            clients[-1 - number].subscriber.end()
            scene.join(seq=len(scene.log) - 1)
            assert [client.take() for client in scene.staying()] == [
                client.subscriber.position for client in scene.staying()
            ]
            if number % 2:
                await scene.all_have_read()
        await scene.all_have_read()
        scene.publish(BIG)
        scene.close(b"data: last\n\n")
        await scene.all_have_ended()
        assert sum(client.ended and client.at == 22 for client in scene.clients) == 3 * STEP - 10

    run(main())
