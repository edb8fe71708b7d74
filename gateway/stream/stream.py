"""Shell: one stream: its log, its readers and its audience. It knows neither where frames come from nor who reads.

In: frames from a producer, readers from the API. Out: bytes to sinks, and to its producer the wishes that follow
from its readers (`Producer`).
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from gateway.config import Stream as StreamConfig
from gateway.errors import Ending
from gateway.stream.audience import Audience
from gateway.stream.log import StreamLog
from gateway.stream.subscriber import Subscriber
from gateway.stream.view import CompletionView


class Producer(Protocol):
    """What feeds a stream."""

    def pause(self) -> None:
        """The log is full and its slowest reader has not moved: bring no more."""

    def resume(self) -> None:
        """There is room again."""

    def stop(self, ending: Ending) -> None:
        """End the production for this reason."""


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    readers: int
    readers_total: int
    events: int
    bytes: int
    lag_events: int
    ending: Ending | None


class Stream:
    """A log with readers. Created with its producer; `close` writes the end that every reader then reaches."""

    __slots__ = (
        "_audience",
        "_bytes_total",
        "_limits",
        "_log",
        "_loop",
        "_max_log_bytes",
        "_paused",
        "_producer",
        "_quiet_seconds",
        "_seq_at_tick",
        "_subscribers",
        "_tick",
        "_tick_seconds",
        "_views",
        "id",
    )

    def __init__(self, stream_id: str, epoch: str, limits: StreamConfig, producer: Producer) -> None:
        self.id = stream_id
        self._limits = limits
        self._max_log_bytes = limits.max_log_bytes
        self._producer = producer
        self._loop = asyncio.get_running_loop()
        self._log = StreamLog(epoch)
        self._bytes_total = 0
        self._views: dict[bool, CompletionView] = {}
        self._subscribers: dict[Subscriber, None] = {}  # an ordered set: first come, first served
        self._audience = Audience(limits.abort_grace_ms / 1000, self._on_abandoned)
        self._paused = False
        self._seq_at_tick = 0
        self._tick_seconds = min(limits.keepalive_seconds / 2, limits.subscriber_stall_seconds / 4)
        self._quiet_seconds = 0.0
        self._tick = self._loop.call_later(self._tick_seconds, self._on_tick)

    @property
    def ending(self) -> Ending | None:
        """Why the stream ended; None while it runs."""
        return self._log.ending

    def join(self, *, chunked: bool) -> Subscriber:
        """A reader from the start of the log, counted as audience from now on."""
        view = self._views.get(chunked)
        if view is None:
            view = self._views[chunked] = CompletionView(self._log, chunked=chunked)
        subscriber = Subscriber(
            self._log, view, on_closed=self._on_left, on_progress=self._make_room, seq=self._log.first_seq
        )
        self._subscribers[subscriber] = None
        self._audience.join()
        return subscriber

    def on_frame(self, frame: bytes) -> None:
        """A frame for every reader; it is on its way when this returns."""
        log = self._log
        log.append(frame)
        self._send_news()
        if log.bytes > self._max_log_bytes:
            self._make_room()

    def on_frames(self, frames: list[bytes]) -> None:
        """Several frames at once: a reader gets them in one piece."""
        self._log.extend(frames)
        self._send_news()
        if self._log.bytes > self._max_log_bytes:
            self._make_room()

    def close(self, ending: Ending, last_frames: list[bytes]) -> None:
        """Write the end: the last frames and the ending, which readers get in one piece if they can."""
        if self._log.ending is not None:
            return
        self._log.extend(last_frames)
        self._log.close(ending)
        self._audience.close()
        for subscriber in list(self._subscribers):
            subscriber.pump()
        if not self._subscribers:
            self._tick.cancel()

    def stop(self, ending: Ending) -> None:
        """End the stream on purpose: its producer stops, its readers are told."""
        self._producer.stop(ending)

    def statistics(self) -> StreamStatistics:
        log = self._log
        return StreamStatistics(
            readers=self._audience.readers,
            readers_total=self._audience.total,
            events=log.next_seq,
            bytes=self._bytes_total + log.bytes,
            lag_events=max((reader.lag_events for reader in self._subscribers), default=0),
            ending=log.ending,
        )

    def _send_news(self) -> None:
        """Send what is new to every reader that can take it; readers at one cursor share the bytes."""
        at: tuple[CompletionView, int] | None = None
        data, next_seq = b"", 0
        for reader in self._subscribers:
            sink = reader.sink
            if sink is None or sink.blocked:
                continue
            if at != (reader.view, reader.seq):
                at = (reader.view, reader.seq)
                data, next_seq, _ = reader.view.piece(reader.seq)
            reader.seq = next_seq
            sink.write(data)
            if next_seq != self._log.next_seq:
                reader.pump()

    def _on_left(self, subscriber: Subscriber) -> None:
        del self._subscribers[subscriber]
        self._audience.leave()
        self._make_room()
        if self._log.ending is not None and not self._subscribers:
            self._tick.cancel()

    def _on_abandoned(self) -> None:
        if self._log.ending is None:
            self._producer.stop(Ending.ABANDONED)

    def _make_room(self) -> None:
        """Keep the log within `max_log_bytes`: forget what all have read; pause the producer if that is nothing."""
        log, limit = self._log, self._max_log_bytes
        if log.bytes > limit:
            before = log.bytes
            log.trim(min((reader.seq for reader in self._subscribers), default=log.next_seq))
            self._bytes_total += before - log.bytes
        full = log.bytes > limit
        if full != self._paused and log.ending is None:
            self._paused = full
            (self._producer.pause if full else self._producer.resume)()

    def _on_tick(self) -> None:
        self._tick = self._loop.call_later(self._tick_seconds, self._on_tick)
        moved = self._log.next_seq != self._seq_at_tick
        self._seq_at_tick = self._log.next_seq
        self._quiet_seconds = 0.0 if moved else self._quiet_seconds + self._tick_seconds
        now = self._loop.time()
        for subscriber in list(self._subscribers):
            subscriber.check_stall(now, self._limits.subscriber_stall_seconds)
        if self._quiet_seconds >= self._limits.keepalive_seconds - 1e-6:
            self._quiet_seconds = 0.0
            for subscriber in self._subscribers:
                subscriber.keep_alive()
