"""A stream and its readers: nobody misses a frame, nobody delays another, and the upstream goes when they do."""

import asyncio
import gc
import socket
import time
import weakref
from typing import Any

import pytest

from gateway.config import Stream as Limits
from gateway.errors import Ending
from gateway.stream.fanout import SLICE_SECONDS
from gateway.stream.stream import Framing, Stream
from gateway.stream.subscriber import Subscriber
from gateway.wire import sse
from gateway.wire.http1 import LAST_CHUNK, encode_chunk

PATIENCE = 5.0  # seconds until a test gives up; none waits for it to pass


class MemorySink:
    """A sink that keeps what it is given; blocked when told so, or once `room` bytes were given."""

    steady = False
    direct: socket.socket | None = None  # nothing to send to but itself

    def __init__(self, *, blocked: bool = False, room: int | None = None) -> None:
        self.blocked = blocked
        self.room = room
        self.unsent = 0
        self.in_kernel = 0
        self.writes: list[bytes] = []
        self.written = asyncio.Event()
        self.aborted = False
        self.closed = False

    @property
    def body(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: bytes) -> None:
        assert not self.blocked
        assert not self.closed
        self.writes.append(data)
        self.written.set()
        if self.room is not None:
            self.room -= len(data)
            self.blocked = self.room <= 0

    def on_short_write(self, data: bytes, sent: int) -> None:
        raise AssertionError("written to directly")

    def unsent_bytes(self) -> int:
        return self.unsent

    def kernel_bytes(self) -> int:
        return self.in_kernel

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True


class SlowSink(MemorySink):
    """Takes longer than a slice to be written to."""

    def write(self, data: bytes) -> None:
        until = time.perf_counter() + 1.2 * SLICE_SECONDS
        while time.perf_counter() < until:
            pass
        super().write(data)


class Source:
    """A producer that remembers what was wished of it."""

    def __init__(self) -> None:
        self.paused = False
        self.pauses = 0
        self.endings: list[Ending] = []
        self.stopped = asyncio.Event()

    def pause(self) -> None:
        assert not self.paused
        self.paused = True
        self.pauses += 1

    def resume(self) -> None:
        assert self.paused
        self.paused = False

    def stop(self, ending: Ending) -> None:
        self.endings.append(ending)
        self.stopped.set()


def stream_of(source: Source | None = None, **limits: Any) -> Stream:
    return Stream("chat-1", "e1", Limits(**limits), source or Source())


def reader_of(
    stream: Stream, sink: MemorySink | None = None, *, chunked: bool = False
) -> tuple[Subscriber, MemorySink]:
    sink = sink or MemorySink()
    subscriber = stream.join(chunked=chunked)
    subscriber.attach(sink)
    return subscriber, sink


def lag(stream: Stream, reader: Subscriber) -> int:
    return stream.log.next_seq - reader.seq


async def read(stream: Stream, reader: Subscriber) -> None:
    """Return when the reader has read the whole log, however many slices that takes."""
    async with asyncio.timeout(PATIENCE):
        while lag(stream, reader):  # noqa: ASYNC110 - each turn of the loop is a slice of the pass
            await asyncio.sleep(0)


def frames(count: int, size: int = 10) -> list[bytes]:
    return [sse.frame(b"%0*d" % (size - 8, number)) for number in range(count)]


async def test_frames_reach_a_reader_before_the_call_returns() -> None:
    stream = stream_of()
    _, sink = reader_of(stream)
    stream.on_frame(b"data: a\n\n")
    stream.on_frames([b"data: b\n\n", b"data: c\n\n"])
    assert sink.writes == [b"data: a\n\n", b"data: b\n\ndata: c\n\n"]


async def test_a_late_reader_gets_everything_and_then_what_comes() -> None:
    stream = stream_of()
    reader_of(stream)
    stream.on_frames(frames(3))
    _, late = reader_of(stream)
    stream.on_frame(b"data: live\n\n")
    stream.close(Ending.COMPLETED, [b"data: last\n\n"])
    assert late.body == b"".join(frames(3)) + b"data: live\n\ndata: last\n\n" + sse.DONE


