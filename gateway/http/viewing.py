"""Shell: the beginning of event streams: the position at which a subscriber begins, and the first bytes for it."""

import random
from collections.abc import Mapping

from gateway.errors import InvalidParameter
from gateway.wire import http1, sse


def position_of(headers: Mapping[str, str], query: Mapping[str, str]) -> tuple[str | None, bool]:
    """The id of the last event that the client has seen, and whether it wants only events from now on."""
    wanted = query.get("from", "start")
    if wanted not in ("start", "now"):
        raise InvalidParameter("from must be start or now", param="from")
    return last_event_id_of(headers, query), wanted == "now"


def last_event_id_of(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """The id of the last event that the client has seen."""
    return headers.get("Last-Event-ID") or query.get("last_event_id") or None


def prelude(reset_to: str | None, *, chunked: bool) -> bytes:
    """The first bytes of an event stream: a comment, so that no proxy holds the head back, and a `retry`.

    `reset_to`: the epoch of the log, if the client's position was of another epoch, so that it has to begin anew.
    """
    frames = b": connected\n\nretry: %d\n\n" % jittered_retry_ms()
    if reset_to is not None:
        frames += sse.control("reset", {"epoch": reset_to})
    return http1.encode_chunk(frames) if chunked else frames


def jittered_retry_ms() -> int:
    """A random wait from 1 to 3 seconds, so that not all subscribers come back at once when a server restarts."""
    return 1000 + int(random.random() * 2000)
