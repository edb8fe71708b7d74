"""Pure: what the answer of an SSE source means for the connections that follow.

In: the head of an answer, and whether the request had a `Last-Event-ID`. Out: a `Verdict`. The invariant: a source
that says that there is nothing for us is not asked as often as one that is out of order.
Source: WHATWG HTML section 9.2.3; RFC 9110 section 15.
"""

from collections.abc import Mapping
from enum import Enum

from gateway.upstream.redirect import is_redirect
from gateway.upstream.retry_wait import asked_wait
from gateway.upstream.told_type import told_type

# Statuses of answers to a request with an id, where a request without it may get a better one: the id is too long, or
# of a kind that the source does not know, or of a position that it has forgotten.
_REFUSALS_OF_ID = frozenset({400, 409, 410, 412, 413, 414, 416, 422, 431})
_PASSING = frozenset({408, 425, 429})  # and all from 500 on


class Verdict(Enum):
    """What an answer means."""

    EVENTS = "events"  # the body is the source's events
    END = "end"  # there are no events, and there will be none
    ELSEWHERE = "elsewhere"  # the source is at another address
    UNKNOWN_ID = "unknown id"  # the source may answer a request without the id
    REFUSED = "refused"  # the next request will probably get the same answer
    FAILED = "failed"  # the source is out of order for now


def verdict_of(status: int, headers: Mapping[str, str], *, with_id: bool) -> Verdict:
    """What an answer with this head means. `with_id`: the request had an id."""
    if status == 200 and told_type(headers) == "text/event-stream":
        return Verdict.EVENTS
    if status == 204:
        return Verdict.END
    if is_redirect(status, headers):
        return Verdict.ELSEWHERE
    if with_id and status in _REFUSALS_OF_ID:
        return Verdict.UNKNOWN_ID
    if status >= 500 or status in _PASSING:
        return Verdict.FAILED
    return Verdict.REFUSED


def reason_of(status: int, headers: Mapping[str, str]) -> str:
    """What an answer was, in our words: an answer's own may be secret."""
    return f"the source answered HTTP {status} with {told_type(headers)}"


def wait_of(status: int, headers: Mapping[str, str], now: float) -> float:
    """The seconds that an answer asks to wait; 0.0 if it asks for nothing. `now` is Unix time."""
    return float(asked_wait(headers, None, now, limited=status == 429) or 0)