async def test_a_reader_that_joins_before_the_first_frame_and_attaches_late_misses_nothing() -> None:
    stream = stream_of()
    subscriber = stream.join(chunked=False)
    stream.on_frames(frames(3))
    sink = MemorySink()
    subscriber.attach(sink)
    assert sink.body == b"".join(frames(3))


async def test_readers_at_the_same_cursor_are_sent_the_very_same_bytes() -> None:
    stream = stream_of()
    sinks = [reader_of(stream, chunked=True)[1] for _ in range(3)]
    stream.on_frame(b"data: a\n\n")
    stream.on_frames(frames(4))
    for writes in zip(*(sink.writes for sink in sinks), strict=True):
        assert all(data is writes[0] for data in writes)


async def test_readers_of_both_framings_get_their_own() -> None:
    stream = stream_of()
    _, plain = reader_of(stream)
    _, chunked = reader_of(stream, chunked=True)
    stream.on_frame(b"data: a\n\n")
    stream.close(Ending.COMPLETED, [])
    assert plain.body == b"data: a\n\n" + sse.DONE
    assert chunked.body == encode_chunk(b"data: a\n\n") + encode_chunk(sse.DONE) + LAST_CHUNK


async def test_the_end_comes_in_one_piece_with_the_last_frames() -> None:
    stream = stream_of()
    subscriber, sink = reader_of(stream, chunked=True)
    stream.close(Ending.COMPLETED, [b"data: a\n\n"])
    assert sink.writes == [encode_chunk(b"data: a\n\n" + sse.DONE) + LAST_CHUNK]
    assert await subscriber.wait_closed() is Ending.COMPLETED
    assert sink.closed


async def test_a_blocked_reader_holds_no_frames_and_delays_nobody() -> None:
    stream = stream_of()
    slow, blocked = reader_of(stream, MemorySink(blocked=True))
    _, free = reader_of(stream)
    for frame in frames(50):
        stream.on_frame(frame)
        assert free.writes[-1] == frame
    assert blocked.writes == []
    assert (slow.seq, lag(stream, slow)) == (0, 50)
    assert stream.statistics().lag_events == 50
    blocked.blocked = False
    slow.on_writable()
    assert blocked.writes == [b"".join(frames(50))]
    assert lag(stream, slow) == 0


async def test_a_reader_that_blocks_in_the_middle_goes_on_where_it_stopped() -> None:
    stream = stream_of()
    slow, sink = reader_of(stream, MemorySink(room=25))
    _, free = reader_of(stream)
    for frame in frames(10):
        stream.on_frame(frame)
    assert sink.body == b"".join(frames(3))
    sink.blocked, sink.room = False, None
    slow.on_writable()
    stream.on_frame(b"data: x\n\n")
    assert sink.body == free.body == b"".join(frames(10)) + b"data: x\n\n"


async def test_a_reader_with_room_again_is_served_with_the_next_frame_too() -> None:
    stream = stream_of()
    _, sink = reader_of(stream, MemorySink(blocked=True))
    _, free = reader_of(stream)
    stream.on_frame(b"data: a\n\n")
    sink.blocked = False
    stream.on_frame(b"data: b\n\n")
    assert sink.body == free.body == b"data: a\n\ndata: b\n\n"


async def test_a_reader_far_behind_catches_up_in_bounded_writes() -> None:
    stream = stream_of()
    subscriber, sink = reader_of(stream, MemorySink(blocked=True))
    many = frames(300, size=1000)
    stream.on_frames(many)
    sink.blocked = False
    stream.on_frame(b"data: x\n\n")
    await read(stream, subscriber)
    assert sink.body == b"".join(many) + b"data: x\n\n"
    assert max(map(len, sink.writes)) <= 65536
    assert lag(stream, subscriber) == 0


