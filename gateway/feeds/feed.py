"""Pure: what every feed is to the rest of the gateway, whether its events come from a source or from this process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.delivery.pieces import View
from gateway.delivery.subscriber import Subscriber
from gateway.stream.stream import Stream


class Feed(Protocol):
    """A stream that never ends by itself, and runs only while somebody subscribes to it."""

    id: str  # "feed:" and its name
    stream: Stream

    def join(self, *, chunked: bool, seq: int, source_ids: bool = False, from_now: bool = False) -> Subscriber:
        """A new subscriber that reads from `seq` on; the first subscriber starts the feed.

        A feed that is closed returns a subscriber that has ended as `drained` and has to come again.

        `chunked`: HTTP/1.1. `source_ids`: the source's own ids stand behind ours. `from_now`: nothing is wanted that
        was before, so that a feed which nobody reads asks its source for nothing that was missed.
        """

    @property
    def begin_seq(self) -> int:
        """Where a subscriber begins that asks for all there is."""

    def join_with(self, view: View, seq: int, *, from_now: bool = False) -> Subscriber:
        """A new subscriber with a view of its own making; the rest as `join` does it."""

    def reopen(self) -> None:
        """Begin again with a feed whose source has ended, for a subscriber that comes new."""

    def describe(self) -> dict[str, Any]:
        """The feed as `GET /v1/feeds` lists it."""

    def close(self, retry_ms: Callable[[], int]) -> None:
        """End the feed for good and send its subscribers away; `retry_ms`: when each is to come again."""


@dataclass(slots=True)
class SourceReport:
    """What is told of a source: the moment since which it is read, or since which it is not, and why."""

    since: float  # Unix time
    connections: int = 0  # how many were made so far
    attempts: int = 0  # how many were tried since the source was read last
    last_error: str | None = None  # why the source is not read, or was not the last time
    is_read: bool = False

    def begin(self, now: float) -> None:
        """Note that the source is asked from now on."""
        self.since, self.attempts, self.is_read = now, 0, False

    def read(self, now: float) -> None:
        """Note that the source is read from now on."""
        self.since, self.attempts, self.is_read = now, 0, True
        self.connections += 1

    def lose(self, now: float, error: str | None) -> None:
        """Note that the source is not read, for this reason; None: it has ended."""
        if self.is_read or error is None:
            self.since, self.is_read = now, False
        self.last_error = error or self.last_error


def describe(feed: Feed, state: str, report: SourceReport | None = None) -> dict[str, Any]:
    """The fields of a feed's JSON. `report`: of its source, if it has one."""
    numbers = feed.stream.statistics()
    return {
        "id": feed.id,
        "object": "feed",
        "state": state,
        "readers": numbers.subscribers,
        "lag_events": numbers.lag_events,
        "events": numbers.events,
        "bytes": numbers.bytes,
        "connections": report.connections if report else 0,
        "last_error": report.last_error if report else None,
        "since": int(report.since) if report else None,
        "attempts": report.attempts if report else 0,
    }
