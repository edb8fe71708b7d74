"""Pure: tells by its first bytes whether a body is a stream of events, where its `Content-Type` does not say so.

In: the first bytes. Out: whether they begin events, or one JSON object in their place, or anything else.
"""

from collections.abc import Callable

from gateway.upstream.bodies import Steps

_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
ENOUGH = 65536  # bytes of nothing but blanks, which some servers send to keep a connection alive
_FIELDS = (b"data", b"event", b"id", b"retry")  # WHATWG HTML, section 9.2.6


def begins_events(head: bytes) -> bool | None:
    """Whether a body that begins with these bytes is to be read as events; None: more bytes have to tell."""
    head = head.removeprefix(_BOM).lstrip(_BLANKS)
    if not head or _BOM.startswith(head):
        return None
    if head.startswith((b":", b"{")):
        return True
    name, colon, _ = head[:8].partition(b":")
    if colon:
        return name in _FIELDS
    return None if any(field.startswith(head) for field in _FIELDS) else False


def begins_events_alone(head: bytes) -> bool | None:
    """Whether a body that begins with these bytes is events, and no JSON; None: more bytes have to tell."""
    return False if head.removeprefix(_BOM).lstrip(_BLANKS).startswith(b"{") else begins_events(head)


class UndecidedBody:
    """A body that is not called an event stream, until its first bytes tell what it is.

    `decide` is told whether they begin events, and returns the handler that takes them and all that follow.
    """

    __slots__ = ("_decide", "_head", "_take")

    def __init__(self, decide: Callable[[bool], Callable[[bytes], Steps]]) -> None:
        self._decide = decide
        self._head = bytearray()
        self._take: Callable[[bytes], Steps] | None = None

    def feed(self, data: bytes) -> Steps:
        """Take the next bytes of the body."""
        if self._take is None:
            self._head += data
            if (are_events := begins_events(bytes(self._head[:ENOUGH]))) is None and len(self._head) < ENOUGH:
                return None
            self._take, data = self._decide(bool(are_events)), bytes(self._head)
        return self._take(data)
