"""Pure: what every feed is to the rest of the gateway, whether its events come from a source or from this process."""

from collections.abc import Callable
from typing import Any, Protocol

from gateway.delivery.pieces import View
from gateway.delivery.subscriber import Subscriber
from gateway.stream.stream import Stream


class Feed(Protocol):
    """A stream that never ends by itself, and runs only while somebody subscribes to it."""

    id: str  # "feed:" and its name
    stream: Stream

    def join(self, *, chunked: bool, seq: int, source_ids: bool = False) -> Subscriber:
        """A new subscriber that reads from `seq` on; the first subscriber starts the feed.

        A feed that is closed returns a subscriber that has ended as `drained` and has to come again.

        `chunked`: HTTP/1.1. `source_ids`: the source's own ids stand behind ours.
        """

    @property
    def begin_seq(self) -> int:
        """Where a subscriber begins that asks for all there is."""

    def join_with(self, view: View, seq: int) -> Subscriber:
        """A new subscriber with a view of its own making; the rest as `join` does it."""

    def describe(self) -> dict[str, Any]:
        """The feed as `GET /v1/feeds` lists it."""

    def close(self, retry_ms: Callable[[], int]) -> None:
        """End the feed for good and send its subscribers away; `retry_ms`: when each is to come again."""


def describe(feed: Feed, state: str, *, connections: int = 0, last_error: str | None = None) -> dict[str, Any]:
    """The fields of a feed's JSON.

    `connections`: how many were made to the source so far; `last_error`: why the last one failed.
    """
    numbers = feed.stream.statistics()
    return {
        "id": feed.id,
        "object": "feed",
        "state": state,
        "readers": numbers.subscribers,
        "lag_events": numbers.lag_events,
        "events": numbers.events,
        "bytes": numbers.bytes,
        "connections": connections,
        "last_error": last_error,
    }
