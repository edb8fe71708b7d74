"""Pure: the parser of plain completion requests, in the bytes that a connection has brought.

In: all bytes since the last request. Out: a `PlainRequest` with the bytes that follow it, or the reason why there is
none. A request is plain if its answer depends on its fields and its body alone: `POST /v1/chat/completions` by
HTTP/1.1, one `Host`, one field for the key at most, no field twice, a short body of a known length. The parser
accepts part of what RFC 9112 allows, and never more than aiohttp accepts, so that both ways answer a request alike.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from gateway.access.secret import BARE_FIELDS
from gateway.dialects.chat.dialect import CHAT
from gateway.wire import http1

REQUEST_LINE = http1.encode_request_line("POST", CHAT.path)
MAX_CONTENT_BYTES = 262144  # a longer body comes in many reads, and only aiohttp joins those in linear time
MAX_PLAIN_FIELDS = 100  # a browser sends 20; from 129 on aiohttp refuses a request

# Fields of requests that need more than their fields and body: a decoder, an interim answer, another protocol.
_NOT_PLAIN = frozenset({"transfer-encoding", "content-encoding", "expect", "origin", "upgrade", "sec-websocket-key1"})
_KEYS = frozenset({"authorization", *BARE_FIELDS})
_ODD = _NOT_PLAIN | {*BARE_FIELDS}  # fields that most plain requests have none of
_MAX_LENGTH_DIGITS = 7


class Unparsed(Enum):
    """Why there is no plain request."""

    INCOMPLETE = "incomplete"  # the bytes so far may be the beginning of a plain request
    NOT_PLAIN = "not plain"  # the bytes are no plain request, whatever follows


class PlainRequest(NamedTuple):
    """One request: its fields in their order, its body, and the bytes that follow it."""

    fields: list[tuple[str, str]]
    content: bytes
    rest: bytes


def parse_request(data: bytes, max_content_bytes: int = MAX_CONTENT_BYTES) -> PlainRequest | Unparsed:
    """The plain request that `data` begins with. A body of more than `max_content_bytes` is not plain."""
    if not data.startswith(REQUEST_LINE):
        return Unparsed.INCOMPLETE if REQUEST_LINE.startswith(data) else Unparsed.NOT_PLAIN
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


def _plain_length(fields: list[tuple[str, str]]) -> int | None:
    """The length of the body behind a head with these fields; None if the head is not plain."""
    known = {name.lower(): value for name, value in fields}
    length = known.get("content-length", "")
    if (
        len(known) != len(fields)
        or len(known) > MAX_PLAIN_FIELDS
        or "host" not in known
        or not (_ODD.isdisjoint(known) or _differs_by_key_alone(known))
        or known.get("connection", "keep-alive").lower() != "keep-alive"
        or not (length.isdigit() and len(length) <= _MAX_LENGTH_DIGITS)
    ):
        return None
    return int(length)


def _differs_by_key_alone(known: Mapping[str, str]) -> bool:
    """Whether the only odd field is a key that is not in `Authorization`, and the request has no other key."""
    return _NOT_PLAIN.isdisjoint(known) and len(_KEYS & known.keys()) == 1
