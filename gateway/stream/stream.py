"""Shell: one stream: its log, its subscribers and its audience. It does not know where frames come from.

In: frames and the end from a producer, subscribers from the API. Out: bytes to sinks; to the producer, what its
subscribers require of it: pause, resume, stop. The invariant: the log is closed once, and every subscriber that
stays is sent all of it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from gateway.config import StreamSettings
from gateway.delivery.fanout import Fanout
from gateway.delivery.modes import Cause
from gateway.delivery.pieces import View
from gateway.delivery.subscriber import Onlooker, Subscriber
from gateway.endings import Ending
from gateway.observe import logs
from gateway.stream.attendance import Attendance
from gateway.stream.audience import Audience, Policy, policy_of
from gateway.stream.log import StreamLog
from gateway.stream.packed_log import PackedLog
from gateway.stream.room import BoundedRoom, Ring, RingRoom, Room
from gateway.stream.view import Framing
from gateway.wire import sse

_log = logging.getLogger("rivergate.stream")


class Producer(Protocol):
    """What feeds a stream."""

    def pause(self) -> None:
        """Bring no more frames for now: the log is full of what subscribers have still to be sent."""

    def resume(self) -> None:
        """Bring frames again: the log has room."""

    def stop(self, ending: Ending) -> None:
        """End the production for this reason."""


class StreamStatistics(NamedTuple):
    """A snapshot of one stream: its state, and counts of what it has done."""

    subscribers: int
    subscribers_total: int
    events: int
    bytes: int
    lag_events: int
    lagged_subscribers: int  # closed because they took nothing
    deliveries: int  # events handed to subscribers; divided by `sends` it is the coalescing ratio
    sends: int
    lag_bytes: int  # the lag of the subscriber that is furthest behind
    orphan_seconds: float  # seconds without any subscriber
    ending: Ending | None


class Stream:
    """A log with subscribers. Made with its producer; `close` writes the end that every subscriber then reaches."""

    __slots__ = (
        "_attendance",
        "_audience",
        "_delivered",
        "_fanout",
        "_is_paused",
        "_lagged",
        "_log",
        "_on_unread",
        "_producer",
        "_room",
        "_subscribers",
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
        """Make an empty stream. `terminal` and `keepalive` are the dialect's bytes, as `StreamLog` keeps them."""
        log = StreamLog(epoch, first_seq, terminal, keepalive)
        self._producer: Producer | None = producer  # None: the stream has ended
        self._begin(stream_id, log, limits, policy, ring)

    def _begin(
        self,
        stream_id: str,
        log: StreamLog,
        limits: StreamSettings,
        policy: Policy | None = None,
        ring: Ring | None = None,
    ) -> None:
        self.id = stream_id
        self.singly = False  # `FrameReceiver`: takes any number of frames at once
        self._log = log
        limit = limits.max_log_bytes
        self._room: Room = BoundedRoom(log, limit) if ring is None else RingRoom(log, limit, ring)
        self._is_paused = False  # whether the producer is paused, because the log is full
        self._views: dict[tuple[Framing, bool], View] = {}
        self._subscribers: dict[Subscriber, None] = {}  # an ordered set; some may not be attached yet
        self._on_unread: Callable[[], None] | None = None
        self._lagged = 0
        self._delivered = 0  # events that were sent to subscribers that have ended
        self._fanout = Fanout(log, self._make_room, self._room.looks_from_bytes)
        self.on_frame = (
            self._fanout.publish
        )  # appends a frame, which is on its way to every subscriber when it returns
        self._audience = Audience(policy or policy_of(limits), self.stop)
        self._attendance = Attendance(log, self._subscribers, limits)

    @property
    def ending(self) -> Ending | None:
        """Why the stream ended; None while it runs."""
        return self._log.ending

    @property
    def log(self) -> StreamLog:
        """The log, to be read; only this stream appends to it, and only its producer says which names to avoid."""
        return self._log

    @property
    def subscribers(self) -> int:
        """How many subscribers there are now."""
        return self._audience.subscribers

    @property
    def is_read(self) -> bool:
        """Whether there is any subscriber now, one that does not count as audience included."""
        return bool(self._subscribers)

    def when_unread(self, call: Callable[[], None]) -> None:
        """Call this whenever the last subscriber has left."""
        self._on_unread = call

    def join(
        self, *, chunked: bool, framing: Framing = Framing.COMPLETION, seq: int = 0, is_audience: bool = True
    ) -> Subscriber:
        """A new subscriber that begins at `seq`. With `is_audience` it counts, and so keeps the stream alive."""
        view = self._views.get((framing, chunked))
        if view is None:
            view = self._views[framing, chunked] = framing.value(self._log, chunked=chunked)
        subscriber = (Subscriber if is_audience else Onlooker)(self, view, seq)
        self.admit(subscriber)
        return subscriber

    def join_with(self, view: View, seq: int) -> Subscriber:
        """A new subscriber with a view of its own making, which begins at `seq` and counts as audience."""
        subscriber = Subscriber(self, view, seq)
        self.admit(subscriber)
        return subscriber

    def admit(self, subscriber: Subscriber) -> None:
        """Take in a subscriber that was made for this stream."""
        self._subscribers[subscriber] = None
        if subscriber.is_audience:
            self._audience.join()
        self._attendance.start()

    def dismiss(self, retry_ms: Callable[[], int]) -> None:
        """Send every subscriber away until after `retry_ms`: the stream goes on when the gateway has restarted."""
        for subscriber in list(self._subscribers):
            subscriber.send_away(Ending.DRAINED, retry_ms())

    def adopt(self, policy: Policy) -> None:
        """Follow this policy from now on, because somebody who is not a subscriber relies on the stream."""
        self._audience.adopt(policy)

    @property
    def oldest_seq(self) -> int:
        """Where a new subscriber begins: at the first event, or at the oldest of those that a ring keeps for it."""
        return self._room.oldest_seq

    # --- the producer's side

    def on_frames(self, frames: list[bytes]) -> None:
        """Append several frames at once: a subscriber gets them in one piece."""
        self._fanout.publish_all(frames)

    def close(self, ending: Ending, last_frames: list[bytes]) -> None:
        """Write the end: the last frames and the ending, which subscribers get in one piece if they can.

        If that fails, the stream is cut, and the fault is raised.
        """
        if self._log.ending is not None:
            return
        try:
            self._audience.close()
            # The reference to the producer is dropped, so that both are freed at once, without the garbage collector.
            self._producer = None
            self._fanout.end(ending, last_frames)
        except BaseException:
            self.cut(ending)
            raise

    def cut(self, ending: Ending) -> None:
        """Write the end without the frames that tell of it: subscribers that are being sent the stream see a break.

        A subscriber without a sink is left to its owner, which can still tell its client what has happened.
        """
        self._producer = None
        for subscriber in list(self._subscribers):
            try:
                if subscriber.ending is not None:  # it failed to tell so
                    self.on_closed(subscriber)
                elif subscriber.sink is not None:
                    subscriber.end(Ending.INTERNAL_ERROR)
            except Exception:  # it must not keep the others waiting for an end that never comes
                _log.exception("a subscriber failed to end", extra={"fields": {"stream_id": self.id}})
        self._audience.recount(sum(subscriber.is_audience for subscriber in self._subscribers))
        try:
            self._audience.close()
        finally:
            if self._log.ending is None:
                self._fanout.end(ending, [])

    def stop(self, ending: Ending) -> None:
        """End the stream on purpose: its producer stops, its subscribers are told."""
        if self._producer is not None:
            self._producer.stop(ending)

    def free(self, frames: int) -> bool:
        """Forget the oldest frames of a log that nobody will read, if it holds more; returns whether it did."""
        if len(self._log) <= frames:
            return False
        self._log.trim(self._log.first_seq + frames)
        return True

    # --- statistics

    def statistics(self) -> StreamStatistics:
        log, audience = self._log, self._audience
        oldest, deliveries = log.next_seq, self._delivered
        for subscriber in self._subscribers:
            position = subscriber.position
            deliveries += position - subscriber.first_seq
            oldest = min(oldest, position)
        return StreamStatistics(
            subscribers=audience.subscribers,
            subscribers_total=audience.total,
            events=log.next_seq,
            bytes=log.forgotten_bytes + log.bytes,
            lag_events=log.next_seq - oldest,
            lagged_subscribers=self._lagged,
            deliveries=deliveries,
            sends=self._fanout.sends,
            lag_bytes=log.bytes_from(oldest) if oldest < log.next_seq else 0,
            orphan_seconds=audience.orphan_seconds,
            ending=log.ending,
        )

    def pass_under_way(self) -> int | None:
        """The sends so far, while a pass over the subscribers is under way; None if there is none.

        The count grows as long as the pass moves.
        """
        return self._fanout.sends if self._fanout.is_passing else None

    # --- the subscribers' side (Host)

    def on_ready(self, subscriber: Subscriber) -> None:
        self._fanout.add(subscriber)
        if self._is_paused:
            self._make_room()

    def on_blocked(self, subscriber: Subscriber) -> None:
        self._fanout.remove(subscriber, Cause.BLOCKED)

    def on_closed(self, subscriber: Subscriber) -> None:
        del self._subscribers[subscriber]
        try:
            if subscriber.ending is Ending.LAGGED:
                self._on_lagged(subscriber)
            self._delivered += subscriber.position - subscriber.first_seq
            self._fanout.remove(subscriber, Cause.ENDED)
        finally:
            if subscriber.is_audience:
                self._audience.leave()
            if not self._subscribers and self._on_unread is not None:
                self._on_unread()
        if self._is_paused:
            self._make_room()
        if not self._subscribers:
            self._attendance.stop()

    # --- inside

    def _on_lagged(self, subscriber: Subscriber) -> None:
        self._lagged += 1
        lag = {
            "stream_id": self.id,
            "lag_events": self._log.next_seq - subscriber.position,
            "lag_bytes": self._log.bytes_from(subscriber.position),
        }
        logs.write_ending(_log, "reader lagged", Ending.LAGGED, lambda: lag)

    def _make_room(self) -> None:
        """Keep the log within its limits; its producer pauses while there is no room."""
        if self._producer is None:
            return  # the log grows no more, and is kept whole for replay
        while lagging := self._room.make(self._subscribers):
            for subscriber in lagging:
                subscriber.end(Ending.LAGGED)
        if self._producer is not None and self._room.is_full != self._is_paused:
            self._is_paused = self._room.is_full
            (self._producer.pause if self._is_paused else self._producer.resume)()
            if self._is_paused and self._room.patience:
                asyncio.get_running_loop().call_later(self._room.patience, self._give_up)

    def _give_up(self) -> None:
        if self._is_paused:
            self._room.give_up()
            self._make_room()


class EndedStream(Stream):
    """A stream that has ended before, as it is opened for new subscribers. It counts only these."""

    __slots__ = ()

    def __init__(self, stream_id: str, log: PackedLog, limits: StreamSettings) -> None:
        self._producer = None
        self._begin(stream_id, log, limits)
        self._audience.close()
        self._fanout.close()
