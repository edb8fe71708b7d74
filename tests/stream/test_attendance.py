"""A silent stream sends comments, and a client that takes no byte for too long is closed."""

import asyncio
import gc
import weakref

import pytest

from gateway.dialects.choices.frames import DONE
from gateway.endings import Ending
from gateway.wire.http1 import LAST_CHUNK, encode_chunk
from tests.delivery.memory import MemorySink, SlowSink, Source, stream_of, subscriber_of
from tests.delivery.sockets import PATIENCE


async def test_a_subscriber_that_takes_no_byte_for_too_long_is_closed_as_lagged() -> None:
    source = Source()
    stream = stream_of(source, subscriber_stall_seconds=0.04)
    slow, sink = subscriber_of(stream, MemorySink(blocked=True))
    healthy, _ = subscriber_of(stream)
    sink.unsent = 100
    async with asyncio.timeout(PATIENCE):
        assert await slow.wait_closed() is Ending.LAGGED
    assert sink.aborted
    assert healthy.ending is None
    assert source.endings == []


async def test_a_stall_after_the_end_is_noticed_too() -> None:
    stream = stream_of(subscriber_stall_seconds=0.04)
    slow, sink = subscriber_of(stream, MemorySink(blocked=True))
    sink.unsent = 100
    stream.close(Ending.COMPLETED, [b"data: a\n\n"])
    async with asyncio.timeout(PATIENCE):
        assert await slow.wait_closed() is Ending.LAGGED


async def test_a_stall_is_told_at_the_limit_and_not_before() -> None:
    subscriber, sink = subscriber_of(stream_of())
    sink.unsent = 100
    assert not subscriber.check_stall(0.0, 30.0)
    assert not subscriber.check_stall(29.9, 30.0)
    assert subscriber.check_stall(30.0, 30.0)


async def test_bytes_that_the_client_takes_start_the_stall_anew() -> None:
    subscriber, sink = subscriber_of(stream_of())
    for now, unsent in ((0.0, 100), (29.0, 99), (58.0, 99), (58.9, 0), (80.0, 50), (109.0, 50)):
        sink.unsent = unsent
        subscriber.check_stall(now, 30.0)
        assert subscriber.ending is None


async def test_a_client_that_takes_bytes_slower_than_they_come_is_not_stalled() -> None:
    subscriber, sink = subscriber_of(stream_of())
    sink.unsent = 10
    subscriber.check_stall(0.0, 30.0)
    for second in range(1, 60):  # more bytes wait than before; the client takes one byte every second
        sink.unsent = 1000 - second
        subscriber.check_stall(float(second), 30.0)
    assert subscriber.ending is None


async def test_a_client_that_takes_what_the_kernel_holds_is_not_stalled() -> None:
    subscriber, sink = subscriber_of(stream_of())
    sink.unsent, sink.in_kernel = 1000, 100_000
    for second in range(60):
        sink.in_kernel -= 1
        assert not subscriber.check_stall(float(second), 30.0)
    assert not subscriber.check_stall(60.0, 30.0)  # from now on the client takes nothing more
    assert not subscriber.check_stall(89.0, 30.0)
    assert subscriber.check_stall(90.0, 30.0)


async def test_a_look_at_many_subscribers_is_cut_into_slices() -> None:
    stream = stream_of(keepalive_seconds=0.02)
    slow = [SlowSink() for _ in range(10)]
    for sink in slow:
        subscriber_of(stream, sink)
    async with asyncio.timeout(PATIENCE):
        await slow[0].written.wait()
        assert not all(sink.writes for sink in slow)  # the loop had a turn before all had their comment
        for sink in slow:
            await sink.written.wait()


async def test_a_subscriber_in_silence_is_sent_a_comment_between_events() -> None:
    stream = stream_of(keepalive_seconds=0.02)
    _, sink = subscriber_of(stream, chunked=True)
    _, blocked = subscriber_of(stream, MemorySink(blocked=True))
    waiting = stream.join(chunked=True)
    async with asyncio.timeout(PATIENCE):
        await sink.written.wait()
    assert sink.writes[0] == encode_chunk(b": keepalive\n\n")
    assert blocked.writes == []
    assert waiting.position == 0
    stream.close(Ending.COMPLETED, [])
    assert sink.body.endswith(encode_chunk(DONE) + LAST_CHUNK)


@pytest.mark.parametrize("reads_before_the_end", [True, False])
async def test_a_stream_that_has_ended_and_has_no_subscribers_is_held_by_no_timer(reads_before_the_end: bool) -> None:
    source = Source()
    stream = stream_of(source)
    subscriber, sink = subscriber_of(stream, MemorySink(blocked=not reads_before_the_end))
    stream.close(Ending.COMPLETED, [])
    sink.blocked = False
    subscriber.on_writable()
    held = weakref.ref(source)
    del source, stream, subscriber
    gc.collect()
    assert held() is None
