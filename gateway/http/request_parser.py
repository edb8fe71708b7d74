"""Pure: the parser of plain requests, in the bytes that a connection has brought.

In: all bytes since the last request. Out: a plain request with the bytes that follow it, or the reason why there is
none. A request is plain if its answer depends on its target, its fields and its body alone, and it asks for a
completion (`POST /v1/chat/completions` with a short body of a known length) or for the events of a stream or a feed
(a `GET` without a body): by HTTP/1.1, with one `Host` and no field twice. The parser accepts part of what RFC 9112
allows, and never more than aiohttp accepts, so that both ways answer a request alike.
"""

import re
from collections.abc import Mapping
from enum import Enum
from typing import Literal, NamedTuple

from gateway.dialects.chat.dialect import CHAT
from gateway.wire import http1

REQUEST_LINE = http1.encode_request_line("POST", CHAT.path)
MAX_CONTENT_BYTES = 262144  # a longer body comes in many reads, and only aiohttp joins those in linear time
MAX_PLAIN_FIELDS = 100  # a browser sends 20; from 129 on aiohttp refuses a request

MAX_SUBSCRIPTION_LINE = 2000  # bytes of a request line; the longest viewer token that is read has 1024

# Fields of requests that need more than their fields and body: a decoder, an interim answer, another protocol.
_NOT_PLAIN = frozenset({"transfer-encoding", "content-encoding", "expect", "origin", "upgrade", "sec-websocket-key1"})
# A subscription may come from a page of another site (`Origin`): `EventSource` sends no preflight. It has no body.
_NOT_PLAIN_SUBSCRIPTION = (_NOT_PLAIN - {"origin"}) | {"content-length"}
_MAX_LENGTH_DIGITS = 7

_GET = b"GET /v1/"
_SUBSCRIPTIONS = (b"GET /v1/streams/", b"GET /v1/feeds/")
# A target that means what it says: no escape, no dot segment, no pair of the query without a value.
_PAIR = rb"[A-Za-z0-9_]+=[A-Za-z0-9_.~/:-]*"
_SUBSCRIPTION_LINE = re.compile(
    rb"GET /v1/(streams|feeds)/([A-Za-z0-9_-][A-Za-z0-9_.~-]*)/events(?:\?(%b(?:&%b)*))? HTTP/1\.1\r\n"
    % (_PAIR, _PAIR)
)


class Unparsed(Enum):
    """Why there is no plain request."""

    INCOMPLETE = "incomplete"  # the bytes so far may be the beginning of a plain request
    NOT_PLAIN = "not plain"  # the bytes are no plain request, whatever follows


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
    """One request: its fields in their order, its body, and the bytes that follow it."""

    fields: list[tuple[str, str]]
    content: bytes
    rest: bytes
    events: EventsTarget | None = None  # None: a completion is asked for


def parse_request(data: bytes, max_content_bytes: int = MAX_CONTENT_BYTES) -> PlainRequest | Unparsed:
    """The plain request that `data` begins with. A body of more than `max_content_bytes` is not plain."""
    if not data.startswith(REQUEST_LINE):
        if data.startswith(_GET):
            return _parse_subscription(data)
        begins = REQUEST_LINE.startswith(data) or _GET.startswith(data)
        return Unparsed.INCOMPLETE if begins else Unparsed.NOT_PLAIN
    try:
        head = http1.parse_fields(data, len(REQUEST_LINE))
    except ValueError:
        return Unparsed.NOT_PLAIN
    if head is None:
        return Unparsed.INCOMPLETE
    fields, start = head
    length = _plain_length(fields)
    if length is None or length > max_content_bytes:
        return Unparsed.NOT_PLAIN
    end = start + length
    if len(data) < end:
        return Unparsed.INCOMPLETE
    return PlainRequest(fields, data[start:end], data[end:])


def _parse_subscription(data: bytes) -> PlainRequest | Unparsed:
    line = _SUBSCRIPTION_LINE.match(data, 0, MAX_SUBSCRIPTION_LINE)
    if line is None:
        begins = any(start.startswith(data[: len(start)]) for start in _SUBSCRIPTIONS)
        is_short = len(data) < MAX_SUBSCRIPTION_LINE and b"\n" not in data
        return Unparsed.INCOMPLETE if begins and is_short else Unparsed.NOT_PLAIN
    try:
        head = http1.parse_fields(data, line.end())
    except ValueError:
        return Unparsed.NOT_PLAIN
    if head is None:
        return Unparsed.INCOMPLETE
    fields, end = head
    kind, name, text = line.groups(b"")
    pairs = [pair.split("=", 1) for pair in text.decode("ascii").split("&")] if text else []
    query = dict(pairs)
    if len(query) != len(pairs) or not _is_plain_subscription(fields):
        return Unparsed.NOT_PLAIN
    target = EventsTarget("feeds" if kind == b"feeds" else "streams", name.decode("ascii"), query)
    return PlainRequest(fields, b"", data[end:], target)


def _is_plain_subscription(fields: list[tuple[str, str]]) -> bool:
    known = {name.lower(): value for name, value in fields}
    return (
        len(known) == len(fields) <= MAX_PLAIN_FIELDS
        and "host" in known
        and _NOT_PLAIN_SUBSCRIPTION.isdisjoint(known)
        and known.get("connection", "keep-alive").lower() == "keep-alive"
    )


def _plain_length(fields: list[tuple[str, str]]) -> int | None:
    """The length of the body behind a head with these fields; None if the head is not plain."""
    known = {name.lower(): value for name, value in fields}
    length = known.get("content-length", "")
    if (
        len(known) != len(fields)
        or len(known) > MAX_PLAIN_FIELDS
        or "host" not in known
        or not _NOT_PLAIN.isdisjoint(known)
        or known.get("connection", "keep-alive").lower() != "keep-alive"
        or not (length.isdigit() and len(length) <= _MAX_LENGTH_DIGITS)
    ):
        return None
    return int(length)
