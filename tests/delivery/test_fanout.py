"""A pass brings everything to everyone, in order, once, and leaves the event loop to others between its slices."""

import asyncio
import time

import pytest

from gateway.delivery.fanout import Fanout
from gateway.delivery.in_step import STEP
from gateway.delivery.long_piece import Sendable
from gateway.delivery.subscriber import Subscriber
from gateway.dialects.choices.frames import DONE
from gateway.endings import Ending
from gateway.stream.log import StreamLog
from gateway.stream.stream import Stream
from gateway.stream.view import EventsView, Framing
from tests.delivery.memory import MemorySink, Source, frames, stream_of
from tests.delivery.sockets import until

MANY = 200  # a pass over this many subscribers needs more than one step
COSTLY = 0.0001  # seconds that a slow sink takes for one write, so that MANY of them need several slices


class CostlySink(MemorySink):
    """A sink whose `write` takes `COSTLY` seconds, like a send to a kernel under load."""

    def write(self, data: Sendable) -> None:
        super().write(data)
        until = time.perf_counter() + COSTLY
        while time.perf_counter() < until:
            pass


def join(stream: Stream, sink: MemorySink, seq: int = 0) -> tuple[Subscriber, MemorySink]:
    subscriber = stream.join(chunked=False, framing=Framing.EVENTS, seq=seq)
    subscriber.attach(sink)
    return subscriber, sink


def crowd(stream: Stream, sinks: list[MemorySink]) -> list[Subscriber]:
    return [join(stream, sink)[0] for sink in sinks]


async def all_read(stream: Stream, subscribers: list[Subscriber]) -> None:
    """Return when no subscriber that can take bytes is behind."""
    await until(lambda: not any(is_behind(stream, subscriber) for subscriber in subscribers))


def is_behind(stream: Stream, subscriber: Subscriber) -> bool:
    can_take = subscriber.sink is not None and not subscriber.sink.blocked
    return can_take and subscriber.position < stream.log.next_seq


async def ended(subscribers: list[Subscriber]) -> None:
    await until(lambda: all(subscriber.ending is not None for subscriber in subscribers))


def events_of(batch: list[bytes], seq: int = 0) -> bytes:
    return b"".join(b"%bid: e1-%d\n\n" % (frame[:-1], seq + n) for n, frame in enumerate(batch))


def the_end(seq: int, ending: str = "completed") -> bytes:
    return b'event: end\ndata: {"ending":"%b"}\nid: e1-%d\n\n' % (ending.encode(), seq)


@pytest.mark.parametrize("count", [1, STEP - 1, STEP, STEP + 1, 2 * STEP, MANY])
@pytest.mark.parametrize("costly", [False, True])
async def test_every_subscriber_gets_every_frame_in_order_once(count: int, costly: bool) -> None:
    stream = stream_of()
    sinks: list[MemorySink] = [CostlySink() if costly else MemorySink() for _ in range(count)]
    subscribers = crowd(stream, sinks)
    batch = frames(20)
    for frame in batch[:10]:
        stream.on_frame(frame)
    stream.on_frames(batch[10:])
    stream.close(Ending.COMPLETED, [b"data: last\n\n"])
    await ended(subscribers)
    expected = events_of([*batch, b"data: last\n\n"]) + the_end(21)
    assert {sink.body for sink in sinks} == {expected}
    assert stream.statistics().deliveries == 21 * count


async def test_what_comes_during_a_pass_is_joined_for_those_it_has_not_reached() -> None:
    stream = stream_of()
    sinks: list[MemorySink] = [CostlySink() for _ in range(MANY)]
    subscribers = crowd(stream, sinks)
    stream.on_frame(frames(1)[0])
    unreached = [sink for sink in sinks if not sink.writes]
    assert 0 < len(unreached) < MANY
    for frame in frames(11)[1:]:
        stream.on_frame(frame)
    await all_read(stream, subscribers)
    assert all(len(sink.writes) == 1 for sink in unreached)
    assert {sink.body for sink in sinks} == {events_of(frames(11))}
    assert stream.statistics().sends <= 2 * MANY


async def test_a_pass_leaves_the_loop_to_others_between_its_slices() -> None:
    loop = asyncio.get_running_loop()
    stream = stream_of()
    sinks: list[MemorySink] = [CostlySink() for _ in range(MANY)]
    subscribers = crowd(stream, sinks)
    served: list[int] = []

    def look() -> None:
        served.append(sum(1 for sink in sinks if sink.writes))
        if served[-1] < MANY:
            loop.call_soon(look)

    loop.call_soon(look)
    stream.on_frame(b"data: a\n\n")
    await all_read(stream, subscribers)
    between = [count for count in served if 0 < count < MANY]
    steps = [after - before for before, after in zip([0, *between], [*between, MANY], strict=True)]
    assert len(between) >= 3
    assert max(steps) <= 2 * STEP  # a slice takes about 1 ms, in which one or two steps of these sinks fit


