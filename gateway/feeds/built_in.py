"""Shell: a feed whose source is this process: one producer for any number of viewers, idle while nobody looks.

Each event tells everything, so that only the newest is worth something: who comes, or comes again, gets that one and
then the next ones, and after an idle time one that is made for it.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.config import StreamSettings
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.stream.audience import Policy
from gateway.stream.room import Ring
from gateway.stream.stream import Stream
from gateway.stream.view import Framing

KEPT_EVENTS = 2  # for a reader that is one behind


class BuiltInFeed:
    """Publishes what `produce` makes, every `seconds`."""

    def __init__(
        self, name: str, produce: Callable[[], bytes], seconds: float, limits: StreamSettings, *, epoch: str
    ) -> None:
        self.id = f"feed:{name}"
        self._produce = produce  # gives a frame
        self._seconds = seconds
        self.stream = Stream(self.id, epoch, limits, self, Policy(), Ring(KEPT_EVENTS, "skip"))
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def join(self, *, chunked: bool, seq: int, source_ids: bool = False) -> Subscriber:
        """A reader; the first one starts the production. Once closed: one that has to come again."""
        newest = self.stream.log.next_seq - (self._timer is not None)  # what is left of before an idle time is none
        reader = self.stream.join(chunked=chunked, framing=Framing.EVENTS, seq=max(seq, newest))
        if self._closed:
            reader.end(Ending.DRAINED)
        elif self._timer is None:
            self._publish()
        return reader

    def describe(self) -> dict[str, Any]:
        numbers = self.stream.statistics()
        return {
            "id": self.id,
            "object": "feed",
            "state": "idle" if self._timer is None else "reading",
            "readers": numbers.subscribers,
            "lag_events": numbers.lag_events,
            "events": numbers.events,
            "bytes": numbers.bytes,
            "connections": 0,
            "last_error": None,
        }

    def close(self, retry_ms: Callable[[], int]) -> None:
        """Send the readers away to come again."""
        self._closed = True
        self.stop(Ending.DRAINED)
        self.stream.dismiss(retry_ms)

    # --- the stream's side (Producer)

    def pause(self) -> None:
        """Never asked for: a ring forgets."""

    def resume(self) -> None:
        """Never asked for."""

    def stop(self, ending: Ending) -> None:
        """Nobody looks any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _publish(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._publish)
        self.stream.on_frame(self._produce())
