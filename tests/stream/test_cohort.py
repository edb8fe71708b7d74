"""A cohort step by step, on real sockets: everyone gets the next piece once, whoever leaves between which steps.

What it does inside a stream is in `test_cohort_in_stream.py`, and under random scripts in `test_cohort_machine.py`.
"""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Ending
from gateway.stream.cohort import STEP, Cohort
from gateway.stream.log import StreamLog
from gateway.stream.socket_sink import SocketSink
from gateway.stream.subscriber import Subscriber
from gateway.stream.view import CompletionView, EventsView, Piece, View
from gateway.stream.watch import Watch

from .seats import BIG, Pair, Seat
from .sockets import SMALL, close_all, unix_pair, until
from .test_stream import frames


class CountingView(EventsView):
    """Counts how often it is asked for bytes."""

    asked = 0

    def piece(self, seq: int) -> Piece:
        self.asked += 1
        return super().piece(seq)


class Crowd:
    """A cohort driven by hand, and the host of its readers."""

    def __init__(
        self, count: int, pair: Callable[[], Pair] = unix_pair, view: Callable[..., View] = EventsView
    ) -> None:
        self.watch = Watch()
        self.stream_log = StreamLog("e1")
        self.log: list[bytes] = []
        self.view = view(self.stream_log, chunked=False)
        self.cohort = Cohort(self.view, 0)
        self.seats = [self.sit(pair()) for _ in range(count)]

    def sit(self, pair: Pair, seq: int = 0) -> Seat:
        new = Seat(Subscriber(self, self.view, seq), pair, self.watch, self.log)
        new.reader.sink = new.sink
        assert new.sink.direct is not None
        self.cohort.join(new.reader, new.sink.direct)
        return new

    def advance(self, *frames: bytes) -> Iterator[None]:
        self.log += frames
        self.stream_log.extend(list(frames))
        return self.cohort.advance()

    def positions(self) -> list[int]:
        return [one.reader.position for one in self.seats]

    def taken(self) -> list[int]:
        return [one.take() for one in self.seats]

    def on_ready(self, reader: Subscriber) -> None:
        """Whoever comes back is not taken in again by this host."""

    def on_blocked(self, reader: Subscriber) -> None:
        self.cohort.leave(reader)

    def on_closed(self, reader: Subscriber) -> None:
        self.cohort.leave(reader)


# --- a cohort, step by step


