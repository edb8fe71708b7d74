"""Pure: how a log stays within its limits: what it forgets, and which subscribers stand in the way.

In: a log and its subscribers. Out: the log trimmed, and the subscribers that have to be let go of before more can be
forgotten. The invariant: a bounded log forgets only what all subscribers have been sent; a ring forgets its oldest
events, sent or not.
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
        """Forget what may be forgotten; return the subscribers to end as lagged before this is called again."""


class BoundedRoom:
    """The rule of a completion: the log holds at most `max_bytes` of what a subscriber has still to be sent.

    A subscriber that takes nothing while others do is let go of, so that it holds up nobody. If no subscriber takes
    anything, or the pass has not served them yet, the log is full.
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
        # An eighth more than necessary is forgotten, so that the subscribers are not all looked at for every frame.
        oldest = min((subscriber.position for subscriber in subscribers), default=log.first_seq)
        log.trim_to(limit - limit // 8, oldest)
        return self._stuck(subscribers) if log.bytes > limit else []

    def _stuck(self, subscribers: Collection[Subscriber]) -> list[Subscriber]:
        """The subscribers that hold the beginning of the log, if they take nothing and others do.

        A subscriber that cannot resume is let go of only for the sake of another that cannot resume either.
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

    `lag`: a subscriber that falls out of the ring skips what it missed (a `gap` event says how many), or is closed.
    """

    events: int
    lag: Literal["skip", "close"]


class RingRoom:
    """The rule of a feed: keep the newest events, in at most `max_bytes`; a single larger event is kept too."""

    __slots__ = ("_log", "_max_bytes", "_ring")

    looks_from_bytes = -1  # a ring is limited by its count of events as well, so every frame asks for room
    is_full = False

    def __init__(self, log: StreamLog, max_bytes: int, ring: Ring) -> None:
        self._log = log
        self._max_bytes = max_bytes
        self._ring = ring

    def make(self, subscribers: Collection[Subscriber]) -> list[Subscriber]:
        """Forget in steps of an eighth of the ring, since each step moves the whole ring in memory."""
        log, ring = self._log, self._ring
        if len(log) <= ring.events + ring.events // 8 and log.bytes <= self._max_bytes:
            return []
        log.trim(log.next_seq - ring.events)
        while log.bytes > self._max_bytes and len(log) > 1:
            log.trim(log.first_seq + max(len(log) // 8, 1))
        if ring.lag == "skip":
            return []
        return [subscriber for subscriber in subscribers if subscriber.position < log.first_seq]
