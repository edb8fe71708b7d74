"""A stream and its subscribers: none misses a frame or delays another, and the last to leave stops the upstream."""

import asyncio

import pytest

from gateway.dialects.choices.frames import DONE
from gateway.endings import Ending
from gateway.wire.http1 import LAST_CHUNK, encode_chunk
from tests.delivery.memory import MemorySink, Source, frames, lag, read, stream_of, subscriber_of
from tests.delivery.sockets import PATIENCE

pytestmark = pytest.mark.usefixtures("whole_passes")


async def test_frames_reach_a_subscriber_before_the_call_returns() -> None:
    stream = stream_of()
    _, sink = subscriber_of(stream)
    stream.on_frame(b"data: a\n\n")
    stream.on_frames([b"data: b\n\n", b"data: c\n\n"])
    assert sink.writes == [b"data: a\n\n", b"data: b\n\ndata: c\n\n"]


async def test_a_late_subscriber_gets_everything_and_then_what_comes() -> None:
    stream = stream_of()
    subscriber_of(stream)
    stream.on_frames(frames(3))
    _, late = subscriber_of(stream)
    stream.on_frame(b"data: live\n\n")
    stream.close(Ending.COMPLETED, [b"data: last\n\n"])
    assert late.body == b"".join(frames(3)) + b"data: live\n\ndata: last\n\n" + DONE


async def test_a_subscriber_that_joins_before_the_first_frame_and_attaches_late_misses_nothing() -> None:
    stream = stream_of()
    subscriber = stream.join(chunked=False)
    stream.on_frames(frames(3))
    sink = MemorySink()
    subscriber.attach(sink)
    assert sink.body == b"".join(frames(3))


async def test_subscribers_at_the_same_cursor_are_sent_the_very_same_bytes() -> None:
    stream = stream_of()
    sinks = [subscriber_of(stream, chunked=True)[1] for _ in range(3)]
    stream.on_frame(b"data: a\n\n")
    stream.on_frames(frames(4))
    for writes in zip(*(sink.writes for sink in sinks), strict=True):
        assert all(data is writes[0] for data in writes)


async def test_subscribers_of_both_framings_get_their_own() -> None:
    stream = stream_of()
    _, plain = subscriber_of(stream)
    _, chunked = subscriber_of(stream, chunked=True)
    stream.on_frame(b"data: a\n\n")
    stream.close(Ending.COMPLETED, [])
    assert plain.body == b"data: a\n\n" + DONE
    assert chunked.body == encode_chunk(b"data: a\n\n") + encode_chunk(DONE) + LAST_CHUNK


async def test_the_end_comes_in_one_piece_with_the_last_frames() -> None:
    stream = stream_of()
    subscriber, sink = subscriber_of(stream, chunked=True)
    stream.close(Ending.COMPLETED, [b"data: a\n\n"])
    assert sink.writes == [encode_chunk(b"data: a\n\n" + DONE) + LAST_CHUNK]
    assert await subscriber.wait_closed() is Ending.COMPLETED
    assert sink.closed


async def test_a_blocked_subscriber_holds_no_frames_and_delays_nobody() -> None:
    stream = stream_of()
    slow, blocked = subscriber_of(stream, MemorySink(blocked=True))
    _, free = subscriber_of(stream)
    for frame in frames(50):
        stream.on_frame(frame)
        assert free.writes[-1] == frame
    assert blocked.writes == []
    assert (slow.position, lag(stream, slow)) == (0, 50)
    assert stream.statistics().lag_events == 50
    blocked.blocked = False
    slow.on_writable()
    assert blocked.writes == [b"".join(frames(50))]
    assert lag(stream, slow) == 0


async def test_a_subscriber_that_blocks_in_the_middle_goes_on_where_it_stopped() -> None:
    stream = stream_of()
    slow, sink = subscriber_of(stream, MemorySink(room=25))
    _, free = subscriber_of(stream)
    for frame in frames(10):
        stream.on_frame(frame)
    assert sink.body == b"".join(frames(3))
    sink.blocked, sink.room = False, None
    slow.on_writable()
    stream.on_frame(b"data: x\n\n")
    assert sink.body == free.body == b"".join(frames(10)) + b"data: x\n\n"


async def test_a_subscriber_with_room_again_is_served_with_the_next_frame_too() -> None:
    stream = stream_of()
    _, sink = subscriber_of(stream, MemorySink(blocked=True))
    _, free = subscriber_of(stream)
    stream.on_frame(b"data: a\n\n")
    sink.blocked = False
    stream.on_frame(b"data: b\n\n")
    assert sink.body == free.body == b"data: a\n\ndata: b\n\n"


async def test_a_subscriber_far_behind_catches_up_in_bounded_writes() -> None:
    stream = stream_of()
    subscriber, sink = subscriber_of(stream, MemorySink(blocked=True))
    many = frames(300, size=1000)
    stream.on_frames(many)
    sink.blocked = False
    stream.on_frame(b"data: x\n\n")
    await read(stream, subscriber)
    assert sink.body == b"".join(many) + b"data: x\n\n"
    assert max(map(len, sink.writes)) <= 65536
    assert lag(stream, subscriber) == 0


