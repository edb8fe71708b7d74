"""Pure: how a log stays within its limits: what it forgets, and which subscribers stand in the way.

In: a log and its subscribers. Out: the log trimmed, and the subscribers that have to be let go of before more can be
forgotten. The invariant: a bounded log forgets only what all subscribers have been sent; a ring forgets the oldest,
whoever has been sent it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.delivery.subscriber import Subscriber
from gateway.stream.log import StreamLog


class Room(Protocol):
    """The rule by which one log makes room."""

    looks_from_bytes: int  # above this size of the log every frame asks for room

    @property
    def is_full(self) -> bool:
        """Whether the log is beyond its limit, so that its producer has to pause."""

    def make(self, subscribers: Collection[Subscriber]) -> list[Subscriber]:
        """Forget what may be forgotten. Those returned have to be ended as lagged; then ask again."""


class BoundedRoom:
    """The rule of a completion: the log holds at most `max_bytes` of what somebody has still to be sent.

    A subscriber that takes nothing while others do is let go of, so that it holds up nobody. If no subscriber takes
    anything, or the pass has not come to them yet, the log is full.
    """

    __slots__ = ("_log", "looks_from_bytes")

    def __init__(self, log: StreamLog, max_bytes: int) -> None:
        self._log = log
        self.looks_from_bytes = max_bytes

    @property
    def is_full(self) -> bool:
        return self._log.bytes > self.looks_from_bytes

    def make(self, subscribers: Collection[Subscriber]) -> list[Subscriber]:
        log, limit = self._log, self.looks_from_bytes
        if log.bytes <= limit:
            return []
        # An eighth more than has to be, since to look at every subscriber costs something.
        oldest = min((subscriber.position for subscriber in subscribers), default=log.first_seq)
        log.trim_to(limit - limit // 8, oldest)
        return self._stuck(subscribers) if log.bytes > limit else []

    def _stuck(self, subscribers: Collection[Subscriber]) -> list[Subscriber]:
        """The subscribers that hold the beginning of the log, if they take nothing and others do.

        A subscriber that cannot resume is let go of only for another that cannot, never for somebody who watches.
        """
        free = [subscriber for subscriber in subscribers if not subscriber.is_blocked]
        lasting = [subscriber for subscriber in free if not subscriber.view.resumable]
        holding = [subscriber for subscriber in subscribers if subscriber.position == self._log.first_seq]
        for subscriber in holding:
            others = free if subscriber.view.resumable else lasting
            if not (subscriber.is_blocked and others):
                return []
        return holding


@dataclass(frozen=True, slots=True)
class Ring:
    """A log that keeps the newest `events` and forgets the rest, sent or not; nobody pauses its producer.

    `lag`: a subscriber that falls out of the ring skips what it missed (a `gap` event tells how many), or is closed.
    """

    events: int
    lag: Literal["skip", "close"]


class RingRoom:
    """The rule of a feed: the newest events stay, in at most `max_bytes`, but for one event larger than that."""

    __slots__ = ("_log", "_max_bytes", "_ring")

    looks_from_bytes = -1  # a ring turns by the count of its events: every frame may be one too many
    is_full = False

    def __init__(self, log: StreamLog, max_bytes: int, ring: Ring) -> None:
        self._log = log
        self._max_bytes = max_bytes
        self._ring = ring

    def make(self, subscribers: Collection[Subscriber]) -> list[Subscriber]:
        """Forget in steps of an eighth of the ring, since each step moves the whole of it in memory."""
        log, ring = self._log, self._ring
        if len(log) <= ring.events + ring.events // 8 and log.bytes <= self._max_bytes:
            return []
        log.trim(log.next_seq - ring.events)
        while log.bytes > self._max_bytes and len(log) > 1:
            log.trim(log.first_seq + max(len(log) // 8, 1))
        if ring.lag == "skip":
            return []
        return [subscriber for subscriber in subscribers if subscriber.position < log.first_seq]
