"""Shell: one stream: its log, its readers and its audience. It knows neither where frames come from nor who reads.

In: frames from a producer, readers from the API. Out: bytes to sinks, and to its producer the wishes that follow
from its readers (`Producer`).
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Protocol

from gateway.config import StreamSettings
from gateway.delivery.fanout import Fanout
from gateway.delivery.modes import Cause
from gateway.delivery.pieces import View
from gateway.delivery.slices import SLICE_SECONDS
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.observe import logs
from gateway.stream.audience import Audience, OnLastReader, Policy
from gateway.stream.log import StreamLog
from gateway.stream.view import CompletionView, EventsView, SourceEventsView
from gateway.wire import sse

_log = logging.getLogger("rivergate.stream")


class Producer(Protocol):
    """What feeds a stream."""

    def pause(self) -> None:
        """The log is full of what nobody has read: bring no more."""

    def resume(self) -> None:
        """There is room again."""

    def stop(self, ending: Ending) -> None:
        """End the production for this reason."""


class _Nobody:
    """Feeds nothing any more."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def stop(self, ending: Ending) -> None: ...


NOBODY = _Nobody()


def policy_of(
    limits: StreamSettings,
    *,
    detached: bool = False,
    on_last_reader: OnLastReader | None = None,
    abort_grace_ms: int | None = None,
) -> Policy:
    """What was asked for this stream, else what is configured; a detached one outlives its readers unless asked."""
    grace_ms = limits.abort_grace_ms if abort_grace_ms is None else abort_grace_ms
    return Policy(
        detached=detached,
        on_last_reader=on_last_reader or ("drain" if detached else limits.on_last_reader),
        grace_seconds=grace_ms / 1000,
        lonely_seconds=limits.detached_max_seconds,
    )


@dataclass(frozen=True, slots=True)
class Ring:
    """A log that keeps the newest `events` and forgets the rest, read or not; nobody pauses its producer.

    `lag`: a reader that falls out of the ring skips what it missed (a `gap` event tells how many), or is closed.
    """

    events: int
    lag: Literal["skip", "close"]


class Framing(Enum):
    """How a reader wants the log."""

    COMPLETION = CompletionView
    EVENTS = EventsView
    SOURCE_EVENTS = SourceEventsView


@dataclass(frozen=True, slots=True)
class StreamStatistics:
    readers: int
    readers_total: int
    events: int
    bytes: int
    lag_events: int
    lagged_readers: int  # closed because they took nothing
    deliveries: int  # events handed to readers; over the sends it is the coalescing ratio
    sends: int
    lag_bytes: int  # of the reader that is furthest behind
    orphan_seconds: float  # without any reader
    ending: Ending | None