async def test_the_end_waits_for_a_blocked_subscriber() -> None:
    stream = stream_of()
    subscriber, sink = subscriber_of(stream, MemorySink(blocked=True))
    stream.close(Ending.COMPLETED, [b"data: a\n\n"])
    assert subscriber.ending is None
    sink.blocked = False
    subscriber.on_writable()
    assert sink.body == b"data: a\n\n" + DONE
    assert subscriber.ending is Ending.COMPLETED


# --- who is listening


async def test_the_last_subscriber_to_leave_stops_the_producer() -> None:
    source = Source()
    stream = stream_of(source)
    first, _ = subscriber_of(stream)
    second = stream.join(chunked=False)
    first.end()
    assert source.endings == []
    second.end()
    assert source.endings == [Ending.ABANDONED]
    assert (first.ending, second.ending) == (Ending.LEFT, Ending.LEFT)


async def test_a_subscriber_that_is_no_audience_gets_everything_and_keeps_no_stream_alive() -> None:
    source = Source()
    stream = stream_of(source)
    quiet, sink = stream.join(chunked=False, is_audience=False), MemorySink()
    quiet.attach(sink)
    first, _ = subscriber_of(stream)
    stream.on_frame(b"data: a\n\n")
    assert (stream.subscribers, stream.statistics().subscribers_total) == (1, 1)
    assert stream.statistics().deliveries == 2
    first.end()
    assert source.endings == [Ending.ABANDONED]
    stream.on_frame(b"data: b\n\n")
    quiet.end()
    assert source.endings == [Ending.ABANDONED]
    assert sink.body == b"data: a\n\ndata: b\n\n"


async def test_leaving_twice_counts_once() -> None:
    source = Source()
    stream = stream_of(source)
    first, _ = subscriber_of(stream)
    subscriber_of(stream)
    first.end()
    first.end(Ending.LAGGED)
    assert first.ending is Ending.LEFT
    assert source.endings == []
    assert (stream.statistics().subscribers, stream.statistics().subscribers_total) == (1, 2)


async def test_a_grace_passes_before_a_stream_without_subscribers_is_abandoned() -> None:
    source = Source()
    stream = stream_of(source, abort_grace_ms=20)
    subscriber_of(stream)[0].end()
    assert source.endings == []
    async with asyncio.timeout(PATIENCE):
        await source.stopped.wait()
    assert source.endings == [Ending.ABANDONED]


async def test_a_subscriber_that_comes_within_the_grace_saves_the_stream() -> None:
    source = Source()
    stream = stream_of(source, abort_grace_ms=20)
    stream.on_frame(b"data: a\n\n")
    subscriber_of(stream)[0].end()
    _, sink = subscriber_of(stream)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await source.stopped.wait()
    assert source.endings == []
    assert sink.body == b"data: a\n\n"


async def test_a_subscriber_that_leaves_after_the_end_abandons_nothing() -> None:
    source = Source()
    stream = stream_of(source)
    subscriber, _ = subscriber_of(stream, MemorySink(blocked=True))
    stream.close(Ending.COMPLETED, [])
    subscriber.end()
    assert source.endings == []
    assert stream.ending is Ending.COMPLETED


async def test_the_end_within_the_grace_abandons_nothing() -> None:
    source = Source()
    stream = stream_of(source, abort_grace_ms=20)
    subscriber_of(stream)[0].end()
    stream.close(Ending.COMPLETED, [])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await source.stopped.wait()


async def test_a_subscriber_that_has_left_is_sent_nothing_more() -> None:
    stream = stream_of()
    gone, sink = subscriber_of(stream)
    subscriber_of(stream)
    gone.end()
    stream.on_frame(b"data: a\n\n")
    stream.close(Ending.COMPLETED, [])
    gone.on_writable()
    assert sink.writes == []


async def test_a_stop_on_purpose_is_the_producers_to_carry_out() -> None:
    source = Source()
    stream = stream_of(source)
    stream.stop(Ending.DRAINED)
    assert source.endings == [Ending.DRAINED]
    assert stream.ending is None


async def test_closing_twice_changes_nothing_and_the_first_reason_wins() -> None:
    stream = stream_of()
    _, sink = subscriber_of(stream)
    stream.close(Ending.COMPLETED, [b"data: a\n\n"])
    stream.close(Ending.DRAINED, [b"data: b\n\n"])
    assert stream.ending is Ending.COMPLETED
    assert sink.body == b"data: a\n\n" + DONE


async def test_a_task_that_waits_for_a_subscribers_end_is_woken_by_it() -> None:
    stream = stream_of()
    subscriber, _ = subscriber_of(stream)
    waiting = asyncio.ensure_future(subscriber.wait_closed())
    await asyncio.sleep(0)
    assert not waiting.done()
    subscriber.end()
    assert await waiting is Ending.LEFT


async def test_statistics_count_what_was_and_what_is() -> None:
    stream = stream_of()
    subscriber_of(stream)[0].end()
    subscriber_of(stream)
    stream.on_frames([b"12345", b"678"])
    counts = stream.statistics()
    assert (counts.subscribers, counts.subscribers_total, counts.events, counts.bytes, counts.ending) == (
        1,
        2,
        2,
        8,
        None,
    )