@pytest.mark.parametrize("count", [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP, 3 * STEP + 1])
async def test_those_before_the_border_have_read_and_those_behind_it_have_not(count: int) -> None:
    crowd = Crowd(count)
    steps = 0
    for steps, _ in enumerate(crowd.advance(b"data: a\n\n"), 1):
        served = min(steps * STEP, count)
        assert crowd.positions() == crowd.taken() == [1] * served + [0] * (count - served)
    assert steps == -(-count // STEP)
    assert crowd.taken() == crowd.positions() == [1] * count
    assert (crowd.cohort.seq, crowd.cohort.sends, len(crowd.cohort)) == (1, count, count)


async def test_a_cohort_with_nothing_new_to_read_sends_nothing() -> None:
    crowd = Crowd(3)
    assert list(crowd.advance()) == []
    assert (crowd.cohort.sends, crowd.positions()) == (0, [0, 0, 0])


LEAVERS = {
    "nobody": range(0),
    "the first": [0],
    "the last that was served": [STEP - 1],
    "the first that was not": [STEP],
    "both at the border": [STEP - 1, STEP],
    "the last": [3 * STEP - 1],
    "all that were served": range(STEP),
    "all that were served, backwards": range(STEP)[::-1],
    "all that were not": range(STEP, 3 * STEP),
    "all that were not, backwards": range(STEP, 3 * STEP)[::-1],
    "every second": range(0, 3 * STEP, 2),
    "all but one that was served": range(1, 3 * STEP),
    "all but one that was not": range(3 * STEP - 1),
    "all": range(3 * STEP),
}


@pytest.mark.parametrize("leavers", LEAVERS.values(), ids=LEAVERS)
async def test_who_leaves_between_two_steps_has_read_what_its_client_has_and_takes_nobody_along(
    leavers: list[int],
) -> None:
    crowd = Crowd(3 * STEP)
    advancing = crowd.advance(b"data: a\n\n")
    next(advancing)
    for slot in leavers:
        crowd.seats[slot].reader.end()
    assert crowd.positions() == crowd.taken() == [1] * STEP + [0] * 2 * STEP
    list(advancing)
    list(crowd.advance(b"data: b\n\n"))
    for slot, one in enumerate(crowd.seats):
        position = (1 if slot < STEP else 0) if slot in leavers else 2
        assert one.take() == one.reader.position == position
    assert len(crowd.cohort) == 3 * STEP - len(leavers)


between_steps = st.lists(st.lists(st.integers(0, 1000), max_size=80), max_size=12)


@given(st.integers(1, 4 * STEP), between_steps)
def test_whoever_leaves_between_whichever_steps_nobody_misses_or_repeats_anything(
    count: int, leaving: list[list[int]]
) -> None:
    async def main() -> None:
        crowd = Crowd(count)
        for number in range(3):
            for _ in crowd.advance(b"data: %d\n\n" % number):
                for who in leaving.pop() if leaving else []:
                    crowd.seats[who % count].reader.end()
                assert crowd.taken() == crowd.positions()
            assert all(one.at == number + 1 for one in crowd.seats if one.reader.ending is None)
        crowd.watch.close()

    try:
        asyncio.run(main())
    finally:
        close_all()


async def test_a_reader_that_stands_elsewhere_is_not_taken_in() -> None:
    crowd = Crowd(2)
    list(crowd.advance(b"data: a\n\n"))
    behind, there = crowd.sit(unix_pair(), 0), crowd.sit(unix_pair(), 1)
    assert (behind.reader.cohort, there.reader.cohort) == (None, crowd.cohort)
    list(crowd.advance(b"data: b\n\n"))
    assert (behind.take(), there.take()) == (0, 2)


async def test_an_empty_cohort_stands_where_the_next_reader_does() -> None:
    crowd = Crowd(2)
    list(crowd.advance(b"data: a\n\n", b"data: b\n\n"))
    for one in crowd.seats:
        one.reader.end()
    late = crowd.sit(unix_pair(), 1)
    assert late.reader.position == 1
    list(crowd.advance())
    assert late.take() == late.reader.position == 2


async def test_a_cohort_that_is_dissolved_between_two_steps_gives_everyone_the_place_they_are_at() -> None:
    crowd = Crowd(3 * STEP)
    advancing = crowd.advance(b"data: a\n\n")
    next(advancing)
    assert crowd.cohort.dissolve() == [one.reader for one in crowd.seats]
    assert crowd.positions() == crowd.taken() == [1] * STEP + [0] * 2 * STEP
    list(advancing)
    assert crowd.taken() == [1] * STEP + [0] * 2 * STEP
    assert len(crowd.cohort) == 0


async def test_leaving_twice_changes_nothing() -> None:
    crowd = Crowd(3)
    leaver = crowd.seats[1].reader
    crowd.cohort.leave(leaver)
    leaver.seq = 7
    crowd.cohort.leave(leaver)
    assert (leaver.seq, len(crowd.cohort)) == (7, 2)


async def test_what_the_log_has_forgotten_is_an_error_that_moves_nobody() -> None:
    crowd = Crowd(3, view=CompletionView)
    advancing = crowd.advance(*frames(4))
    crowd.stream_log.trim(2)
    with pytest.raises(LookupError):
        list(advancing)
    assert crowd.positions() == crowd.taken() == [0, 0, 0]
    assert len(crowd.cohort) == 3


async def test_the_full_and_the_gone_leave_with_the_step_and_the_others_get_it_all() -> None:
    crowd = Crowd(0)
    crowd.seats = [crowd.sit(unix_pair(SMALL) if n % 3 == 1 else unix_pair()) for n in range(2 * STEP)]
    full, gone = crowd.seats[1::3], crowd.seats[2::3]
    for one in gone:
        one.client.close()
    list(crowd.advance(BIG))
    healthy = crowd.seats[::3]
    assert [one.reader.cohort for one in healthy] == [crowd.cohort] * len(healthy)
    assert {one.reader.cohort for one in full + gone} == {None}
    assert {one.take() for one in healthy} == {1}
    assert all(one.sink.blocked and one.reader.position == 1 for one in full + gone)
    assert all(0 < one.sink.unsent_bytes() < len(BIG) + 16 for one in full)
    assert {one.sink.unsent_bytes() for one in gone} == {0}
    assert crowd.cohort.sends == 2 * STEP
    list(crowd.advance(b"data: b\n\n"))
    assert {one.take() for one in healthy} == {2}
    assert crowd.cohort.sends == 2 * STEP + len(healthy)
    await until(lambda: all(one.take() == 1 for one in full))
    assert not any(one.cut_off() for one in full)
    await until(lambda: all(one.reader.ending is Ending.LEFT for one in gone))


async def test_all_are_sent_one_piece_of_memory_and_keep_no_copy_of_it() -> None:
    class Noting(SocketSink):
        def on_short_write(self, data: bytes, sent: int) -> None:
            self.short = data
            super().on_short_write(data, sent)

    crowd = Crowd(0, view=CountingView)
    sinks = []
    for _ in range(2 * STEP):
        ours, _ = unix_pair(SMALL)
        sinks.append(Noting(ours, crowd.watch))
        reader = Subscriber(crowd, crowd.view, 0)
        reader.sink = sinks[-1]
        assert sinks[-1].direct is not None
        assert crowd.cohort.join(reader, sinks[-1].direct)
    list(crowd.advance(BIG))
    assert all(sink.blocked for sink in sinks)
    assert all(sink.short is sinks[0].short for sink in sinks)
    assert isinstance(crowd.view, CountingView)
    assert crowd.view.asked == 1
