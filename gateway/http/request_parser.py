"""Pure: the parser of plain requests, in the bytes that a connection has brought.

In: all bytes since the last request. Out: a plain request with the bytes that follow it, or the reason why there is
none. A request is plain if its answer depends on its target, its fields and its body alone, and it asks for a
completion (`POST /v1/chat/completions` with a short body of a known length) or for the events of a stream or a feed
(a `GET` without a body): by HTTP/1.1, with one `Host`, one field for the key at most, and no field twice. The parser
accepts part of what RFC 9112 allows, and never more than aiohttp accepts, so that both ways answer a request alike.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Literal, NamedTuple

from gateway.dialects.chat.dialect import CHAT
from gateway.http.known_head import KnownHead, known_head, plain_subscription_fields
from gateway.wire import http1

REQUEST_LINE = http1.encode_request_line("POST", CHAT.path)
MAX_CONTENT_BYTES = 262144  # a longer body comes in many reads, and only aiohttp joins those in linear time
MAX_SUBSCRIPTION_LINE = 2000  # bytes of a request line; the longest viewer token that is read has 1024
MAX_PLAIN_HEAD = 8000  # bytes of the fields; a request with more is not plain

_MAX_HEAD = len(REQUEST_LINE) + MAX_PLAIN_HEAD
# The request line, then the field lines, in two parts around the digits of the length. No line is read twice: a head
# with four hundred lengths would take 16 ms.
_PLAIN = re.compile(
    re.escape(REQUEST_LINE)
    + rb"((?:(?!(?i:Content-Length):)[^\r\n]++\r\n)*+(?i:Content-Length):[ \t]*+)"
    + rb"([0-9]{1,7})([ \t]*+\r\n(?:[^\r\n]++\r\n)*+)\r\n"
)

# An end of a line that is not CR LF: aiohttp refuses the head at once, so the rest of it is not waited for.
_WRONG_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")

_GET = b"GET /v1/"
_SUBSCRIPTIONS = (b"GET /v1/streams/", b"GET /v1/feeds/")
# A target that means what it says: no escape, no dot segment, no pair of the query without a value.
_PAIR = rb"[A-Za-z0-9_]+=[A-Za-z0-9_.~/:-]*"
_SUBSCRIPTION_LINE = re.compile(
    rb"GET /v1/(streams|feeds)/([A-Za-z0-9_-][A-Za-z0-9_.~-]*)/events(?:\?(%b(?:&%b)*))? HTTP/1\.1\r\n"
    % (_PAIR, _PAIR)
)

HeadFinder = Callable[[bytes], KnownHead | None]
"""Finds the head with these field lines, of which `Content-Length` has no value; None if the head is not plain."""


class Unparsed(Enum):
    """Why there is no plain request."""

    INCOMPLETE = "incomplete"  # the bytes so far may be the beginning of a plain request
    NOT_PLAIN = "not plain"  # the bytes are no plain request, whatever follows


_INCOMPLETE, _NOT_PLAIN = Unparsed.INCOMPLETE, Unparsed.NOT_PLAIN


class EventsTarget(NamedTuple):
    """The target of a subscription: whose events it asks for, and from where on."""

    kind: Literal["streams", "feeds"]
    name: str  # the id of the stream, or the name of the feed
    query: Mapping[str, str]

    @property
    def path(self) -> str:
        """The path of the target."""
        return f"/v1/{self.kind}/{self.name}/events"


class PlainRequest(NamedTuple):
    """One request: its fields in their order, its body, and the bytes that follow it.

    `events`: what a subscription asks for; `head`: the head of a request for a completion. One of the two is None.
    """

    fields: list[tuple[str, str]]
    content: bytes
    rest: bytes
    events: EventsTarget | None = None
    head: KnownHead | None = None


def parse_request(
    data: bytes, max_content_bytes: int = MAX_CONTENT_BYTES, find_head: HeadFinder = known_head
) -> PlainRequest | Unparsed:
    """The plain request that `data` begins with. A body of more than `max_content_bytes` is not plain."""
    found = _PLAIN.match(data, 0, _MAX_HEAD)
    if found is None:
        return _parse_subscription(data) if data.startswith(_GET) else _unparsed(data)
    # Only the digits are left out: any other length in the head makes a field twice, and so a head that is not plain.
    before, digits, after = found.groups()
    head = find_head(before + after)
    if head is None or (length := int(digits)) > max_content_bytes:
        return _NOT_PLAIN
    start = found.end()
    end = start + length
    return PlainRequest(head.fields, data[start:end], data[end:], None, head) if len(data) >= end else _INCOMPLETE


def _unparsed(data: bytes) -> Unparsed:
    """Why there is no plain head in these bytes."""
    if not data.startswith(REQUEST_LINE):
        return _INCOMPLETE if REQUEST_LINE.startswith(data) or _GET.startswith(data) else _NOT_PLAIN
    is_whole = data.find(b"\r\n\r\n", len(REQUEST_LINE) - 2, _MAX_HEAD) >= 0
    return _NOT_PLAIN if is_whole or len(data) >= _MAX_HEAD or _WRONG_END.search(data) else _INCOMPLETE


def _parse_subscription(data: bytes) -> PlainRequest | Unparsed:
    line = _SUBSCRIPTION_LINE.match(data, 0, MAX_SUBSCRIPTION_LINE)
    if line is None:
        begins = any(start.startswith(data[: len(start)]) for start in _SUBSCRIPTIONS)
        is_short = len(data) < MAX_SUBSCRIPTION_LINE and b"\n" not in data
        return _INCOMPLETE if begins and is_short else _NOT_PLAIN
    start = line.end()
    end = data.find(b"\r\n\r\n", start - 2, start + MAX_PLAIN_HEAD)
    if end < 0:
        is_wrong = len(data) >= start + MAX_PLAIN_HEAD or _WRONG_END.search(data)
        return _NOT_PLAIN if is_wrong else _INCOMPLETE
    fields = plain_subscription_fields(data[start : end + 2])
    kind, name, text = line.groups(b"")
    pairs = [pair.split("=", 1) for pair in text.decode("ascii").split("&")] if text else []
    query = dict(pairs)
    if fields is None or len(query) != len(pairs):
        return _NOT_PLAIN
    target = EventsTarget("feeds" if kind == b"feeds" else "streams", name.decode("ascii"), query)
    return PlainRequest(fields, b"", data[end + 4 :], target)