async def test_the_end_waits_for_a_blocked_reader() -> None:
    stream = stream_of()
    subscriber, sink = reader_of(stream, MemorySink(blocked=True))
    stream.close(Ending.COMPLETED, [b"data: a\n\n"])
    assert subscriber.ending is None
    sink.blocked = False
    subscriber.on_writable()
    assert sink.body == b"data: a\n\n" + sse.DONE
    assert subscriber.ending is Ending.COMPLETED


# --- a full log


async def test_a_full_log_pauses_the_producer_until_the_slowest_reader_moves() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    slow, sink = reader_of(stream, MemorySink(blocked=True))
    stream.join(chunked=False, framing=Framing.EVENTS).attach(MemorySink())  # who watches does not count
    stream.on_frames(frames(4, size=1024))
    assert not source.paused
    stream.on_frame(b"x")
    assert source.paused
    sink.blocked = False
    slow.on_writable()
    assert not source.paused
    assert sink.body == b"".join(frames(4, size=1024)) + b"x"
    assert source.pauses == 1


@pytest.mark.parametrize("stuck", [Framing.EVENTS, Framing.COMPLETION])
@pytest.mark.parametrize("free", [Framing.EVENTS, Framing.COMPLETION])
async def test_who_takes_nothing_of_a_full_log_is_let_go_of_for_others(stuck: Framing, free: Framing) -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    holder, other = stream.join(chunked=False, framing=stuck), stream.join(chunked=False, framing=free)
    holder.attach(MemorySink(blocked=True))
    other.attach(MemorySink())
    for frame in frames(20, size=1024):
        if not source.paused:
            stream.on_frame(frame)
    watched_only = stuck is Framing.COMPLETION and free is Framing.EVENTS
    assert (holder.ending, source.pauses) == ((None, 1) if watched_only else (Ending.LAGGED, 0))
    assert (other.ending, other.position) == (None, 5 if watched_only else 20)
    assert stream.log.bytes <= 4096 or watched_only


async def test_nobody_is_let_go_of_while_nobody_takes_anything() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    readers = [reader_of(stream, MemorySink(blocked=True))[0] for _ in range(2)]
    stream.on_frames(frames(5, size=1024))
    assert (source.paused, [one.ending for one in readers]) == (True, [None, None])


async def test_of_what_all_have_read_only_as_much_is_forgotten_as_has_to_be() -> None:
    stream = stream_of(max_log_bytes=4096)
    reader_of(stream)
    for frame in frames(100, size=100):
        stream.on_frame(frame)
    assert 4096 - 4096 // 8 - 100 < stream.log.bytes <= 4096
    assert stream.statistics().bytes == 10_000


async def test_a_full_log_that_all_have_read_is_forgotten_and_pauses_nobody() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    _, sink = reader_of(stream)
    for frame in frames(100, size=1024):
        stream.on_frame(frame)
    assert source.pauses == 0
    assert sink.body == b"".join(frames(100, size=1024))
    assert stream.statistics().bytes == 102_400


async def test_the_producer_resumes_when_the_slow_reader_leaves() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    slow, _ = reader_of(stream, MemorySink(blocked=True))
    stream.join(chunked=False, framing=Framing.EVENTS).attach(MemorySink())
    stream.on_frames(frames(5, size=1024))
    assert source.paused
    slow.end()
    assert not source.paused
    assert source.endings == []


async def test_frames_that_come_although_the_producer_is_paused_are_kept() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    slow, sink = reader_of(stream, MemorySink(blocked=True))
    stream.on_frames(frames(6, size=1024))
    stream.on_frame(b"data: late\n\n")
    assert source.pauses == 1
    sink.blocked = False
    slow.on_writable()
    assert sink.body == b"".join(frames(6, size=1024)) + b"data: late\n\n"


async def test_a_reader_that_reads_a_full_log_when_it_attaches_resumes_the_producer() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    subscriber = stream.join(chunked=False)
    stream.on_frames(frames(5, size=1024))
    assert source.paused
    subscriber.attach(MemorySink())
    assert not source.paused


