"""Shell: answers that are streams of events: their heads, which a sink writes together with the first event."""

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


class EventStream:
    """The answer to one request, from its head on. aiohttp is only told how the connection goes on."""

    def __init__(self, request: web.Request, *, keep_alive: bool) -> None:
        """`keep_alive`: whether the connection may serve another request; HTTP/1.0 needs its end."""
        self._request = request
        self.chunked = request.version >= HttpVersion11
        self._keep_alive = keep_alive and self.chunked and bool(request.keep_alive)

    def head(self, headers: Mapping[str, str]) -> bytes:
        """The head, to be written before anything else; from now on there is no way to tell an error."""
        date = clock.http_date(int(clock.wall_time()))
        told = {**headers, **common_headers(self._request), "Date": date}
        head = http1.encode_ok(
            _FIELDS + http1.encode_fields(told.items()), chunked=self.chunked, keep_alive=self._keep_alive
        )
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
