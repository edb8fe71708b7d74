"""Pure: the parser of plain requests, in the bytes that a connection has brought.

In: all bytes since the last request. Out: a plain request with the bytes that follow it, or the reason why there is
none. A request is plain if its answer depends on its target, its fields and its body alone, and it asks for an answer
(a `POST` to the path of a dialect, with a short body of a known length) or for the events of a stream or a feed (a
`GET` without a body): by HTTP/1.1, with one `Host`, one field for the key at most, and no field twice. The parser
accepts part of what RFC 9112 allows, and never more than aiohttp accepts, so that both ways answer a request alike.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Literal, NamedTuple

from multidict import MultiDict

from gateway.dialects.dialect import Dialect
from gateway.dialects.registry import DIALECTS
from gateway.http.known_head import KnownHead, known_head, plain_subscription_fields
from gateway.wire import http1

_PATHS = {dialect.path.encode(): dialect for dialect in DIALECTS if dialect.streams}
REQUEST_LINES = tuple(http1.encode_request_line("POST", path.decode()) for path in _PATHS)
MAX_CONTENT_BYTES = 262144  # a longer body comes in many reads, and only aiohttp joins those in linear time
MAX_SUBSCRIPTION_LINE = 2000  # bytes of a request line; the longest viewer token that is read has 1024
MAX_QUERY = 200  # bytes of the query of a request for an answer
MAX_PLAIN_HEAD = 8000  # bytes of the fields; a request with more is not plain

_MAX_LINE = max(map(len, REQUEST_LINES)) + MAX_QUERY
_MAX_HEAD = _MAX_LINE + MAX_PLAIN_HEAD
# A target that means what it says: no escape, no dot segment, no pair of the query without a value.
_PAIR = rb"[A-Za-z0-9_]+=[A-Za-z0-9_.~/:-]*"
_ANY_PATH = b"|".join(map(re.escape, _PATHS))
# The path and the query of the request line, then the field lines, in two parts around the digits of the length. No
# line is read twice: a head with four hundred lengths would take 16 ms.
_PLAIN = re.compile(
    rb"POST (%b)(?:\?(%b(?:&%b)*+))? HTTP/1\.1\r\n" % (_ANY_PATH, _PAIR, _PAIR)
    + rb"((?:(?!(?i:Content-Length):)[^\r\n]++\r\n)*+(?i:Content-Length):[ \t]*+)"
    + rb"([0-9]{1,7})([ \t]*+\r\n(?:[^\r\n]++\r\n)*+)\r\n"
)
_LINE = re.compile(rb"POST (?:%b)(?:\?%b(?:&%b)*+)? HTTP/1\.1\r\n" % (_ANY_PATH, _PAIR, _PAIR))

# An end of a line that is not CR LF: aiohttp refuses the head at once, so the rest of it is not waited for.
_WRONG_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")

_GET = b"GET /v1/"
_SUBSCRIPTIONS = (b"GET /v1/streams/", b"GET /v1/feeds/", b"GET /v1/events?")
_SUBSCRIPTION_LINE = re.compile(
    rb"GET /v1/(?:(streams|feeds)/([A-Za-z0-9_-][A-Za-z0-9_.~-]*)/)?events(?:\?(%b(?:&%b)*))? HTTP/1\.1\r\n"
    % (_PAIR, _PAIR)
)

Kind = Literal["streams", "feeds", "events"]
_KINDS: Mapping[bytes, Kind] = {b"streams": "streams", b"feeds": "feeds", b"": "events"}

HeadFinder = Callable[[bytes], KnownHead | None]
"""Finds the head with these field lines, of which `Content-Length` has no value; None if the head is not plain."""


class Unparsed(Enum):
    """Why there is no plain request."""

    INCOMPLETE = "incomplete"  # the bytes so far may be the beginning of a plain request
    NOT_PLAIN = "not plain"  # the bytes are no plain request, whatever follows


_INCOMPLETE, _NOT_PLAIN = Unparsed.INCOMPLETE, Unparsed.NOT_PLAIN


class EventsTarget(NamedTuple):
    """The target of a subscription: whose events it asks for, and from where on."""

    kind: Kind  # "events": those of several streams and feeds
    name: str  # the id of the stream, or the name of the feed; "" for several
    query: Mapping[str, str]  # that of several is a `MultiDict`, in which a name may stand twice

    @property
    def path(self) -> str:
        """The path of the target."""
        return f"/v1/{self.kind}/{self.name}/events" if self.name else "/v1/events"


class PlainRequest(NamedTuple):
    """One request: its fields in their order, its body, and the bytes that follow it.

    `events`: what a subscription asks for; `head`, `dialect` and `query`: the head of a request for an answer, the
    dialect of its path, and the query of its target. Either `events` or `head` is None.
    """

    fields: list[tuple[str, str]]
    content: bytes
    rest: bytes
    events: EventsTarget | None = None
    head: KnownHead | None = None
    dialect: Dialect = DIALECTS[0]
    query: str = ""


def parse_request(
    data: bytes, max_content_bytes: int = MAX_CONTENT_BYTES, find_head: HeadFinder = known_head
) -> PlainRequest | Unparsed:
    """The plain request that `data` begins with. A body of more than `max_content_bytes` is not plain."""
    found = _PLAIN.match(data, 0, _MAX_HEAD)
    if found is None:
        return _parse_subscription(data) if data.startswith(_GET) else _unparsed(data)
    # Only the digits are left out: any other length in the head makes a field twice, and so a head that is not plain.
    path, query, before, digits, after = found.groups()
    head = find_head(before + after)
    start = found.end()
    if head is None or (length := int(digits)) > max_content_bytes or start - found.start(3) > MAX_PLAIN_HEAD:
        return _NOT_PLAIN
    end = start + length
    if len(data) < end:
        return _INCOMPLETE
    dialect = _PATHS[path]
    return PlainRequest(
        head.fields, data[start:end], data[end:], None, head, dialect, query.decode() if query else ""
    )


def _unparsed(data: bytes) -> Unparsed:
    """Why there is no plain head in these bytes."""
    if (line := _LINE.match(data, 0, _MAX_LINE)) is None:
        return _INCOMPLETE if _GET.startswith(data) or _begins_line(data) else _NOT_PLAIN
    is_whole = data.find(b"\r\n\r\n", line.end() - 2, _MAX_HEAD) >= 0
    return _NOT_PLAIN if is_whole or len(data) >= _MAX_HEAD or _WRONG_END.search(data) else _INCOMPLETE


def _begins_line(data: bytes) -> bool:
    """Whether these bytes may be the beginning of a plain request line for an answer."""
    if b"\n" in data or len(data) >= _MAX_LINE:
        return False
    path, found, _ = data.partition(b"?")
    return path[5:] in _PATHS if found else any(line.startswith(data) for line in REQUEST_LINES)


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
    if fields is None or (kind and len(query) != len(pairs)):
        return _NOT_PLAIN
    target = EventsTarget(_KINDS[kind], name.decode("ascii"), query if kind else _multi_dict(pairs))
    return PlainRequest(fields, b"", data[end + 4 :], target)


def _multi_dict(pairs: list[list[str]]) -> MultiDict[str]:
    return MultiDict([(name, value) for name, value in pairs])
