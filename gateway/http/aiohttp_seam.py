"""Shell: the client's side of a connection, as far as a stream has to know it: gone, full, room again.

aiohttp's request handler with the transport's events passed on in the very call, so that a client that hangs up
aborts its upstream without waiting for a task, or for something to be written.
"""

import asyncio
import socket
from collections.abc import Callable
from enum import Enum
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage

from gateway.delivery.sinks import Sink
from gateway.errors import ClientError
from gateway.http.errors import error_response, new_request_id

# Bytes that may wait in the kernel for one client without being sent. Without this limit a client that reads nothing
# has 3,900 KiB of the kernel's memory before anybody notices, with it 200; a replay and a token cost the same
# (bench/NOTES.md).
MAX_UNSENT_IN_KERNEL = 65536
# Bytes of next requests that are held while one is answered. Beyond them nothing is read; that the client hangs up is
# noticed with the next bytes for it then.
MAX_SENT_AHEAD = 1 << 20
MAX_PIECES = 16  # of a request: to put together more of them is what aiohttp is made for
PIECES_SECONDS = 5.0  # in which the rest of a request must come: aiohttp, and its limits, are made for slower ones


class Census:
    """How many client connections the HTTP server holds; sockets that were taken over have left it."""

    __slots__ = ("connections",)

    def __init__(self) -> None:
        self.connections = 0


class Verdict(Enum):
    """What the shortcut says to the bytes of a request."""

    TAKEN = "taken"  # it answers, and calls `on_answered` when that is done
    INCOMPLETE = "incomplete"  # it may, when the rest is here
    LEFT = "left"  # it does not


Shortcut = Callable[["ClientProtocol", bytes], Verdict]


class ClientProtocol(web.RequestHandler):
    """One client connection. At most one request at a time watches it.

    Its requests are offered to the shortcut, which answers in the call that brings the last byte. From the first one
    that is left, bytes go to aiohttp, for good: whether its parser stands between two requests cannot be known.
    """

    __slots__ = (
        "_answering",
        "_body",
        "_census",
        "_on_gone",
        "_on_room",
        "_patience",
        "_pending",
        "_pieces",
        "_shortcut",
        "_sink",
        "_when_answered",
    )

    def __init__(
        self,
        server: web.Server,
        census: Census,
        shortcut: Shortcut,
        *,
        loop: asyncio.AbstractEventLoop,
        **options: Any,
    ) -> None:
        super().__init__(server, loop=loop, **options)
        self._census = census
        self._shortcut: Shortcut | None = shortcut  # None: aiohttp has taken over
        self._answering = False  # the shortcut is at work
        self._pending = b""  # that nobody has looked at yet, or that is no whole request
        self._pieces = 0  # of that
        self._patience: asyncio.TimerHandle | None = None  # with it
        self._when_answered: asyncio.Future[None] | None = None
        self._on_gone: Callable[[], None] | None = None
        self._on_room: Callable[[], None] | None = None
        self._sink: Sink | None = None
        self._body: StreamReader | None = None

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call this when the client hangs up, by FIN or by RST."""
        self._on_gone = on_gone

    def feed_sink(self, sink: Sink, on_room: Callable[[], None]) -> None:
        """Keep the sink's `blocked` true to the transport, and say when it has room again."""
        self._sink = sink
        self._on_room = on_room
        sink.blocked = self.writing_paused  # still by the answer before

    def unwatch(self) -> None:
        """The request is over; the connection may serve another."""
        self._on_gone = self._on_room = self._sink = None

    def reads(self, body: StreamReader | None) -> None:
        """A handler is reading this body; None: it has done so."""
        self._body = body

    def on_answered(self, *, keep_alive: bool) -> None:
        """The request that the shortcut has taken is answered."""
        self._answering = False
        if self._when_answered is not None and not self._when_answered.done():
            self._when_answered.set_result(None)
        if not keep_alive or self._close or self._force_close or self.transport is None:
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        if self._pending:
            self.transport.resume_reading()
            self._loop.call_soon(self._offer)

    def data_received(self, data: bytes) -> None:
        if self._shortcut is not None:
            self._pending += data
            if not self._answering:
                self._offer()
            elif len(self._pending) > MAX_SENT_AHEAD and self.transport is not None:
                self.transport.pause_reading()
            return
        super().data_received(data)
        # When the framing of a body breaks, aiohttp queues its error behind the request whose body it is, and the
        # handler would wait for the rest for ever.
        if self._body is not None and self._messages and not isinstance(self._messages[-1][0], RawRequestMessage):
            self._body.set_exception(web.RequestPayloadError("the framing is broken"))

    def _offer(self) -> None:
        """Show the shortcut what has come."""
        if self._answering or not self._pending or self._shortcut is None or self._force_close or self._close:
            return
        if self.writing_paused:  # the client does not take its answers: aiohttp waits for it
            self._leave()
            return
        data, self._pending = self._pending, b""
        self._answering = True
        verdict = self._shortcut(self, data)
        if verdict is Verdict.INCOMPLETE and self._pieces < MAX_PIECES:
            self._answering, self._pending = False, data
            self._pieces += 1
            self._patience = self._patience or self._loop.call_later(PIECES_SECONDS, self._leave)
            return
        self._stop_waiting()
        if verdict is not Verdict.TAKEN:
            self._answering, self._pending = False, data
            self._leave()

    def _leave(self) -> None:
        """From here on aiohttp serves this connection."""
        self._stop_waiting()
        data, self._pending, self._shortcut = self._pending, b"", None
        self.data_received(data)

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - as aiohttp calls it
        """Let the answer that is under way end, for so many seconds, and close."""
        if self._answering:
            self._when_answered = self._loop.create_future()
            await asyncio.wait([self._when_answered], timeout=timeout)
        await super().shutdown(timeout)

    def _stop_waiting(self) -> None:
        self._pieces = 0
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def eof_received(self) -> None:
        # A client that has half-closed is gone, as nginx sees it too. With bytes still unsent the transport would
        # wait for them before it says so.
        if self._on_gone is not None:
            on_gone = self._on_gone
            if self.transport is not None:
                self.transport.abort()
            on_gone()
        super().eof_received()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._census.connections += 1
        super().connection_made(transport)
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_IN_KERNEL)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._census.connections -= 1
        self._stop_waiting()
        self._shortcut, self._pending = None, b""
        super().connection_lost(exc)
        if self._on_gone is not None:
            self._on_gone()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._sink is not None:
            self._sink.blocked = True

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._sink is not None and self._on_room is not None:
            self._sink.blocked = False
            self._on_room()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp finds wrong before a handler runs: bytes that are no HTTP request. In our envelope."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, there is no way to tell an error")
        text = (message or "it cannot be parsed").splitlines()[0]
        response = error_response(ClientError(f"this is not a valid HTTP request: {text}"))
        response.headers.update({"x-request-id": new_request_id(), "Server": "rivergate"})
        response.force_close()
        return response
