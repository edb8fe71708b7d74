"""Pure: how a log stays within its limits: what it forgets, and which subscribers stand in the way.

In: a log and its subscribers. Out: the log trimmed, and the subscribers that have to be let go of before more can be
forgotten. The invariant: a bounded log forgets only what all subscribers have been sent; a ring forgets more, but
within its limit only what they have been sent.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.delivery.subscriber import Subscriber
from gateway.stream.log import StreamLog

SELDOM = 64  # frames between two looks at all subscribers, of which one that is slow keeps a small ring long


class Room(Protocol):
    """The rule by which one log makes room."""

    looks_from_bytes: int  # above this size of the log every frame asks for room

    @property
    def is_full(self) -> bool:
        """Whether the log is beyond its limit, so that its producer has to pause."""

    @property
    def oldest_seq(self) -> int:
        """Where a subscriber begins that comes now, without a position."""

    patience: float  # seconds after which a producer that is paused is no longer held up; 0.0: as long as it takes

    def give_up(self) -> None:
        """Wait no longer for subscribers that take nothing: the patience is at its end."""

    def make(self, subscribers: Collection[Subscriber]) -> list[Subscriber]:
        """Forget what may be forgotten; return the subscribers to end as lagged before this is called again."""


class BoundedRoom:
    """The rule of a completion: the log holds at most `max_bytes` of what a subscriber has still to be sent.

    A subscriber that takes nothing while others do is let go of, so that it holds up nobody. If no subscriber takes
    anything, or the pass has not served them yet, the log is full.
    """

    __slots__ = ("_log", "looks_from_bytes")

    oldest_seq = 0  # the subscriber is told how much was forgotten before it came
    patience = 0.0

    def __init__(self, log: StreamLog, max_bytes: int) -> None:
        self._log = log
        self.looks_from_bytes = max_bytes

    @property
    def is_full(self) -> bool:
        return self._log.bytes > self.looks_from_bytes

    def give_up(self) -> None:
        """Nothing: what a subscriber has not been sent is never forgotten."""

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
    """A log that keeps the newest `events` for subscribers that come later, and what its subscribers still wait for.

    `lag`: a subscriber that falls out of the log skips what it missed (a `gap` event says how many), or is closed.
    `newest_only`: each event holds the whole state, so that nothing is kept for the sake of a slow subscriber.
    """

    events: int
    lag: Literal["skip", "close"]
    newest_only: bool = False


class RingRoom:
    """The rule of a feed: keep the newest events, and what a subscriber has still to be sent, in at most `max_bytes`.

    Beyond the limit a subscriber that takes nothing for now falls behind. The log is full while the pass has not
    served the others; and if there are no others, until one subscriber takes bytes again, but no longer than
    `patience`. A single event that is larger than the limit is kept, too.
    """

    __slots__ = ("_foremost", "_given_up_at", "_log", "_look_at", "_max_bytes", "_ring", "is_full")

    patience = 1.0

    looks_from_bytes = -1  # a ring is limited by its count of events as well, so every frame asks for room

    def __init__(self, log: StreamLog, max_bytes: int, ring: Ring) -> None:
        self._log = log
        self._max_bytes = max_bytes
        self._ring = ring
        self._look_at = 0  # where the log has to end before its subscribers are looked at again for its count
        self._foremost = 0  # the position of the subscriber that had been sent most, when all were stuck
        self._given_up_at = -1  # that position when the patience was at its end
        self.is_full = False

    @property
    def oldest_seq(self) -> int:
        log = self._log
        return max(log.first_seq, log.next_seq - self._ring.events)

    def make(self, subscribers: Collection[Subscriber]) -> list[Subscriber]:
        """Forget in steps of an eighth of the ring, since each step moves the whole ring in memory."""
        log, ring = self._log, self._ring
        is_over = log.bytes > self._max_bytes
        if not is_over and (len(log) <= ring.events + ring.events // 8 or log.next_seq < self._look_at):
            self.is_full = False
            return []
        self._look_at = log.next_seq + max(ring.events // 8, SELDOM)
        waiting = [] if ring.newest_only else subscribers
        unsent = min((subscriber.position for subscriber in waiting), default=log.next_seq)
        log.trim(min(log.next_seq - ring.events, unsent))
        if unsent == log.next_seq:
            self._look_at = 0  # nobody keeps the log long, so the next look can wait for its count
        if is_over:
            self._shrink(unsent, waiting)
        if ring.lag == "skip":
            return []
        return [subscriber for subscriber in subscribers if subscriber.position < log.first_seq]

    def _shrink(self, unsent: int, waiting: Collection[Subscriber]) -> None:
        """Forget what all have been sent, an eighth more than necessary; then what only stuck subscribers wait for.

        Twice the limit is never exceeded, not even by a producer that does not pause.
        """
        log, limit = self._log, self._max_bytes
        newest = log.next_seq - 1
        log.trim_to(limit - limit // 8, min(unsent, newest))
        if log.bytes > limit:
            log.trim_to(limit - limit // 8, min(self._needed_from(waiting), newest))
        if log.bytes > 2 * limit:
            log.trim_to(2 * limit, newest)
        self.is_full = log.bytes > limit and len(log) > 1

    def _needed_from(self, waiting: Collection[Subscriber]) -> int:
        """Where the log begins that subscribers need who take bytes; if there are none, the one that has most."""
        attached = [subscriber for subscriber in waiting if subscriber.sink is not None]
        taking = [subscriber.position for subscriber in attached if not subscriber.is_blocked]
        if taking:
            return min(taking)
        self._foremost = max((subscriber.position for subscriber in attached), default=self._log.next_seq)
        return self._foremost if self._foremost > self._given_up_at else self._log.next_seq

    def give_up(self) -> None:
        """Let those fall behind who are stuck; as soon as one of them takes bytes, they are waited for again."""
        self._given_up_at = self._foremost
