"""Shell: answers that are streams of events: their heads, which a sink writes together with the first event."""

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


class EventStream:
    """The answer to one request, as far as its head and what its bytes mean for the connection.

    Best made while the answer is still waited for: all of the head that does not depend on it is written then.
    """

    __slots__ = ("_fields", "chunked", "keep_alive")

    def __init__(self, common: Mapping[str, str], *, chunked: bool, keep_alive: bool) -> None:
        """`common`: the headers of every answer. Without `chunked`, HTTP/1.0, the connection's end is the body's."""
        self.chunked = chunked
        self.keep_alive = keep_alive and chunked
        self._fields = _FIELDS + http1.encode_fields(common.items())
        _date_line(int(clock.wall_time()))  # once a second: not in front of a first token

    def head(self, headers: Mapping[str, str]) -> bytes:
        """To be written before anything else; from now on there is no way to tell an error."""
        told = http1.encode_fields(headers.items()) + _date_line(int(clock.wall_time()))
        return http1.encode_ok(self._fields + told, chunked=self.chunked, keep_alive=self.keep_alive)


class FinishedResponse(web.StreamResponse):
    """What a handler returns when all has been written: aiohttp does as if it had done so."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._goes_on = keep_alive

    @property
    def keep_alive(self) -> bool:
        """Whether the connection serves another request."""
        return self._goes_on

    async def prepare(self, request: web.BaseRequest) -> None:
        """Its head is out."""

    async def write_eof(self, data: bytes = b"") -> None:
        """So is its body."""
