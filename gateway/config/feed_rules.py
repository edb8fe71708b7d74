"""Pure: the rules over several keys of one feed, checked in the raw tree of the file.

In: the table of a feed as it was read. Out: the faults of keys that do not fit together.
"""

from collections.abc import Iterator
from typing import Any

from gateway.config.faults import Fault
from gateway.config.fields import Loc

MAX_PUBLISHED_BYTES = 2 << 20  # an event is made one frame in one step, which takes 10 ms at this size
_FOR_SOURCES = (
    "api_key_env",
    "api_key_file",
    "auth_header",
    "auth_scheme",
    "header_env",
    "header_file",
    "headers",
    "idle_timeout_ms",
    "linger_seconds",
    "proxy",
)
_FOR_PUBLISHING = ("max_events_per_second", "remember_ids")


def feed_faults(loc: Loc, feed: dict[str, Any]) -> Iterator[Fault]:
    """The faults of one feed's table, which stands at `loc`."""
    if feed.get("publish") is not True:
        if feed.get("url") is None:
            yield Fault((*loc, "url"), "is required, unless publish = true")
        for key in _FOR_PUBLISHING:
            if key in feed:
                yield Fault((*loc, key), "is for a feed with publish = true")
        return
    for key in _FOR_SOURCES:
        if key in feed:
            yield Fault((*loc, key), "is for a feed with a url")
    largest = feed.get("max_event_bytes")
    if isinstance(largest, int) and largest > MAX_PUBLISHED_BYTES:
        yield Fault(
            (*loc, "max_event_bytes"), f"must be at most {MAX_PUBLISHED_BYTES} for a feed with publish = true"
        )
    if feed.get("url") is not None:
        yield Fault((*loc, "publish"), "must not be true for a feed with a url: its events come from there")