async def test_a_reader_that_catches_up_with_the_next_frame_resumes_the_producer() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    _, sink = reader_of(stream, MemorySink(blocked=True))
    stream.on_frames(frames(5, size=1024))
    assert source.paused
    sink.blocked = False
    stream.on_frame(b"data: late\n\n")
    assert not source.paused


# --- who is listening


async def test_the_last_reader_to_leave_stops_the_producer() -> None:
    source = Source()
    stream = stream_of(source)
    first, _ = reader_of(stream)
    second = stream.join(chunked=False)
    first.end()
    assert source.endings == []
    second.end()
    assert source.endings == [Ending.ABANDONED]
    assert (first.ending, second.ending) == (Ending.LEFT, Ending.LEFT)


async def test_leaving_twice_counts_once() -> None:
    source = Source()
    stream = stream_of(source)
    first, _ = reader_of(stream)
    reader_of(stream)
    first.end()
    first.end(Ending.LAGGED)
    assert first.ending is Ending.LEFT
    assert source.endings == []
    assert (stream.statistics().readers, stream.statistics().readers_total) == (1, 2)


async def test_a_grace_passes_before_a_stream_without_readers_is_abandoned() -> None:
    source = Source()
    stream = stream_of(source, abort_grace_ms=20)
    reader_of(stream)[0].end()
    assert source.endings == []
    async with asyncio.timeout(PATIENCE):
        await source.stopped.wait()
    assert source.endings == [Ending.ABANDONED]


async def test_a_reader_that_comes_within_the_grace_saves_the_stream() -> None:
    source = Source()
    stream = stream_of(source, abort_grace_ms=20)
    stream.on_frame(b"data: a\n\n")
    reader_of(stream)[0].end()
    _, sink = reader_of(stream)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await source.stopped.wait()
    assert source.endings == []
    assert sink.body == b"data: a\n\n"


async def test_a_reader_that_leaves_after_the_end_abandons_nothing() -> None:
    source = Source()
    stream = stream_of(source)
    subscriber, _ = reader_of(stream, MemorySink(blocked=True))
    stream.close(Ending.COMPLETED, [])
    subscriber.end()
    assert source.endings == []
    assert stream.ending is Ending.COMPLETED


async def test_the_end_within_the_grace_abandons_nothing() -> None:
    source = Source()
    stream = stream_of(source, abort_grace_ms=20)
    reader_of(stream)[0].end()
    stream.close(Ending.COMPLETED, [])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await source.stopped.wait()


async def test_a_reader_that_has_left_is_sent_nothing_more() -> None:
    stream = stream_of()
    gone, sink = reader_of(stream)
    reader_of(stream)
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
    _, sink = reader_of(stream)
    stream.close(Ending.COMPLETED, [b"data: a\n\n"])
    stream.close(Ending.DRAINED, [b"data: b\n\n"])
    assert stream.ending is Ending.COMPLETED
    assert sink.body == b"data: a\n\n" + sse.DONE


async def test_who_waits_for_a_readers_end_is_woken_by_it() -> None:
    stream = stream_of()
    subscriber, _ = reader_of(stream)
    waiting = asyncio.ensure_future(subscriber.wait_closed())
    await asyncio.sleep(0)
    assert not waiting.done()
    subscriber.end()
    assert await waiting is Ending.LEFT


async def test_statistics_count_what_was_and_what_is() -> None:
    stream = stream_of()
    reader_of(stream)[0].end()
    reader_of(stream)
    stream.on_frames([b"12345", b"678"])
    told = stream.statistics()
    assert (told.readers, told.readers_total, told.events, told.bytes, told.ending) == (1, 2, 2, 8, None)


# --- silence and stalls


async def test_a_reader_that_takes_no_byte_for_too_long_is_closed_as_lagged() -> None:
    source = Source()
    stream = stream_of(source, subscriber_stall_seconds=0.04)
    slow, sink = reader_of(stream, MemorySink(blocked=True))
    healthy, _ = reader_of(stream)
    sink.unsent = 100
    async with asyncio.timeout(PATIENCE):
        assert await slow.wait_closed() is Ending.LAGGED
    assert sink.aborted
    assert healthy.ending is None
    assert source.endings == []


