"""Shell: the beginning of event streams: the position at which a subscriber begins, and the first bytes for it."""

import random
from collections.abc import Mapping

from gateway.errors import InvalidParameter
from gateway.stream.log import StreamLog
from gateway.wire import http1, sse


def position_of(headers: Mapping[str, str], query: Mapping[str, str]) -> tuple[str | None, bool]:
    """The id of the last event that the client has seen, and whether it wants only events from now on."""
    wanted = query.get("from", "start")
    if wanted not in ("start", "now"):
        raise InvalidParameter("from must be start or now", param="from")
    return headers.get("Last-Event-ID") or _id_in(query), wanted == "now"


def _id_in(query: Mapping[str, str]) -> str | None:
    """The id of the last event in a query, by whichever name a client gives it.

    The last one counts: a client that comes again adds its own behind the parameters that its page has given.
    """
    last = None
    for name, value in query.items():
        if value and name.lower().replace("_", "").replace("-", "") == "lasteventid":
            last = value
    return last


def prelude(log: StreamLog, *, reset: bool, chunked: bool) -> bytes:
    """The first bytes of an event stream: a comment, so that no proxy holds the head back, and a `retry`.

    Neither has a blank line behind it: they belong to the block of the first event, since many clients take a block
    without data for an empty event. `reset`: the client's position is not of this log, so that it has to begin anew.
    """
    frames = b": connected\n" + sse.retry_line(jittered_retry_ms())
    if reset:
        frames += log.control("reset", {"epoch": log.epoch})
    return http1.encode_chunk(frames) if chunked else frames


def jittered_retry_ms() -> int:
    """A random wait from 1 to 3 seconds, so that not all subscribers come back at once when a server restarts."""
    return 1000 + int(random.random() * 2000)