async def test_the_frames_of_another_stream_are_not_held_up_by_a_long_pass() -> None:
    crowded, quiet = stream_of(), stream_of()
    sinks: list[MemorySink] = [CostlySink() for _ in range(MANY)]
    subscribers = crowd(crowded, sinks)
    _, other = join(quiet, MemorySink())
    crowded.on_frame(b"data: a\n\n")
    waiting_when_it_came: list[int] = []

    def token() -> None:
        quiet.on_frame(b"data: b\n\n")
        waiting_when_it_came.append(sum(1 for sink in sinks if not sink.writes))

    asyncio.get_running_loop().call_soon(token)
    await all_read(crowded, subscribers)
    assert waiting_when_it_came[0] > 0
    assert other.body == events_of([b"data: b\n\n"])


async def test_the_end_in_mid_pass_reaches_all() -> None:
    stream = stream_of()
    sinks: list[MemorySink] = [CostlySink() for _ in range(MANY)]
    subscribers = crowd(stream, sinks)
    stream.on_frame(b"data: a\n\n")
    stream.close(Ending.COMPLETED, [])
    await ended(subscribers)
    assert {sink.body for sink in sinks} == {events_of([b"data: a\n\n"]) + the_end(1)}
    assert {subscriber.ending for subscriber in subscribers} == {Ending.COMPLETED}
    assert all(sink.closed for sink in sinks)


async def test_a_subscriber_that_leaves_in_mid_pass_is_sent_nothing_more() -> None:
    stream = stream_of()
    sinks: list[MemorySink] = [CostlySink() for _ in range(MANY)]
    subscribers = crowd(stream, sinks)
    stream.on_frame(b"data: a\n\n")
    unreached = [subscriber for subscriber, sink in zip(subscribers, sinks, strict=True) if not sink.writes]
    leaving = unreached[::2]
    for subscriber in leaving:
        subscriber.end()
    stream.on_frame(b"data: b\n\n")
    await all_read(stream, subscribers)
    for subscriber, sink in zip(subscribers, sinks, strict=True):
        assert sink.body == (b"" if subscriber in leaving else events_of([b"data: a\n\n", b"data: b\n\n"]))


async def test_a_subscriber_that_ends_others_while_it_is_served_confuses_nobody() -> None:
    stream = stream_of()
    sinks = [MemorySink() for _ in range(3 * STEP)]
    subscribers = crowd(stream, sinks)

    class Ender(MemorySink):
        def write(self, data: Sendable) -> None:
            super().write(data)
            for subscriber in subscribers[::3]:
                subscriber.end()

    ender, its_sink = join(stream, Ender())
    stream.on_frame(b"data: a\n\n")
    stream.on_frame(b"data: b\n\n")
    await all_read(stream, [*subscribers, ender])
    assert its_sink.body == events_of([b"data: a\n\n", b"data: b\n\n"])
    staying = [sink for n, sink in enumerate(sinks) if n % 3]
    assert {sink.body for sink in staying} == {events_of([b"data: a\n\n", b"data: b\n\n"])}


async def test_a_subscriber_that_joins_in_mid_pass_gets_all_of_it() -> None:
    stream = stream_of()
    sinks: list[MemorySink] = [CostlySink() for _ in range(MANY)]
    subscribers = crowd(stream, sinks)
    stream.on_frame(b"data: a\n\n")
    assert any(not sink.writes for sink in sinks)
    late, late_sink = join(stream, MemorySink())
    newest, newest_sink = join(stream, MemorySink(), seq=1)
    stream.on_frame(b"data: b\n\n")
    await all_read(stream, [*subscribers, late, newest])
    assert late_sink.body == events_of([b"data: a\n\n", b"data: b\n\n"])
    assert newest_sink.body == events_of([b"data: b\n\n"], 1)


async def test_subscribers_that_block_in_mid_pass_go_on_where_they_stopped() -> None:
    stream = stream_of()
    sinks: list[MemorySink] = [CostlySink(room=1) if n % 2 else CostlySink() for n in range(MANY)]
    subscribers = crowd(stream, sinks)
    batch = frames(12)
    for frame in batch:
        stream.on_frame(frame)
    await all_read(stream, subscribers)
    blocked = [subscriber for subscriber, sink in zip(subscribers, sinks, strict=True) if sink.blocked]
    assert len(blocked) == MANY // 2
    for sink in sinks:
        sink.blocked, sink.room = False, None
    for subscriber in blocked:
        subscriber.on_writable()
    await all_read(stream, subscribers)
    assert {sink.body for sink in sinks} == {events_of(batch)}


