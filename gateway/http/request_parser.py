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

_FIELDS_START = len(REQUEST_LINE)
_LENGTH = re.compile(rb"\r\nContent-Length:[ \t]*+([0-9]{1,7})[ \t]*+\r\n", re.IGNORECASE)

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
    if not data.startswith(REQUEST_LINE):
        return _INCOMPLETE if REQUEST_LINE.startswith(data) else _NOT_PLAIN
    end = data.find(b"\r\n\r\n", _FIELDS_START - 2, _FIELDS_START + MAX_PLAIN_HEAD)
    if end < 0:
        return _INCOMPLETE if len(data) < _FIELDS_START + MAX_PLAIN_HEAD else _NOT_PLAIN
    found = _LENGTH.search(data, _FIELDS_START - 2, end + 2)
    if found is None:
        return _NOT_PLAIN
    # Only the digits are left out: any other length in the head makes a field twice, and so a head that is not plain.
    first, last = found.span(1)
    head = find_head(data[_FIELDS_START:first] + data[last : end + 2])
    start, length = end + 4, int(found[1])
    if head is None or length > max_content_bytes:
        return _NOT_PLAIN
    end = start + length
    return PlainRequest(head, data[start:end], data[end:]) if len(data) >= end else _INCOMPLETE