class Stream:
    """A log with readers. Created with its producer; `close` writes the end that every reader then reaches."""

    __slots__ = (
        "_audience",
        "_delivered",
        "_fanout",
        "_lagged",
        "_limits",
        "_log",
        "_loop",
        "_max_log_bytes",
        "_paused",
        "_producer",
        "_quiet_seconds",
        "_readers",
        "_ring",
        "_seq_at_tick",
        "_tick",
        "_tick_seconds",
        "_trimmed_bytes",
        "_views",
        "id",
        "on_frame",
        "singly",
    )

    def __init__(
        self,
        stream_id: str,
        epoch: str,
        limits: StreamSettings,
        producer: Producer,
        policy: Policy | None = None,
        ring: Ring | None = None,
        first_seq: int = 0,
        terminal: bytes = b"",
        keepalive: bytes = sse.KEEPALIVE,
    ) -> None:
        self.id = stream_id
        self.singly = False  # any number of frames at once
        self._limits = limits
        self._ring = ring
        self._max_log_bytes = limits.max_log_bytes if ring is None else -1  # a ring is looked at after every frame
        self._producer = producer
        self._loop = asyncio.get_running_loop()
        self._log = StreamLog(epoch, first_seq, terminal, keepalive)
        self._trimmed_bytes = 0
        self._views: dict[tuple[Framing, bool], View] = {}
        self._readers: dict[Subscriber, None] = {}  # an ordered set, with those that are not attached yet
        self._lagged = 0
        self._delivered = 0  # events that readers who have ended were sent
        self._fanout = Fanout(self._log, self._make_room, self._max_log_bytes)
        self.on_frame = self._fanout.publish  # takes a frame for every reader; on its way when it returns
        self._audience = Audience(policy or policy_of(limits), self._on_empty)
        self._paused = False
        self._seq_at_tick = 0
        self._tick_seconds = min(limits.keepalive_seconds / 2, limits.subscriber_stall_seconds / 4)
        self._quiet_seconds = 0.0
        self._tick: asyncio.Handle | None = None  # the next look at every reader, or the next slice of this one

    @property
    def ending(self) -> Ending | None:
        """Why the stream ended; None while it runs."""
        return self._log.ending

    @property
    def log(self) -> StreamLog:
        """The log, for positions; only this stream appends to it."""
        return self._log

    @property
    def readers(self) -> int:
        """How many read it now."""
        return self._audience.readers

    def join(self, *, chunked: bool, framing: Framing = Framing.COMPLETION, seq: int = 0) -> Subscriber:
        """A reader from `seq` on, counted as audience from now on."""
        view = self._views.get((framing, chunked))
        if view is None:
            view = self._views[framing, chunked] = framing.value(self._log, chunked=chunked)
        reader = Subscriber(self, view, seq)
        self._readers[reader] = None
        self._audience.join()
        if self._tick is None:
            self._tick = self._loop.call_later(self._tick_seconds, self._on_tick)
        return reader

    # --- the producer's side

    def on_frames(self, frames: list[bytes]) -> None:
        """Several frames at once: a reader gets them in one piece."""
        self._fanout.publish_all(frames)

    def close(self, ending: Ending, last_frames: list[bytes]) -> None:
        """Write the end: the last frames and the ending, which readers get in one piece if they can."""
        if self._log.ending is not None:
            return
        self._audience.close()
        # What knows this stream is let go of, so that it goes at once and not when the garbage is collected.
        self._producer = NOBODY
        self._fanout.end(ending, last_frames)

    def adopt(self, policy: Policy) -> None:
        """Go on by this policy: somebody relies on the stream who is no reader."""
        self._audience.adopt(policy)

    def stop(self, ending: Ending) -> None:
        """End the stream on purpose: its producer stops, its readers are told."""
        self._producer.stop(ending)

    def dismiss(self, retry_ms: Callable[[], int]) -> None:
        """Send every reader away, to come again after so long: the stream goes on elsewhere, or after a restart."""
        for reader in list(self._readers):
            reader.send_away(Ending.DRAINED, retry_ms())

    def statistics(self) -> StreamStatistics:
        log = self._log
        return StreamStatistics(
            readers=self._audience.readers,
            readers_total=self._audience.total,
            events=log.next_seq,
            bytes=self._trimmed_bytes + log.bytes,
            lag_events=max((log.next_seq - reader.position for reader in self._readers), default=0),
            lagged_readers=self._lagged,
            deliveries=self._delivered + sum(reader.position - reader.first_seq for reader in self._readers),
            sends=self._fanout.sends,
            lag_bytes=log.bytes_from(min((reader.position for reader in self._readers), default=log.next_seq)),
            orphan_seconds=self._audience.orphan_seconds,
            ending=log.ending,
        )

    def pass_under_way(self) -> int | None:
        """The sends so far, while a pass over the readers is cut into slices; it moves as long as the pass does."""
        return self._fanout.sends if self._fanout.is_passing else None

    # --- the readers' side (Host)

    def on_ready(self, reader: Subscriber) -> None:
        self._fanout.add(reader)
        if self._paused:
            self._make_room()

    def on_blocked(self, reader: Subscriber) -> None:
        self._fanout.remove(reader, Cause.BLOCKED)

    def on_closed(self, reader: Subscriber) -> None:
        if reader.ending is Ending.LAGGED:
            self._lagged += 1
            lag = {
                "stream_id": self.id,
                "lag_events": self._log.next_seq - reader.position,
                "lag_bytes": self._log.bytes_from(reader.position),
            }
            logs.write_ending(_log, "reader lagged", reader.ending, lag)
        self._delivered += reader.position - reader.first_seq
        del self._readers[reader]
        self._fanout.remove(reader, Cause.ENDED)
        self._audience.leave()
        if self._paused:
            self._make_room()
        if not self._readers and self._tick is not None:
            self._tick.cancel()
            self._tick = None

    # --- inside

    def _on_empty(self, ending: Ending) -> None:
        if self._log.ending is None:
            self._producer.stop(ending)

    def _make_room(self) -> None:
        """Keep the log within `max_log_bytes`: forget the oldest of what all have read.

        Who takes nothing while others do is let go of, so that it holds up nobody; if none of them does, or the pass
        has not come to them yet, the producer is paused.
        """
        if self._ring is not None:
            self._turn(self._ring)
            return
        log, limit = self._log, self._max_log_bytes
        if log.ending is not None:
            return  # it grows no more, and is kept whole for replay
        while log.bytes > limit:
            before = log.bytes
            # Some more than has to be, since to look at every reader costs something.
            log.trim_to(limit - limit // 8, min((one.position for one in self._readers), default=log.first_seq))
            self._trimmed_bytes += before - log.bytes
            if log.bytes <= limit or not (stuck := self._stuck()):
                break
            for reader in stuck:
                reader.end(Ending.LAGGED)
        full = log.bytes > limit
        if full != self._paused:
            self._paused = full
            (self._producer.pause if full else self._producer.resume)()

    def _stuck(self) -> list[Subscriber]:
        """Those who hold the beginning of the log, if they take nothing and others do.

        Who cannot resume is let go of only for another such, never for somebody who watches.
        """
        free = [one for one in self._readers if not one.is_blocked]
        lasting = [one for one in free if not one.view.resumable]
        holding = [one for one in self._readers if one.position == self._log.first_seq]
        if all(one.is_blocked and (free if one.view.resumable else lasting) for one in holding):
            return holding
        return []

    def _turn(self, ring: Ring) -> None:
        """Keep the newest events; in steps of an eighth of the ring, since each costs a move of the whole."""
        log, limit = self._log, self._limits.max_log_bytes
        if log.next_seq - log.first_seq <= ring.events + ring.events // 8 and log.bytes <= limit:
            return
        before = log.bytes
        log.trim(log.next_seq - ring.events)
        while log.bytes > limit and log.next_seq - log.first_seq > 1:
            log.trim(log.first_seq + max((log.next_seq - log.first_seq) // 8, 1))
        self._trimmed_bytes += before - log.bytes
        if ring.lag == "close":
            for reader in [one for one in self._readers if one.position < log.first_seq]:
                reader.end(Ending.LAGGED)

    def _on_tick(self) -> None:
        """Look at every reader: who is stuck, who needs a comment to know that we are there."""
        moved = self._log.next_seq != self._seq_at_tick
        self._seq_at_tick = self._log.next_seq
        self._quiet_seconds = 0.0 if moved else self._quiet_seconds + self._tick_seconds
        quiet = self._quiet_seconds >= self._limits.keepalive_seconds - 1e-6
        if quiet:
            self._quiet_seconds = 0.0
        self._look_at(iter(list(self._readers)), quiet)

    def _look_at(self, readers: Iterator[Subscriber], quiet: bool) -> None:
        """In slices, as a pass is: ten thousand comments at once would hold up the tokens of other streams."""
        until = time.perf_counter() + SLICE_SECONDS
        now, limit = self._loop.time(), self._limits.subscriber_stall_seconds
        for reader in readers:
            if reader.ending is not None:
                continue
            if reader.check_stall(now, limit):
                reader.end(Ending.LAGGED)
            elif quiet and reader.position >= self._log.next_seq:
                reader.keep_alive()
            if time.perf_counter() >= until:
                self._tick = self._loop.call_soon(self._look_at, readers, quiet)
                return
        # The last one may have left just now; who comes next then begins anew.
        self._tick = self._loop.call_later(self._tick_seconds, self._on_tick) if self._readers else None
