"""Shell: a feed whose events are published by clients, and kept in a ring whether somebody subscribes or not.

In: events, some of which may have come before. Out: frames in the ring, and for each event its place there. The
invariant: an event with an id that is remembered is not taken again.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gateway.config import MAX_PUBLISHED_BYTES, FeedSettings, StreamSettings
from gateway.delivery.pieces import View
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.errors import Draining
from gateway.feeds.feed import describe
from gateway.feeds.publication import NewEvent
from gateway.feeds.remembered_ids import RememberedIds
from gateway.feeds.rings import FeedState
from gateway.stream.audience import Policy
from gateway.stream.room import Ring
from gateway.stream.stream import Stream
from gateway.stream.view import Framing


class Receipt(NamedTuple):
    """Where a published event is in the log. `came_before`: its id was known, so that it was not taken again."""

    seq: int
    came_before: bool


class PublishedFeed:
    """One feed with `publish = true` (`feeds.feed.Feed`)."""

    def __init__(
        self, config: FeedSettings, limits: StreamSettings, *, epoch: str, state: FeedState | None = None
    ) -> None:
        """`state`: the ring that an earlier process left, where this one goes on."""
        self.id = f"feed:{config.name}"
        self.settings = config
        self.max_event_bytes = min(config.max_event_bytes, MAX_PUBLISHED_BYTES)
        state = state or FeedState(epoch, 0, b"", [])
        ring = Ring(config.retain_events, config.lag)
        self.stream = Stream(self.id, state.epoch, limits, self, Policy(), ring, state.first_seq)
        self.stream.on_frames(state.frames)
        self._ids = RememberedIds(config.remember_ids, state.ids)
        self._last_at = state.last_at
        self._is_closed = False
        self.taken = 0  # events since the start of the process
        self.duplicates = 0  # events since then that had come before

    def join(self, *, chunked: bool, seq: int, source_ids: bool = False, from_now: bool = False) -> Subscriber:
        framing = Framing.SOURCE_EVENTS if source_ids else Framing.EVENTS
        return self._unless_closed(self.stream.join(chunked=chunked, framing=framing, seq=seq))

    @property
    def begin_seq(self) -> int:
        return self.stream.oldest_seq

    def join_with(self, view: View, seq: int, *, from_now: bool = False) -> Subscriber:
        return self._unless_closed(self.stream.join_with(view, seq))

    def reopen(self) -> None:
        """Nothing: the feed never ends by itself."""

    def publish(self, events: Sequence[NewEvent], now: float) -> list[Receipt]:
        """Take those of the events that have not come before; `now`: Unix seconds.

        Raises `Draining` if the feed is closed, and then nothing is taken.
        """
        if self._is_closed:
            raise Draining("the gateway is being stopped: publish again", retry_after=1)
        seq, ids = self.stream.log.next_seq, self._ids
        frames: list[bytes] = []
        receipts: list[Receipt] = []
        for event in events:
            known = None if event.id is None else ids.find(event.id)
            if known is not None:
                receipts.append(Receipt(known, True))
                continue
            if event.id is not None:
                ids.add(event.id, seq)
            receipts.append(Receipt(seq, False))
            frames.append(event.frame)
            seq += 1
        self.taken += len(frames)
        self.duplicates += len(events) - len(frames)
        if frames:
            self._last_at = round(now, 3)
            self.stream.on_frames(frames)
        return receipts

    def describe(self) -> dict[str, Any]:
        known = {"published": True, "last_published_at": self._last_at, "remembered_ids": len(self._ids)}
        return {**describe(self, "closed" if self._is_closed else "open"), **known, "duplicates": self.duplicates}

    def state_of_ring(self) -> FeedState:
        """The ring and the ids, as the next process needs them to go on."""
        log = self.stream.log
        return FeedState(log.epoch, log.first_seq, b"", log.frames(), self._ids.all(), self._last_at)

    def close(self, retry_ms: Callable[[], int]) -> None:
        self._is_closed = True
        self.stream.dismiss(retry_ms)

    # --- the stream's side (Producer)

    def pause(self) -> None:
        """Nothing: a ring forgets its oldest events and is never full."""

    def resume(self) -> None:
        """Nothing: a ring never pauses its producer."""

    def stop(self, ending: Ending) -> None:
        """Nothing: publishers need no subscriber, and the ring stays for those who come."""

    def _unless_closed(self, subscriber: Subscriber) -> Subscriber:
        if self._is_closed:
            subscriber.end(Ending.DRAINED)
        return subscriber
