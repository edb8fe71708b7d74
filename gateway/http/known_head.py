"""Pure: what is known of the head of a plain request, for all requests that begin with the same bytes.

In: the field lines of a head, without the length of its body. Out: a `KnownHead`, or None for a head that is not
plain. A client sends one head again and again, but for the length, so what follows from its bytes alone is found out
once; that takes 600 bytecodes (bench/README.md). Whatever may change between two requests, such as the keys, the
rates and the capacity, is no part of it.
"""

from multidict import CIMultiDict, CIMultiDictProxy

from gateway.access.callers import CallerMemory
from gateway.access.secret import BARE_FIELDS
from gateway.http.answer_plan import asks_nothing
from gateway.http.request_id import sent_request_id
from gateway.wire import http1

MAX_KNOWN_HEADS = 128  # heads that are remembered; the least recently used one is forgotten first
MAX_PLAIN_FIELDS = 100  # a browser sends 20; from 129 on aiohttp refuses a request

# Fields of requests that need more than their fields and body: a decoder, an interim answer, another protocol.
_NOT_PLAIN = frozenset({"transfer-encoding", "content-encoding", "expect", "origin", "upgrade", "sec-websocket-key1"})
# A subscription may come from a page of another site (`Origin`): `EventSource` sends no preflight. It has no body.
_NOT_PLAIN_SUBSCRIPTION = (_NOT_PLAIN - {"origin"}) | {"content-length"}
_KEYS = frozenset({"authorization", *BARE_FIELDS})  # with two of them, the gate has to see whether they differ


class KnownHead:
    """The head of plain requests; nobody changes it but for the memory of its caller."""

    __slots__ = ("asks_nothing", "caller", "fields", "headers", "request_id")

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.fields = fields  # in their order; the value of `Content-Length` is empty
        self.headers = CIMultiDictProxy(CIMultiDict(fields))
        self.request_id = sent_request_id(self.headers)  # the client's own; None: each request gets a new one
        self.asks_nothing = asks_nothing(self.headers)
        self.caller = CallerMemory()


def known_head(lines: bytes) -> KnownHead | None:
    """The head with these field lines, of which `Content-Length` has no value; None if the head is not plain."""
    fields = _plain_fields(lines, _NOT_PLAIN)
    return None if fields is None else KnownHead(fields)


def plain_subscription_fields(lines: bytes) -> list[tuple[str, str]] | None:
    """The fields in these lines of a request for events; None if the head is not plain."""
    return _plain_fields(lines, _NOT_PLAIN_SUBSCRIPTION)


def _plain_fields(lines: bytes, not_plain: frozenset[str]) -> list[tuple[str, str]] | None:
    try:
        fields = http1.parse_fields(lines)
    except ValueError:
        return None
    known = {name.lower(): value for name, value in fields}
    is_plain = (
        len(known) == len(fields) <= MAX_PLAIN_FIELDS
        and "host" in known
        and not_plain.isdisjoint(known)
        and len(_KEYS & known.keys()) <= 1
        and known.get("connection", "keep-alive").lower() == "keep-alive"
    )
    return fields if is_plain else None