async def test_a_stall_after_the_end_is_noticed_too() -> None:
    stream = stream_of(subscriber_stall_seconds=0.04)
    slow, sink = reader_of(stream, MemorySink(blocked=True))
    sink.unsent = 100
    stream.close(Ending.COMPLETED, [b"data: a\n\n"])
    async with asyncio.timeout(PATIENCE):
        assert await slow.wait_closed() is Ending.LAGGED


async def test_a_stall_is_told_at_the_limit_and_not_before() -> None:
    subscriber, sink = reader_of(stream_of())
    sink.unsent = 100
    assert not subscriber.check_stall(0.0, 30.0)
    assert not subscriber.check_stall(29.9, 30.0)
    assert subscriber.check_stall(30.0, 30.0)


async def test_bytes_that_the_client_takes_start_the_stall_anew() -> None:
    subscriber, sink = reader_of(stream_of())
    for now, unsent in ((0.0, 100), (29.0, 99), (58.0, 99), (58.9, 0), (80.0, 50), (109.0, 50)):
        sink.unsent = unsent
        subscriber.check_stall(now, 30.0)
        assert subscriber.ending is None


async def test_a_client_that_takes_bytes_slower_than_they_come_is_not_stalled() -> None:
    subscriber, sink = reader_of(stream_of())
    sink.unsent = 10
    subscriber.check_stall(0.0, 30.0)
    for second in range(1, 60):  # more was written; since then a byte leaves every second
        sink.unsent = 1000 - second
        subscriber.check_stall(float(second), 30.0)
    assert subscriber.ending is None


async def test_a_client_that_takes_what_the_kernel_holds_is_not_stalled() -> None:
    subscriber, sink = reader_of(stream_of())
    sink.unsent, sink.in_kernel = 1000, 100_000
    for second in range(60):
        sink.in_kernel -= 1
        assert not subscriber.check_stall(float(second), 30.0)
    assert not subscriber.check_stall(60.0, 30.0)  # nothing more from now on
    assert not subscriber.check_stall(89.0, 30.0)
    assert subscriber.check_stall(90.0, 30.0)


async def test_a_look_at_many_readers_is_cut_into_slices() -> None:
    stream = stream_of(keepalive_seconds=0.02)
    slow = [SlowSink() for _ in range(10)]
    for sink in slow:
        reader_of(stream, sink)
    async with asyncio.timeout(PATIENCE):
        await slow[0].written.wait()
        assert not all(sink.writes for sink in slow)  # the loop had a turn before all had their comment
        for sink in slow:
            await sink.written.wait()


async def test_a_reader_in_silence_is_sent_a_comment_between_events() -> None:
    stream = stream_of(keepalive_seconds=0.02)
    _, sink = reader_of(stream, chunked=True)
    _, blocked = reader_of(stream, MemorySink(blocked=True))
    waiting = stream.join(chunked=True)
    async with asyncio.timeout(PATIENCE):
        await sink.written.wait()
    assert sink.writes[0] == encode_chunk(b": keepalive\n\n")
    assert blocked.writes == []
    assert waiting.seq == 0
    stream.close(Ending.COMPLETED, [])
    assert sink.body.endswith(encode_chunk(sse.DONE) + LAST_CHUNK)


@pytest.mark.parametrize("reads_before_the_end", [True, False])
async def test_a_stream_that_has_ended_and_has_no_readers_is_held_by_no_timer(reads_before_the_end: bool) -> None:
    source = Source()
    stream = stream_of(source)
    subscriber, sink = reader_of(stream, MemorySink(blocked=not reads_before_the_end))
    stream.close(Ending.COMPLETED, [])
    sink.blocked = False
    subscriber.on_writable()
    held = weakref.ref(source)
    del source, stream, subscriber
    gc.collect()
    assert held() is None