async def test_a_subscriber_that_says_again_that_it_has_room_is_not_served_twice() -> None:
    stream = stream_of()
    sinks: list[MemorySink] = [CostlySink() for _ in range(MANY)]
    subscribers = crowd(stream, sinks)
    stream.on_frame(b"data: a\n\n")
    for subscriber in subscribers:
        subscriber.on_writable()
        subscriber.on_writable()
    await all_read(stream, subscribers)
    assert {sink.body for sink in sinks} == {events_of([b"data: a\n\n"])}


@pytest.mark.usefixtures("whole_passes")
async def test_subscribers_of_one_position_share_one_piece_of_memory() -> None:
    stream = stream_of()
    sinks = [MemorySink() for _ in range(STEP)]
    crowd(stream, sinks)
    stream.on_frame(b"data: a\n\n")
    assert len({id(sink.writes[0]) for sink in sinks}) == 1


async def test_one_send_for_each_subscriber_and_frame_and_none_in_between() -> None:
    log, progress = StreamLog("e1"), []
    fanout = Fanout(log, lambda: progress.append(log.next_seq))
    view = EventsView(log, chunked=True)
    subscribers = [Subscriber(Source(), view, 0) for _ in range(3)]  # type: ignore[arg-type]
    for subscriber in subscribers:
        subscriber.sink = MemorySink()
        fanout.add(subscriber)
    assert fanout.sends == 0
    log.append(b"data: a\n\n")
    fanout.wake()
    fanout.wake()
    assert fanout.sends == 3
    assert progress == []  # the pass took one slice, so that its caller knows that it is over


async def test_after_a_pass_of_several_slices_the_log_is_told_once() -> None:
    log, progress = StreamLog("e1"), []
    fanout = Fanout(log, lambda: progress.append(log.next_seq))
    view = EventsView(log, chunked=True)
    subscribers = [Subscriber(Source(), view, 0) for _ in range(MANY)]  # type: ignore[arg-type]
    for subscriber in subscribers:
        subscriber.sink = CostlySink()
        fanout.add(subscriber)
    log.append(b"data: a\n\n")
    fanout.wake()
    await until(lambda: progress)
    assert progress == [1]
    assert {subscriber.position for subscriber in subscribers} == {1}


async def test_a_far_lag_is_caught_up_in_turns_with_the_others() -> None:
    stream = stream_of()
    sinks: list[MemorySink] = [MemorySink(blocked=True) for _ in range(4)]
    subscribers = crowd(stream, sinks)
    batch = frames(400, size=1000)
    stream.on_frames(batch)
    for sink in sinks:
        sink.blocked = False
    stream.on_frame(b"data: x\n\n")
    await all_read(stream, subscribers)
    assert {sink.body for sink in sinks} == {events_of([*batch, b"data: x\n\n"])}
    assert max(len(data) for sink in sinks for data in sink.writes) <= 65536 + 16 * 80  # 64 KiB, and 80 id lines


async def test_subscribers_of_both_framings_and_all_positions_get_their_own_in_one_pass() -> None:
    stream = stream_of()
    batch = frames(50)
    stream.on_frames(batch[:40])
    pairs = [join(stream, CostlySink(), seq=n % 40) for n in range(MANY)]
    plain = MemorySink()
    stream.join(chunked=False).attach(plain)
    for frame in batch[40:]:
        stream.on_frame(frame)
    await all_read(stream, [subscriber for subscriber, _ in pairs])
    for number, (_, sink) in enumerate(pairs):
        assert sink.body == events_of(batch[number % 40 :], number % 40)
    assert plain.body == b"".join(batch)
    assert DONE not in plain.body


async def test_a_subscriber_whose_position_is_forgotten_stops_nobody_else() -> None:
    """A POST client that joins by `X-Stream-Key` after the log was trimmed is such a subscriber."""
    stream = stream_of(max_log_bytes=4096)
    sinks: list[MemorySink] = [CostlySink() for _ in range(MANY)]
    subscribers = crowd(stream, sinks)
    for frame in frames(10, size=1000):
        stream.on_frame(frame)
        await all_read(stream, subscribers)
    assert stream.log.first_seq > 0
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    stream.on_frame(b"data: a\n\n")
    late = stream.join(chunked=False)
    late.attach(MemorySink())
    stream.close(Ending.COMPLETED, [])
    for _ in range(MANY):
        await asyncio.sleep(0)
    assert {subscriber.ending for subscriber in subscribers} == {Ending.COMPLETED}
