"""Shell: a feed whose events are made in this process, as long as somebody subscribes to it.

Each event holds the whole state, so that only the newest event matters: a subscriber begins with it. After an idle
time a new event is made for the first subscriber.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.config import StreamSettings
from gateway.delivery.pieces import View
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.feeds.feed import describe
from gateway.stream.audience import Policy
from gateway.stream.room import Ring
from gateway.stream.stream import Stream
from gateway.stream.view import Framing

KEPT_EVENTS = 2  # the newest event, and the event before it for a subscriber that is one event behind


class BuiltInFeed:
    """A feed (`feeds.feed.Feed`) that publishes the frame which `produce` makes, every `seconds`."""

    def __init__(
        self, name: str, produce: Callable[[], bytes], seconds: float, limits: StreamSettings, *, epoch: str
    ) -> None:
        self.id = f"feed:{name}"
        self._produce = produce
        self._seconds = seconds
        self.stream = Stream(self.id, epoch, limits, self, Policy(), Ring(KEPT_EVENTS, "skip", newest_only=True))
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def join(self, *, chunked: bool, seq: int, source_ids: bool = False, from_now: bool = False) -> Subscriber:
        # While the feed is idle no old event counts as the newest: the next one is made in this call.
        newest = self.stream.log.next_seq - (self._timer is not None)
        return self._started_for(self.stream.join(chunked=chunked, framing=Framing.EVENTS, seq=max(seq, newest)))

    @property
    def begin_seq(self) -> int:
        log = self.stream.log
        return max(log.next_seq - 1, log.first_seq)

    def join_with(self, view: View, seq: int, *, from_now: bool = False) -> Subscriber:
        return self._started_for(self.stream.join_with(view, seq))

    def reopen(self) -> None:
        """Nothing: the feed never ends by itself."""

    def describe(self) -> dict[str, Any]:
        return describe(self, "idle" if self._timer is None else "reading")

    def close(self, retry_ms: Callable[[], int]) -> None:
        self._closed = True
        self.stop(Ending.DRAINED)
        self.stream.dismiss(retry_ms)

    # --- the stream's side (Producer)

    def pause(self) -> None:
        """Nothing: a ring forgets its oldest events and is never full."""

    def resume(self) -> None:
        """Nothing: a ring never pauses its producer."""

    def stop(self, ending: Ending) -> None:
        """Make no more events: the last subscriber has left, or the feed is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _started_for(self, subscriber: Subscriber) -> Subscriber:
        if self._closed:
            subscriber.end(Ending.DRAINED)
        elif self._timer is None:
            self._publish()
        return subscriber

    def _publish(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._publish)
        self.stream.on_frame(self._produce())
