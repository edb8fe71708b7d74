"""A group in step, driven by hand on real sockets: everyone gets the next piece once, whoever leaves between steps.

Groups inside a stream are in the other `test_in_step_*.py`; `test_in_step_machine.py` plays random scripts.
"""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.delivery.in_step import STEP, SubscribersInStep
from gateway.delivery.long_piece import Sendable
from gateway.delivery.modes import Cause
from gateway.delivery.pieces import Piece
from gateway.delivery.socket_sink import SocketSink
from gateway.delivery.subscriber import Subscriber
from gateway.delivery.watch import Watch
from gateway.endings import Ending
from gateway.stream.log import StreamLog
from gateway.stream.view import CompletionView, EventsView
from tests.delivery.kit import BIG, Client, Pair
from tests.delivery.memory import frames
from tests.delivery.sockets import SMALL, close_all, unix_pair, until


class CountingView(EventsView):
    """A view that counts how often it is asked for a piece."""

    asked = 0

    def piece(self, seq: int) -> Piece:
        self.asked += 1
        return super().piece(seq)


class Crowd:
    """A group in step driven by hand, and the host of its subscribers."""

    def __init__(
        self, count: int, pair: Callable[[], Pair] = unix_pair, view: type[EventsView | CompletionView] = EventsView
    ) -> None:
        self.watch = Watch()
        self.stream_log = StreamLog("e1")
        self.log: list[bytes] = []
        self.view = view(self.stream_log, chunked=False)
        self.group = SubscribersInStep(self.view, b"", 0)
        self.clients = [self.join(pair()) for _ in range(count)]

    def join(self, pair: Pair, seq: int = 0) -> Client:
        new = Client(Subscriber(self, self.view, seq), pair, self.watch, self.log)
        new.subscriber.sink = new.sink
        new.subscriber.change_mode(Cause.READY)
        assert new.sink.direct is not None
        if self.group.join(new.subscriber, new.sink.direct):
            new.subscriber.change_mode(Cause.CAUGHT_UP)
        return new

    def advance(self, *frames: bytes) -> Iterator[None]:
        self.log += frames
        self.stream_log.extend(list(frames))
        return self.group.advance()

    def positions(self) -> list[int]:
        return [client.subscriber.position for client in self.clients]

    def taken(self) -> list[int]:
        return [client.take() for client in self.clients]

    def on_ready(self, subscriber: Subscriber) -> None:
        """Nothing: this host does not take a subscriber back into the group when it has room again."""

    def on_blocked(self, subscriber: Subscriber) -> None:
        self.group.leave(subscriber)

    def on_closed(self, subscriber: Subscriber) -> None:
        self.group.leave(subscriber)


# --- one advance after the other


