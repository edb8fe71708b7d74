"""Subscribers in step get all of it, in order, once, whoever joins, leaves or blocks, and wherever the pass is then.

The sockets are real; the passes of the stream are cut after a step of a group in step where the test says so.
"""

import gc
import os
import socket
from collections.abc import Callable

import pytest

from gateway.delivery.in_step import LARGE_STEP, STEP
from gateway.endings import Ending
from gateway.stream.room import Ring
from tests.delivery.kit import BIG, Client, Costly, Pair, Scene
from tests.delivery.memory import Source, frames
from tests.delivery.sockets import SMALL, Run, passes, reset, tcp_pair, unix_pair, until

MANY = 2 * STEP + 2  # subscribers: of a pass that is cut some are served, and others not

KINDS = [(framing, chunked) for framing in Costly for chunked in (False, True)]


async def in_step(scene: Scene, count: int = MANY) -> list[Client]:
    """So many subscribers more, so that all are up to date with the first event, and move together from then on."""
    new = scene.join(count)
    scene.publish(b"data: first\n\n")
    await scene.all_have_read()
    return new


def descriptor(client: Client) -> int:
    assert client.sink.direct is not None
    return client.sink.direct.fileno()


def by_border(clients: list[Client], step: int = STEP) -> tuple[list[Client], list[Client]]:
    """In mid-pass: those that have got the second event, and those that have not."""
    served = [client for client in clients if client.subscriber.position == 2]
    unserved = [client for client in clients if client.subscriber.position == 1]
    assert len(served) == step
    assert len(unserved) == len(clients) - step
    return served, unserved


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
        freed, strangers = set(), []
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
            await until(lambda client=client: client.take() == len(scene.log))
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
        ]  # the second: it is among the first of the group in step
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


# --- the end, and a log that forgets


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
        scene = Scene(ring=Ring(8, "skip"))
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
        scene = Scene(ring=Ring(8, "close"))
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
    """Completions cannot tell of a gap."""

    async def main() -> None:
        scene = Scene(ring=Ring(8, "skip"))
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
