"""Shell: answers that are streams of events: their heads, which a sink writes together with the first event."""

import functools
from collections.abc import Mapping

from aiohttp import HttpVersion11, web

from gateway import clock
from gateway.api.identity import common_headers
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
    """The answer to one request, from its head on. aiohttp is only told how the connection goes on.

    Best made while the answer is still waited for: all of the head that does not depend on it is written then.
    """

    def __init__(self, request: web.Request, *, keep_alive: bool) -> None:
        """`keep_alive`: whether the connection may serve another request; HTTP/1.0 needs its end."""
        self._request = request
        self.chunked = request.version >= HttpVersion11
        self._keep_alive = keep_alive and self.chunked and bool(request.keep_alive)
        self._fields = _FIELDS + http1.encode_fields(common_headers(request).items())

    def head(self, headers: Mapping[str, str]) -> bytes:
        """The head, to be written before anything else; from now on there is no way to tell an error."""
        told = http1.encode_fields(headers.items()) + _date_line(int(clock.wall_time()))
        head = http1.encode_ok(self._fields + told, chunked=self.chunked, keep_alive=self._keep_alive)
        self._request.writer.output_size += len(head)
        return head

    def written(self) -> web.StreamResponse:
        """What a handler returns when all of it has been written."""
        return _Written(self._keep_alive)


class _Written(web.StreamResponse):
    """Nothing is left to write, and aiohttp does as if it had written it."""

    def __init__(self, keep_alive: bool) -> None:
        super().__init__()
        self._goes_on = keep_alive

    @property
    def keep_alive(self) -> bool:
        return self._goes_on

    async def prepare(self, request: web.BaseRequest) -> None:
        """Its head is out."""

    async def write_eof(self, data: bytes = b"") -> None:
        """So is its body."""
