"""Readers in step get all of it, in order, once, whoever joins, leaves or blocks, and wherever the pass is then.

The sockets are real; the passes of the stream are cut after a step of a cohort where the test says so.
"""

import gc
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from gateway.errors import Ending
from gateway.stream.cohort import LARGE_STEP, STEP
from gateway.stream.stream import Ring

from .seats import BIG, Costly, Pair, Scene, Seat
from .sockets import SMALL, Run, passes, reset, tcp_pair, unix_pair, until
from .test_stream import Source, frames

MANY = 2 * STEP + 2  # readers: of a pass that is cut some are served, and others not

KINDS = [(framing, chunked) for framing in Costly for chunked in (False, True)]


async def in_step(scene: Scene, count: int = MANY) -> list[Seat]:
    """So many readers more, so that all are up to date with the first event, and move together from then on."""
    new = scene.sit(count)
    scene.publish(b"data: first\n\n")
    await scene.all_have_read()
    return new


def descriptor(seat: Seat) -> int:
    assert seat.sink.direct is not None
    return seat.sink.direct.fileno()


def by_border(seats: list[Seat], step: int = STEP) -> tuple[list[Seat], list[Seat]]:
    """In mid-pass: those that have got the second event, and those that have not."""
    served = [one for one in seats if one.reader.position == 2]
    unserved = [one for one in seats if one.reader.position == 1]
    assert len(served) == step
    assert len(unserved) == len(seats) - step
    return served, unserved


# --- readers leave


