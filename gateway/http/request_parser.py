"""Pure: the parser of plain completion requests, in the bytes that a connection has brought.

In: all bytes since the last request. Out: a `PlainRequest` with the bytes that follow it, or the reason why there is
none. A request is plain if its answer depends on its fields and its body alone: `POST /v1/chat/completions` by
HTTP/1.1, one `Host`, no field twice, a short body of a known length. The parser accepts part of what RFC 9112 allows,
and never more than aiohttp accepts, so that both ways answer a request alike.
"""

import re
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from gateway.dialects.chat.dialect import CHAT
from gateway.http.known_head import MAX_KNOWN_HEADS, KnownHead, known_head
from gateway.wire import http1

REQUEST_LINE = http1.encode_request_line("POST", CHAT.path)
MAX_CONTENT_BYTES = 262144  # a longer body comes in many reads, and only aiohttp joins those in linear time
MAX_PLAIN_HEAD = 8000  # bytes of the fields; a request with more is not plain

_MAX_HEAD = len(REQUEST_LINE) + MAX_PLAIN_HEAD
# The request line, then the field lines, in two parts around the digits of the length.
_PLAIN = re.compile(
    re.escape(REQUEST_LINE)
    + rb"((?:[^\r\n]++\r\n)*?(?i:Content-Length):[ \t]*+)([0-9]{1,7})([ \t]*+\r\n(?:[^\r\n]++\r\n)*+)\r\n"
)

HeadFinder = Callable[[bytes], KnownHead | None]
"""Finds the head with these field lines, of which `Content-Length` has no value; None if the head is not plain."""


class Unparsed(Enum):
    """Why there is no plain request."""

    INCOMPLETE = "incomplete"  # the bytes so far may be the beginning of a plain request
    NOT_PLAIN = "not plain"  # the bytes are no plain request, whatever follows


_INCOMPLETE, _NOT_PLAIN = Unparsed.INCOMPLETE, Unparsed.NOT_PLAIN


class PlainRequest(NamedTuple):
    """One request: its head, its body, and the bytes that follow it."""

    head: KnownHead
    content: bytes
    rest: bytes


def head_finder() -> HeadFinder:
    """A finder that remembers the heads that it found last."""
    return lru_cache(maxsize=MAX_KNOWN_HEADS)(known_head)


def parse_request(
    data: bytes, max_content_bytes: int = MAX_CONTENT_BYTES, find_head: HeadFinder = known_head
) -> PlainRequest | Unparsed:
    """The plain request that `data` begins with. A body of more than `max_content_bytes` is not plain."""
    found = _PLAIN.match(data, 0, _MAX_HEAD)
    if found is None:
        return _unparsed(data)
    # Only the digits are left out: any other length in the head makes a field twice, and so a head that is not plain.
    before, digits, after = found.groups()
    head = find_head(before + after)
    if head is None or (length := int(digits)) > max_content_bytes:
        return _NOT_PLAIN
    start = found.end()
    end = start + length
    return PlainRequest(head, data[start:end], data[end:]) if len(data) >= end else _INCOMPLETE


def _unparsed(data: bytes) -> Unparsed:
    """Why there is no plain head in these bytes."""
    if not data.startswith(REQUEST_LINE):
        return _INCOMPLETE if REQUEST_LINE.startswith(data) else _NOT_PLAIN
    is_whole = data.find(b"\r\n\r\n", len(REQUEST_LINE) - 2, _MAX_HEAD) >= 0
    return _NOT_PLAIN if is_whole or len(data) >= _MAX_HEAD else _INCOMPLETE