@pytest.mark.parametrize("count", [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP, 3 * STEP + 1])
async def test_subscribers_before_the_border_have_read_and_subscribers_behind_it_have_not(count: int) -> None:
    crowd = Crowd(count)
    steps = 0
    for steps, _ in enumerate(crowd.advance(b"data: a\n\n"), 1):
        served = min(steps * STEP, count)
        assert crowd.positions() == crowd.taken() == [1] * served + [0] * (count - served)
    assert steps == -(-count // STEP)
    assert crowd.taken() == crowd.positions() == [1] * count
    assert (crowd.group.seq, crowd.group.sends, len(crowd.group)) == (1, count, count)


async def test_a_group_with_nothing_new_to_read_sends_nothing() -> None:
    crowd = Crowd(3)
    assert list(crowd.advance()) == []
    assert (crowd.group.sends, crowd.positions()) == (0, [0, 0, 0])


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
async def test_a_subscriber_that_leaves_between_two_steps_has_the_position_of_its_client_and_takes_nobody_along(
    leavers: list[int],
) -> None:
    crowd = Crowd(3 * STEP)
    advancing = crowd.advance(b"data: a\n\n")
    next(advancing)
    for slot in leavers:
        crowd.clients[slot].subscriber.end()
    assert crowd.positions() == crowd.taken() == [1] * STEP + [0] * 2 * STEP
    list(advancing)
    list(crowd.advance(b"data: b\n\n"))
    for slot, client in enumerate(crowd.clients):
        position = (1 if slot < STEP else 0) if slot in leavers else 2
        assert client.take() == client.subscriber.position == position
    assert len(crowd.group) == 3 * STEP - len(leavers)


between_steps = st.lists(st.lists(st.integers(0, 1000), max_size=80), max_size=12)


@settings(max_examples=settings().max_examples // 2)
@given(st.integers(1, 4 * STEP), between_steps)
def test_whoever_leaves_between_whichever_steps_nobody_misses_or_repeats_anything(
    count: int, leaving: list[list[int]]
) -> None:
    async def main() -> None:
        crowd = Crowd(count)
        for number in range(3):
            for _ in crowd.advance(b"data: %d\n\n" % number):
                for who in leaving.pop() if leaving else []:
                    crowd.clients[who % count].subscriber.end()
                assert crowd.taken() == crowd.positions()
            assert all(client.at == number + 1 for client in crowd.clients if client.subscriber.ending is None)
        crowd.watch.close()

    try:
        asyncio.run(main())
    finally:
        close_all()


async def test_a_subscriber_that_stands_elsewhere_is_not_taken_in() -> None:
    crowd = Crowd(2)
    list(crowd.advance(b"data: a\n\n"))
    behind, there = crowd.join(unix_pair(), 0), crowd.join(unix_pair(), 1)
    assert (behind.subscriber.cursor, there.subscriber.cursor) == (None, crowd.group)
    list(crowd.advance(b"data: b\n\n"))
    assert (behind.take(), there.take()) == (0, 2)


async def test_an_empty_group_stands_where_the_next_subscriber_does() -> None:
    crowd = Crowd(2)
    list(crowd.advance(b"data: a\n\n", b"data: b\n\n"))
    for client in crowd.clients:
        client.subscriber.end()
    late = crowd.join(unix_pair(), 1)
    assert late.subscriber.position == 1
    list(crowd.advance())
    assert late.take() == late.subscriber.position == 2


async def test_a_group_that_is_dissolved_between_two_steps_gives_everyone_the_place_they_are_at() -> None:
    crowd = Crowd(3 * STEP)
    advancing = crowd.advance(b"data: a\n\n")
    next(advancing)
    assert crowd.group.dissolve() == [client.subscriber for client in crowd.clients]
    assert crowd.positions() == crowd.taken() == [1] * STEP + [0] * 2 * STEP
    list(advancing)
    assert crowd.taken() == [1] * STEP + [0] * 2 * STEP
    assert len(crowd.group) == 0


async def test_leaving_twice_changes_nothing() -> None:
    crowd = Crowd(3)
    leaver = crowd.clients[1].subscriber
    crowd.group.leave(leaver)
    leaver.stand_at(7)
    crowd.group.leave(leaver)
    assert (leaver.seq, len(crowd.group)) == (7, 2)


async def test_what_the_log_has_forgotten_is_an_error_that_moves_nobody() -> None:
    crowd = Crowd(3, view=CompletionView)
    advancing = crowd.advance(*frames(4))
    crowd.stream_log.trim(2)
    with pytest.raises(LookupError):
        list(advancing)
    assert crowd.positions() == crowd.taken() == [0, 0, 0]
    assert len(crowd.group) == 3


async def test_full_and_gone_subscribers_leave_with_the_step_and_the_others_get_everything() -> None:
    crowd = Crowd(0)
    crowd.clients = [crowd.join(unix_pair(SMALL) if n % 3 == 1 else unix_pair()) for n in range(2 * STEP)]
    full, gone = crowd.clients[1::3], crowd.clients[2::3]
    for client in gone:
        client.socket.close()
    list(crowd.advance(BIG))
    healthy = crowd.clients[::3]
    assert [client.subscriber.cursor for client in healthy] == [crowd.group] * len(healthy)
    assert {client.subscriber.cursor for client in full + gone} == {None}
    assert {client.take() for client in healthy} == {1}
    assert all(client.sink.blocked and client.subscriber.position == 1 for client in full + gone)
    assert all(0 < client.sink.unsent_bytes() < len(BIG) + 16 for client in full)
    assert {client.sink.unsent_bytes() for client in gone} == {0}
    assert crowd.group.sends == 2 * STEP
    list(crowd.advance(b"data: b\n\n"))
    assert {client.take() for client in healthy} == {2}
    assert crowd.group.sends == 2 * STEP + len(healthy)
    await until(lambda: all(client.take() == 1 for client in full))
    assert not any(client.cut_off() for client in full)
    await until(lambda: all(client.subscriber.ending is Ending.LEFT for client in gone))


async def test_all_are_sent_one_piece_of_memory_and_keep_no_copy_of_it() -> None:
    class Noting(SocketSink):
        def on_short_write(self, data: Sendable, sent: int) -> None:
            self.short = data
            super().on_short_write(data, sent)

    crowd = Crowd(0, view=CountingView)
    sinks = []
    for _ in range(2 * STEP):
        ours, _ = unix_pair(SMALL)
        sinks.append(Noting(ours, crowd.watch, body_end=b""))
        subscriber = Subscriber(crowd, crowd.view, 0)
        subscriber.sink = sinks[-1]
        subscriber.change_mode(Cause.READY)
        assert crowd.group.join(subscriber, ours)
        subscriber.change_mode(Cause.CAUGHT_UP)
    list(crowd.advance(BIG))
    assert all(sink.blocked for sink in sinks)
    assert all(sink.short is sinks[0].short for sink in sinks)
    assert isinstance(crowd.view, CountingView)
    assert crowd.view.asked == 1
