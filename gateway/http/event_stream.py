"""Shell: the response head of an event stream; a sink writes it together with the first event."""

import functools
from collections.abc import Mapping

from aiohttp import web

from gateway import clock
from gateway.http.errors import SERVER_NAME
from gateway.wire import http1

_FIELDS = http1.encode_fields(
    [
        ("Content-Type", "text/event-stream; charset=utf-8"),
        ("Cache-Control", "no-cache, no-transform"),
        ("X-Accel-Buffering", "no"),
    ]
)


@functools.lru_cache(maxsize=2)
def _date_line(unix: int) -> bytes:
    return http1.encode_fields([("Date", clock.http_date(unix))])


class EventStreamHead:
    """The response head of one streamed answer, and whether the connection may serve another request afterwards.

    To be made while the answer is awaited, since it encodes at once all fields that do not depend on the answer.
    """

    __slots__ = ("_fields", "chunked", "keep_alive")

    def __init__(self, answer_headers: Mapping[str, str], *, chunked: bool, keep_alive: bool) -> None:
        """Encode `answer_headers`, which every answer has. Without `chunked` the body ends with the connection."""
        self.chunked = chunked
        self.keep_alive = keep_alive and chunked
        self._fields = _FIELDS + http1.encode_fields(answer_headers.items())
        _date_line(int(clock.wall_time()))  # encoded once a second, here and not in front of a first token

    def encode(self, headers: Mapping[str, str]) -> bytes:
        """The bytes of the head, with these headers added; once they are written, no error can be told any more."""
        fields = http1.encode_fields(headers.items()) + _date_line(int(clock.wall_time()))
        return http1.encode_ok(self._fields + fields, chunked=self.chunked, keep_alive=self.keep_alive)


def encode_events_head(headers: Mapping[str, str], *, chunked: bool) -> bytes:
    """The head of a subscription.

    Its connection serves no other request, and the head does not say so: with `Connection: close`, fetch in Node
    takes a connection that is cut for the end of the body, and its client would not come again.
    """
    fields = _FIELDS + http1.encode_fields(headers.items()) + _date_line(int(clock.wall_time()))
    return http1.encode_ok(fields, chunked=chunked, keep_alive=True)


def encode_no_content(answer_headers: Mapping[str, str]) -> bytes:
    """The bytes of an answer with status 204, after which an `EventSource` does not come again."""
    fields = {"Date": clock.http_date(int(clock.wall_time())), "Server": SERVER_NAME, **answer_headers}
    return http1.encode_response(204, "No Content", fields.items())


class FinishedResponse(web.StreamResponse):
    """The response of a handler that has written all of its answer itself: aiohttp writes nothing more."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._serves_another = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection serves another request."""
        return self._serves_another

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write no head, since the head has been written."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write no end of the body, since the end has been written."""