def test_in_mid_pass_the_positions_and_the_statistics_are_what_the_clients_have(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        seats = await in_step(scene)
        before = scene.stream.statistics().sends
        scene.publish(b"data: a\n\n", cut=True)
        by_border(seats)
        assert [one.take() for one in seats] == [one.reader.position for one in seats]
        told = scene.stream.statistics()
        assert (told.deliveries, told.lag_events, told.sends - before) == (MANY + STEP, 1, STEP)
        await scene.all_have_read()
        told = scene.stream.statistics()
        assert (told.deliveries, told.lag_events, told.sends - before) == (2 * MANY, 0, MANY)
        for number in range(10):
            scene.publish(b"data: %d\n\n" % number)
            await scene.all_have_read()
        told = scene.stream.statistics()
        assert (told.deliveries, told.lag_events, told.sends - before) == (12 * MANY, 0, 11 * MANY)

    run(main())


def test_a_descriptor_that_is_given_to_a_stranger_in_mid_pass_is_written_to_no_more(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        seats = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        served, unserved = by_border(seats)
        leavers = served[::3] + unserved[::3]
        freed: set[int] = set()
        strangers: list[Any] = []
        for one in leavers:
            freed.add(descriptor(one))
            one.reader.end()
            strangers += unix_pair()
        assert freed <= {stranger.fileno() for stranger in strangers}
        scene.publish(b"data: b\n\n")
        await scene.all_have_read()
        scene.publish(b"data: c\n\n")
        await scene.all_have_read()
        for one in leavers:
            assert one.take() == one.reader.position == (2 if one in served else 1)
            assert (one.eof, one.reader.ending) == (True, Ending.LEFT)
        for stranger in strangers:
            with pytest.raises(BlockingIOError):
                stranger.recv(1)
        assert {one.take() for one in seats if one not in leavers} == {4}
        assert scene.stream.statistics().deliveries == sum(one.at for one in seats)

    run(main())


@pytest.mark.parametrize("way", ["fin", "half", "rst"])
def test_clients_that_hang_up_in_mid_pass_are_found_gone_and_the_others_miss_nothing(run: Run, way: str) -> None:
    async def main() -> None:
        scene = Scene()
        scene.sit(MANY // 2, pair=tcp_pair)
        await in_step(scene, MANY - MANY // 2)
        seats = list(scene.seats)
        scene.publish(b"data: a\n\n", cut=True)
        served, unserved = by_border(seats)
        leavers = served[::4] + unserved[::4]
        for one in leavers:
            if way == "half":
                one.client.shutdown(socket.SHUT_WR)
            else:
                (reset if way == "rst" else socket.socket.close)(one.client)
        for number in range(5):
            scene.publish(b"data: %d\n\n" % number)
        await until(lambda: all(one.reader.ending is Ending.LEFT for one in leavers))
        await scene.all_have_read()
        assert {one.at for one in seats if one not in leavers} == {7}
        assert len(scene.watch) == MANY - len(leavers)
        for one in leavers:
            assert way != "half" or one.take() <= one.reader.position

    run(main())


def test_readers_that_are_sent_away_in_mid_pass_come_again_where_they_were(run: Run) -> None:
    async def main() -> None:
        scene = Scene(abort_grace_ms=3_600_000)
        seats = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        by_border(seats)
        scene.stream.dismiss(lambda: 1000)
        positions = [one.reader.position for one in seats]
        scene.publish(b"data: b\n\n")
        await scene.all_have_ended()
        assert all(one.ended for one in seats)
        assert [one.at for one in seats] == positions
        for position in positions:
            scene.sit(seq=position)
        await scene.all_have_read()
        assert {one.at for one in scene.seats[MANY:]} == {3}

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
        seats = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        for one in seats:
            one.reader.end()
        await scene.all_have_ended()
        await passes(20)
        assert source.endings == [Ending.ABANDONED]
        assert [one.at for one in seats] == [one.reader.position for one in seats]
        assert len(scene.watch) == 0

    run(main())


def test_a_cohort_of_three_shrinks_to_one_and_grows_again(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        seats, sends = await in_step(scene, 3), scene.stream.statistics().sends
        for leaver in seats[:2]:
            leaver.reader.end()
            scene.publish(b"data: a\n\n")
            assert seats[2].take() == len(scene.log)
        for _ in range(3):
            late = scene.sit(seq=len(scene.log))[0]
            scene.publish(b"data: b\n\n")
            scene.publish(b"data: c\n\n")
            assert (late.take(), seats[2].take()) == (len(scene.log), len(scene.log))
        assert scene.stream.statistics().sends - sends == 2 + 1 + 2 * (2 + 3 + 4)
        scene.close(b"data: last\n\n")
        await scene.all_have_ended()
        assert all(one.ended and one.at == len(scene.log) for one in scene.seats[2:])

    run(main())


@pytest.mark.parametrize("was_served", [True, False])
def test_a_cohort_that_shrinks_to_one_in_mid_pass_leaves_that_one_where_it_is(run: Run, was_served: bool) -> None:
    async def main() -> None:
        scene = Scene()
        seats = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        served, unserved = by_border(seats)
        last = (served if was_served else unserved)[1]
        for one in seats:
            if one is not last:
                one.reader.end()
        assert last.take() == last.reader.position == (2 if was_served else 1)
        scene.publish(b"data: b\n\n")
        assert last.take() == last.reader.position
        scene.sit(seq=1)
        scene.publish(b"data: c\n\n")
        await scene.all_have_read()
        scene.publish(b"data: d\n\n")
        assert [one.take() for one in scene.staying()] == [5, 5]

    run(main())


# --- readers come


def test_readers_that_join_in_mid_pass_get_what_they_came_for_and_then_go_in_step(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        seats = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        by_border(seats)
        scene.sit(2, seq=0)
        scene.sit(2, seq=1)
        newest = scene.sit(2, seq=2)
        scene.publish(b"data: b\n\n", cut=True)
        scene.sit(2, seq=3)
        await scene.all_have_read()
        sends = scene.stream.statistics().sends
        scene.publish(b"data: c\n\n")
        await scene.all_have_read()
        assert {one.at for one in scene.seats} == {4}
        assert newest[0].start == 2
        assert scene.stream.statistics().sends - sends == len(scene.seats)

    run(main())


def test_a_reader_far_behind_that_joins_in_mid_pass_begins_no_second_one(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        for _ in range(3):
            scene.publish(BIG)
            await scene.all_have_read()
        seats = scene.sit(MANY, seq=3)
        scene.publish(b"data: first\n\n")
        await scene.all_have_read()
        scene.publish(b"data: a\n\n", cut=True)
        assert [one.reader.position for one in seats].count(5) == STEP
        far = scene.sit(2, seq=0)
        assert [one.reader.position for one in far] == [0, 0]
        await scene.all_have_read()
        assert {one.at for one in scene.seats} == {5}
        assert scene.stream.statistics().deliveries == 2 * MANY + 2 * 5

    run(main())


def test_every_view_has_a_cohort_of_its_own_and_a_pass_may_be_cut_in_each(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        for framing, chunked in KINDS:
            scene.sit(20, framing=framing, chunked=chunked)
        scene.sit(STEP, framing=Costly.SOURCE_EVENTS, chunked=True)
        for number in range(4):
            named, plain = b"source-id: s%d\ndata: a\n\n" % number, b"data: %d\n\n" % number
            scene.publish(named, cut=True)
            await passes(1)
            scene.publish(plain, BIG, cut=True, at_once=True)
            scene.seats[25 * number + 1].reader.end()
        await scene.all_have_read()
        assert {one.at for one in scene.staying()} == {12}
        assert len(scene.staying()) == 120 + STEP - 4
        scene.close(b"data: last\n\n", cut=True)
        await scene.all_have_ended()
        assert sum(one.ended and one.at == 13 for one in scene.seats) == 120 + STEP - 4

    run(main())


def test_a_pass_that_the_clock_cuts_where_it_will_loses_nobody_anything(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        seats = scene.sit(3 * STEP)
        for number in range(10):
            scene.publish(BIG)
            scene.publish(b"data: %d\n\n" % number)
            seats[number].reader.end()
            seats[-1 - number].reader.end()
            scene.sit(seq=len(scene.log) - 1)
            assert [one.take() for one in scene.staying()] == [one.reader.position for one in scene.staying()]
            if number % 2:
                await scene.all_have_read()
        await scene.all_have_read()
        scene.publish(BIG)
        scene.close(b"data: last\n\n")
        await scene.all_have_ended()
        assert sum(one.ended and one.at == 22 for one in scene.seats) == 3 * STEP - 10

    run(main())


# --- readers block


@pytest.mark.parametrize("pair", [unix_pair, tcp_pair])
@pytest.mark.parametrize("count", [2, MANY])
def test_full_sockets_fall_behind_and_come_back_into_step(run: Run, pair: Callable[[int], Pair], count: int) -> None:
    async def main() -> None:
        scene = Scene()
        full = scene.sit(2, pair=lambda: pair(SMALL))
        free = await in_step(scene, count)
        scene.publish(BIG, cut=True)
        for number in range(20):
            scene.publish(b"data: %d\n\n" % number)
        await until(lambda: {one.take() for one in free} == {22})
        assert all(one.sink.blocked and one.reader.position == 2 for one in full)
        told = scene.stream.statistics()
        assert (told.lag_events, told.deliveries) == (20, 22 * count + 2 * 2)
        await scene.all_have_read()
        sends = scene.stream.statistics().sends
        scene.publish(b"data: again\n\n")
        await scene.all_have_read()
        assert scene.stream.statistics().sends - sends == count + 2
        assert {one.at for one in scene.seats} == {23}

    run(main())


def test_all_of_a_cohort_block_and_come_back_one_by_one(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        seats = scene.sit(STEP + 3, pair=lambda: unix_pair(SMALL))
        await scene.all_have_read()
        scene.publish(BIG)
        await until(lambda: all(one.reader.position == 1 for one in seats))
        assert all(one.sink.blocked for one in seats)
        for number, one in enumerate(seats):
            scene.publish(b"data: %d\n\n" % number)
            await until(lambda: one.take() == len(scene.log))  # noqa: B023
        await scene.all_have_read()
        assert scene.stream.statistics().lag_events == 0

    run(main())


def test_a_socket_that_is_full_at_the_very_last_piece_gets_it_to_its_end(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        full = scene.sit(3, pair=lambda: unix_pair(SMALL))
        free = await in_step(scene, 2)
        scene.close(BIG)
        assert {one.reader.ending for one in scene.seats} == {Ending.COMPLETED}
        assert all(one.sink.unsent_bytes() for one in full)
        assert {one.take() for one in free} == {2}
        await scene.all_have_ended()
        assert all(one.ended and one.at == 2 for one in scene.seats)
        assert scene.stream.statistics().deliveries == 2 * 5
        assert len(scene.watch) == 0

    run(main())


@pytest.mark.parametrize("in_mid_pass", [False, True])
def test_a_comment_that_fills_a_socket_takes_its_reader_out_and_it_comes_back(run: Run, in_mid_pass: bool) -> None:
    async def main() -> None:
        scene = Scene()
        commented = scene.sit(2, pair=lambda: unix_pair(SMALL))[1]  # the second: it is among the first of the cohort
        await in_step(scene)
        seats = list(scene.seats)
        if in_mid_pass:
            scene.publish(b"data: a\n\n", cut=True)
            by_border(seats)
        written = 0
        assert commented.reader.position == len(scene.log)
        while not commented.sink.blocked:
            commented.reader.keep_alive()
            written += 1
        assert commented.reader.position == len(scene.log)
        behind = len(scene.log)
        for number in range(3):
            scene.publish(b"data: %d\n\n" % number)
        await until(lambda: all(one.take() == len(scene.log) for one in seats if one is not commented))
        assert commented.reader.position == behind
        assert scene.stream.statistics().lag_events == 3
        await scene.all_have_read()
        assert commented.comments == written
        scene.publish(b"data: last\n\n")
        await scene.all_have_read()

    run(main())


def test_a_producer_that_goes_on_at_once_when_a_reader_leaves_in_mid_pass_is_heard_by_all(run: Run) -> None:
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
        slow = scene.sit(pair=lambda: unix_pair(SMALL), framing=Costly.COMPLETION)[0]
        seats = await in_step(scene)
        for _ in range(2):
            scene.publish(BIG)
            await until(lambda: all(one.take() == len(scene.log) for one in seats))
            await passes(20)
        assert (slow.reader.position, source.paused) == (2, True)
        scene.publish(b"data: a\n\n", cut=True)
        assert len([one for one in seats if one.reader.position == 4]) == STEP
        slow.reader.end()
        assert (source.paused, scene.log[-1]) == (False, b"data: resumed\n\n")
        await scene.all_have_read()
        assert {one.at for one in seats} == {5}

    run(main())


# --- the end, and a log that forgets


def test_an_end_in_mid_pass_reaches_all(run: Run) -> None:
    async def main() -> None:
        scene = Scene()
        seats = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        served, unserved = by_border(seats)
        scene.close(b"data: last\n\n", cut=True)
        for leaver in (served[3], unserved[3]):
            leaver.reader.end()
        await scene.all_have_ended()
        assert (served[3].at, unserved[3].at) == (2, 1)
        staying = [one for one in seats if one not in (served[3], unserved[3])]
        assert all(one.ended and one.at == 3 for one in staying)
        assert {one.reader.ending for one in staying} == {Ending.COMPLETED}
        assert scene.stream.statistics().deliveries == 3 * (MANY - 2) + 2 + 1

    run(main())


def test_readers_of_a_ring_that_turns_in_mid_pass_skip_what_is_gone_together(run: Run) -> None:
    async def main() -> None:
        scene = Scene(ring=Ring(8, "skip"))
        slow = scene.sit(pair=lambda: unix_pair(SMALL))[0]
        seats = await in_step(scene)
        scene.publish(BIG, cut=True)
        by_border(seats, LARGE_STEP)  # pieces of this size
        scene.publish(*frames(30))
        await scene.all_have_read()
        assert {one.at for one in scene.seats} == {32}
        assert {one.missed for one in seats} == {scene.stream.log.first_seq - 2}
        assert slow.missed > 0
        scene.publish(b"data: again\n\n")
        await scene.all_have_read()
        assert {one.at for one in scene.seats} == {33}

    run(main())


def test_a_ring_that_closes_laggards_in_mid_pass_closes_those_it_has_not_come_to(run: Run) -> None:
    async def main() -> None:
        scene = Scene(ring=Ring(8, "close"))
        seats = await in_step(scene)
        scene.publish(*frames(4), cut=True, at_once=True)
        served = [one for one in seats if one.reader.position == 5]
        assert len(served) == STEP
        freed = {descriptor(one) for one in seats if one not in served}
        scene.publish(*frames(5))
        lagging = [one for one in seats if one.reader.ending is Ending.LAGGED]
        assert set(seats) - set(lagging) == set(served)
        assert scene.stream.statistics().lagged_readers == len(lagging)
        strangers = [one for _ in lagging for one in unix_pair()]
        assert freed <= {one.fileno() for one in strangers}
        await scene.all_have_read()
        assert {(one.at, one.missed) for one in served} == {(10, 0)}
        assert {(one.take(), one.eof) for one in lagging} == {(1, True)}
        for stranger in strangers:
            with pytest.raises(BlockingIOError):
                stranger.recv(1)

    run(main())


def test_a_cohort_whose_position_is_forgotten_lags_and_stops_nobody_else(run: Run) -> None:
    """Completions cannot tell of a gap."""

    async def main() -> None:
        scene = Scene(ring=Ring(8, "skip"))
        completions = scene.sit(4, framing=Costly.COMPLETION, chunked=True)
        seats = await in_step(scene)
        scene.publish(b"data: a\n\n", cut=True)
        scene.publish(*frames(12))
        await until(lambda: all(one.reader.ending for one in completions))
        await scene.all_have_read()
        assert {one.reader.ending for one in completions} == {Ending.LAGGED}
        assert {one.at for one in seats} == {14}
        assert scene.stream.statistics().lagged_readers == 4

    run(main())


def test_nothing_is_left_open_of_readers_that_have_come_and_gone(run: Run) -> None:
    async def main() -> None:
        gc.collect()  # the sockets of other tests
        scene = Scene(abort_grace_ms=3_600_000)
        opened = []
        for _ in range(3):
            new = await in_step(scene) if scene.log else scene.sit(MANY)
            scene.publish(b"data: a\n\n", cut=True)
            for one in new:
                one.reader.end()
                one.client.close()
            await passes(20)
            opened.append(len(os.listdir("/proc/self/fd")))
        assert len(set(opened)) == 1
        assert len(scene.watch) == 0
        assert scene.stream.statistics().readers == 0
        scene.close()

    run(main())
