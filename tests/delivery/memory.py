"""Subscribers in memory: sinks that keep what is written to them, and a producer that notes the calls it gets."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any

from gateway.config import StreamSettings
from gateway.delivery.long_piece import Sendable
from gateway.delivery.slices import SLICE_SECONDS
from gateway.delivery.subscriber import Subscriber
from gateway.dialects.choices.frames import DONE
from gateway.endings import Ending
from gateway.stream.stream import Stream
from gateway.wire import sse
from gateway.wire.http1 import LAST_CHUNK
from tests.delivery.sockets import PATIENCE


class MemorySink:
    """A sink that keeps what is written to it; it is blocked from the start, or once `room` bytes were written."""

    steady = False
    direct: socket.socket | None = None  # there is no socket that frames could be sent to directly

    def __init__(self, *, blocked: bool = False, room: int | None = None, body_end: bytes = b"") -> None:
        self.body_end = body_end
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

    def write(self, data: Sendable) -> None:
        assert not self.blocked
        assert not self.closed
        self.writes.append(bytes(data))
        self.written.set()
        if self.room is not None:
            self.room -= len(data)
            self.blocked = self.room <= 0

    def on_short_write(self, data: Sendable, sent: int) -> None:
        raise AssertionError("written to directly")

    def when_sent(self, call: Callable[[], None]) -> None:
        call()

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

    def write(self, data: Sendable) -> None:
        until = time.perf_counter() + 1.2 * SLICE_SECONDS
        while time.perf_counter() < until:
            pass
        super().write(data)


class Source:
    """A producer that notes the calls it gets."""

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
    return Stream("chat-1", "e1", StreamSettings(**limits), source or Source(), terminal=DONE)


def subscriber_of(
    stream: Stream, sink: MemorySink | None = None, *, chunked: bool = False
) -> tuple[Subscriber, MemorySink]:
    sink = sink or MemorySink(body_end=LAST_CHUNK if chunked else b"")
    subscriber = stream.join(chunked=chunked)
    subscriber.attach(sink)
    return subscriber, sink


def lag(stream: Stream, subscriber: Subscriber) -> int:
    return stream.log.next_seq - subscriber.position


async def read(stream: Stream, subscriber: Subscriber) -> None:
    """Return when the subscriber has read the whole log, however many slices that takes."""
    async with asyncio.timeout(PATIENCE):
        while lag(stream, subscriber):  # noqa: ASYNC110 - each turn of the loop is a slice of the pass
            await asyncio.sleep(0)


def frames(count: int, size: int = 10) -> list[bytes]:
    return [sse.frame(b"%0*d" % (size - 8, number)) for number in range(count)]
