"""Shell: the head of an answer that is a stream of events; a sink writes it together with the first event."""

import functools
from collections.abc import Mapping

from aiohttp import web

from gateway import clock
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
    """The head of the answer to one request, and what the end of its body means for the connection.

    Make it while the answer is still waited for: the fields that do not depend on the answer are encoded then.
    """

    __slots__ = ("_fields", "chunked", "keep_alive")

    def __init__(self, answer_headers: Mapping[str, str], *, chunked: bool, keep_alive: bool) -> None:
        """`answer_headers`: those of every answer. Without `chunked` (HTTP/1.0) the body ends with the connection."""
        self.chunked = chunked
        self.keep_alive = keep_alive and chunked
        self._fields = _FIELDS + http1.encode_fields(answer_headers.items())
        _date_line(int(clock.wall_time()))  # encoded once a second, here and not in front of a first token

    def encode(self, headers: Mapping[str, str]) -> bytes:
        """The bytes to write before anything else, with these headers too; behind them no error can be told."""
        fields = http1.encode_fields(headers.items()) + _date_line(int(clock.wall_time()))
        return http1.encode_ok(self._fields + fields, chunked=self.chunked, keep_alive=self.keep_alive)


class FinishedResponse(web.StreamResponse):
    """What a handler returns that has written all of its answer itself: aiohttp writes nothing more."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._serves_another = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection serves another request."""
        return self._serves_another

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write no head: it is out."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Write no end of the body: it is out."""
