"""Shell: the client's side of a connection, as far as a stream has to know it: gone, full, room again.

aiohttp's request handler with the transport's events passed on in the very call, so that a client that hangs up
aborts its upstream without waiting for a task, or for something to be written.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sized
from typing import Any, cast

from aiohttp import StreamReader, web
from aiohttp.http import RawRequestMessage

from gateway.api.envelope import error_response, new_request_id
from gateway.errors import ClientError
from gateway.stream.sink import Sink

# Bytes that may wait in the kernel for one client without being sent. Without this limit a client that reads nothing
# has 3,900 KiB of the kernel's memory before anybody notices, with it 200; a replay and a token cost the same
# (bench/NOTES.md).
MAX_UNSENT_IN_KERNEL = 65536


class Census:
    """How many client connections the HTTP server holds; sockets that were taken over have left it."""

    __slots__ = ("connections",)

    def __init__(self) -> None:
        self.connections = 0


class InlineLoop:
    """An event loop, as far as aiohttp's request handler asks it, that runs a handler in the connection's own task.

    aiohttp starts a task for every request, lest handlers see each other's context variables; ours set none.
    Before Python 3.12, where tasks start eagerly, that is a turn of the loop for nothing: 13 us of every first token.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, waiting: Sized) -> None:
        """`waiting`: the connection's requests that have come already."""
        self._loop = loop
        self._waiting = waiting
        self.time = loop.time
        self.call_at = loop.call_at
        self.create_future = loop.create_future

    def create_task(self, handler: Coroutine[Any, Any, Any]) -> Awaitable[Any]:
        """Nothing but the handler, which is awaited in the next line.

        A task while more requests wait: one that sends thousands ahead must not keep the loop to itself.
        """
        return self._loop.create_task(handler) if self._waiting else handler


class ClientProtocol(web.RequestHandler):
    """One client connection. At most one request at a time watches it."""

    __slots__ = ("_body", "_census", "_inline", "_on_gone", "_on_room", "_sink")

    def __init__(
        self,
        server: web.Server,
        census: Census,
        *,
        loop: asyncio.AbstractEventLoop,
        inline: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(server, loop=loop, **options)
        self._census = census
        self._inline = InlineLoop(loop, self._messages) if inline else None
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

    def unwatch(self) -> None:
        """The request is over; the connection may serve another."""
        self._on_gone = self._on_room = self._sink = None

    def reads(self, body: StreamReader | None) -> None:
        """A handler is reading this body; None: it has done so."""
        self._body = body

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # When the framing of a body breaks, aiohttp queues its error behind the request whose body it is, and the
        # handler would wait for the rest for ever.
        if self._body is not None and self._messages and not isinstance(self._messages[-1][0], RawRequestMessage):
            self._body.set_exception(web.RequestPayloadError("the framing is broken"))

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
        if self._inline is not None:
            self._loop = cast(asyncio.AbstractEventLoop, self._inline)  # only behind the start of its own task
        connected = transport.get_extra_info("socket")
        if connected is not None and connected.family in (socket.AF_INET, socket.AF_INET6):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_IN_KERNEL)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._census.connections -= 1
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
