"""Shell: one client connection, whose requests are served by the fast way or by aiohttp.

In: the transport's events. Out: each request to one of the two ways; to the answer that is under way, that its client
is gone, takes no more bytes, or has room again. The invariant: a request is served by one of the two ways alone, and
aiohttp is given all of its bytes, from the first to the last.
"""

import asyncio
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Protocol, cast

from aiohttp import StreamReader, web

from gateway.borrowed_socket import BorrowedSocket
from gateway.delivery.sinks import TransportSink
from gateway.errors import ClientError, VersionNotSupported
from gateway.http import aiohttp_seam as seam
from gateway.http.capacity import ConnectionCount
from gateway.http.client_socket import set_options
from gateway.http.errors import WRONG_VERSION, render
from gateway.http.request_boundary import RequestBoundary
from gateway.http.request_id import new_request_id
from gateway.http.request_parser import PlainRequest, Unparsed
from gateway.turn_share import TurnShare

# How many bytes of later requests are held while the fast way answers. When more come, reading stops; from then on
# the gateway notices only at its next write that the client has hung up.
MAX_SENT_AHEAD = 1 << 20
MAX_READS_AHEAD = 1024  # in how many reads they may come: each read copies all that is held
MAX_PIECES = 16  # a request that comes in more reads goes to aiohttp, which puts it together in linear time
SLICE_BYTES = 8192  # of what aiohttp parses in one turn; they hold 1,400 chunks of one byte at most: 5 ms
# How many bytes of a body aiohttp keeps for whoever reads it; twice as many bytes, or a sixteenth of the number as
# chunks, and it parses no further. To read 4,096 chunks at once takes 5 ms.
UNREAD_BYTES = 65536
PIECES_SECONDS = 5.0  # a request that takes longer to arrive goes to aiohttp, which has a limit for slow bodies


class Server(StrEnum):
    """The way that serves a connection."""

    NOBODY = "nobody"  # between two requests; the beginning of the next one may be here
    FAST_WAY = "fast way"
    AIOHTTP = "aiohttp"
    CLOSED = "closed"


_SUCCESSORS: Mapping[Server, frozenset[Server]] = {
    Server.NOBODY: frozenset({Server.FAST_WAY, Server.AIOHTTP, Server.CLOSED}),
    # The fast way may decline a request, so that aiohttp answers it.
    Server.FAST_WAY: frozenset({Server.NOBODY, Server.AIOHTTP, Server.CLOSED}),
    Server.AIOHTTP: frozenset({Server.NOBODY, Server.CLOSED}),
    Server.CLOSED: frozenset({Server.CLOSED}),
}


class FastWay(Protocol):
    """The way of plain requests past aiohttp; one object for all connections."""

    def parse(self, data: bytes) -> PlainRequest | Unparsed:
        """The request that these bytes begin with."""

    def answer(self, client: "ClientProtocol", request: PlainRequest) -> bool:
        """Answer and then call `client.on_answered`, perhaps before this returns. False: aiohttp has to answer."""


class ClientProtocol(seam.HoldingHandler):
    """The protocol of one client's transport. Its events go to at most one answer at a time."""

    __slots__ = (
        "_awaited_body",
        "_borrowed",
        "_boundary",
        "_count",
        "_event_loop",
        "_fast_way",
        "_found_before",
        "_inherits_options",
        "_is_queued",
        "_on_gone",
        "_on_invalid",
        "_on_room",
        "_patience",
        "_pieces",
        "_served_by",
        "_share",
        "_sink",
        "_unread",
        "_when_answered",
    )

    def __init__(
        self,
        server: web.Server,
        count: ConnectionCount,
        fast_way: FastWay,
        share: TurnShare,
        *,
        loop: asyncio.AbstractEventLoop,
        on_invalid: Callable[[int, str], None] | None = None,
        inherits_options: bool = False,
        **options: Any,
    ) -> None:
        """Make the protocol of a new connection. `on_invalid` gets status and code of bytes that are no request.

        `inherits_options`: the listening socket has the options of `set_options`, and connections inherit them.
        """
        super().__init__(server, loop=loop, **options)
        self._event_loop = loop
        self._borrowed: BorrowedSocket | None = (
            None  # the transport's socket, from the beginning of the connection on
        )
        self._count = count
        self._fast_way = fast_way
        self._share = share
        self._is_queued = False  # a request waits for its share of a turn
        self._on_invalid = on_invalid
        self._inherits_options = inherits_options
        self._served_by = Server.NOBODY
        self._unread = b""  # the bytes that came and were given to neither way yet
        self._pieces = 0  # the number of reads that have brought the unread bytes
        self._patience: asyncio.TimerHandle | None = None  # runs while the rest of a request is waited for
        self._boundary: RequestBoundary | None = None  # reads the bytes given to aiohttp, while aiohttp serves
        self._found_before = 0  # the number of requests that aiohttp had found when it began to serve
        self._when_answered: asyncio.Future[None] | None = None
        self._on_gone: Callable[[], None] | None = None
        self._on_room: Callable[[], None] | None = None
        self._sink: TransportSink | None = None
        self._awaited_body: StreamReader | None = None

    @property
    def served_by(self) -> Server:
        """The way that serves the connection now."""
        return self._served_by

    @property
    def borrowed(self) -> BorrowedSocket:
        """The transport's socket, for bytes that go past the transport. The connection has to be made."""
        if self._borrowed is None:
            raise RuntimeError("the connection is not made yet")
        return self._borrowed

    # --- what an answer asks of its connection

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Call `on_gone` as soon as the client hangs up, by FIN or by RST."""
        self._on_gone = on_gone

    def feed_sink(self, sink: TransportSink, on_room: Callable[[], None]) -> None:
        """Keep the sink's `blocked` in step with the transport, and call `on_room` when there is room again."""
        self._sink = sink
        self._on_room = on_room
        sink.blocked = self.writing_paused  # bytes of the previous answer may still fill the transport

    def unwatch(self) -> None:
        """Forget the answer, which is over: the connection may serve another request."""
        self._on_gone = self._on_room = self._sink = None

    def reads(self, body: StreamReader | None) -> None:
        """Note the body that a handler waits for; None: the handler waits for no body."""
        self._awaited_body = body
        self._tell_broken_body()

    def on_answered(self, *, keep_alive: bool) -> None:
        """Go on to the next request, or close: the fast way has answered its request."""
        if self._when_answered is not None and not self._when_answered.done():
            self._when_answered.set_result(None)
        if self._served_by is Server.CLOSED:
            return
        if not keep_alive or seam.is_closing(self) or self.transport is None:
            self._become(Server.CLOSED)
            self.force_close()
            return
        self._become(Server.NOBODY)
        self._pieces = 0
        seam.start_keepalive_timer(self)
        if self._unread:
            self.transport.resume_reading()
            self._event_loop.call_soon(self._offer)

    def let_go(self) -> None:
        """Close the transport at once: the fast way goes on with a duplicate of its socket."""
        self._become(Server.CLOSED)
        if self.transport is not None:
            self.transport.abort()

    # --- what the transport brings

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._count.on_made()
        seam.connect(self, cast(asyncio.Transport, transport))
        borrowed = self._borrowed = BorrowedSocket(transport)
        if not self._inherits_options:
            set_options(borrowed.take())

    def data_received(self, data: bytes) -> None:
        """Take bytes of the client. aiohttp calls this too, with no bytes, when it wants its parser to go on."""
        served_by = self._served_by
        if served_by is Server.NOBODY and data:
            self._unread += data
            self._offer()
            return
        if served_by is Server.AIOHTTP:
            if self.held or not (data and self._aiohttp_is_done()):
                self._take_for_aiohttp(data)
                return
            self._boundary = None
            self._become(Server.NOBODY)
        if served_by is Server.CLOSED or not data:
            return
        self._unread += data
        if self._served_by is Server.NOBODY:
            self._offer()
            return
        self._pieces += 1
        is_much = len(self._unread) > MAX_SENT_AHEAD or self._pieces >= MAX_READS_AHEAD
        if is_much and self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> None:
        # A client that has half-closed its connection counts as gone, as in nginx. With bytes still unsent, the
        # transport would report the loss only after they were sent, so it is aborted.
        if self._on_gone is not None:
            on_gone = self._on_gone
            if self.transport is not None:
                self.transport.abort()
            on_gone()
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._count.on_lost()
        if self._borrowed is not None:
            self._borrowed.give_back()
        self._stop_waiting()
        self._become(Server.CLOSED)
        self._unread = self.held = b""
        self._boundary = None
        seam.end_lingering(self)
        super().connection_lost(exc)
        if self._on_gone is not None:
            self._on_gone()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._sink is not None:
            self._sink.blocked = True

    def resume_writing(self) -> None:
        super().resume_writing()
        sink = self._sink
        if sink is not None and (sink.part_writer is None or not sink.part_writer.go_on()):
            self.on_parts_written()

    # --- what the sink asks of its transport's protocol (PartOwner)

    def run_later(self, work: Callable[[], None]) -> None:
        self._event_loop.call_soon(self._share.run, work)

    def on_parts_written(self) -> None:
        if self._sink is not None and self._on_room is not None:
            self._sink.blocked = False
            self._on_room()

    # --- what aiohttp's server asks of its connection

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - as aiohttp calls it
        """Let the answer under way end, within `timeout` seconds, and close."""
        if self._served_by is Server.FAST_WAY:
            self._when_answered = self._event_loop.create_future()
            await asyncio.wait([self._when_answered], timeout=timeout)
        await super().shutdown(timeout)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to bytes that are not a valid HTTP request; aiohttp calls this before any handler runs."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun: an error can no longer be told")
        text = (message or "it cannot be parsed").splitlines()[0]
        if seam.is_about_version(message or ""):
            seam.answer_as_http11(request)
            error: ClientError = VersionNotSupported(WRONG_VERSION)
        else:
            error = ClientError(f"this is not a valid HTTP request: {text}")
        refused = render(error, {"x-request-id": new_request_id()})
        if self._on_invalid is not None:
            self._on_invalid(refused.status, refused.code)
        response = refused.response()
        response.force_close()
        return response

    # --- inside

    def _become(self, served_by: Server) -> None:
        if served_by not in _SUCCESSORS[self._served_by]:
            raise RuntimeError(f"a connection served by {self._served_by} cannot go to {served_by}")
        self._served_by = served_by

    def _offer(self) -> None:
        """Let the unread bytes be served as soon as it is their turn."""
        if not self._is_queued:
            self._is_queued = True
            self._share.run(self._serve)

    def _serve(self) -> None:
        """Give the unread bytes to one of the two ways, if they begin a request and neither way serves now."""
        self._is_queued = False
        if self._served_by is not Server.NOBODY or not self._unread or seam.is_closing(self):
            return
        if self.writing_paused:  # the client does not take its answers: aiohttp waits until the client does
            self._leave_to_aiohttp()
            return
        data = self._unread
        request = self._fast_way.parse(data)
        if request is Unparsed.INCOMPLETE and self._pieces < MAX_PIECES:
            self._pieces += 1
            if self._patience is None:
                self.keep_alive(True)  # the connection is not idle: its timer must not cut the request off
                self._patience = self._event_loop.call_later(PIECES_SECONDS, self._leave_to_aiohttp)
            return
        self._stop_waiting()
        if isinstance(request, PlainRequest):
            self._become(Server.FAST_WAY)
            self.keep_alive(True)  # stops the timer of an idle connection
            self._unread = request.rest
            if self._fast_way.answer(self, request):
                return
            self._unread = data
        self._leave_to_aiohttp()

    def _leave_to_aiohttp(self) -> None:
        """Give aiohttp the request that the unread bytes begin, and all that comes until aiohttp is done."""
        self._stop_waiting()
        self._become(Server.AIOHTTP)
        seam.begin(self)
        self._share.take_rest()  # aiohttp answers in a task of its own, which starts in the next turn
        self._boundary, self._found_before = RequestBoundary(), seam.requests_found(self)
        data, self._unread = self._unread, b""
        self._take_for_aiohttp(data)

    def _take_for_aiohttp(self, data: bytes) -> None:
        """Give aiohttp these bytes; of many bytes the first now, and the others in later turns."""
        if not self.held and len(data) <= SLICE_BYTES:
            self._feed_aiohttp(data)
            return
        if data:
            self.held += data
        else:  # aiohttp's parser goes on with what it has, which comes before what is held
            self._feed_aiohttp(data)
        self._wait_for_slice()

    def _wait_for_slice(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()
        if not self._is_queued:
            self._is_queued = True
            self._event_loop.call_soon(self._share.run, self._feed_slice)

    def _feed_slice(self) -> None:
        """Give aiohttp the next of the bytes that are held: a slice, or all that belong to a body of known length."""
        self._is_queued = False
        if seam.has_enough(self):
            return
        size = SLICE_BYTES if self._boundary is None else max(SLICE_BYTES, self._boundary.left)
        data, self.held = self.held[:size], self.held[size:]
        if data:
            self._feed_aiohttp(data)
        if self.held:
            self._wait_for_slice()
        elif data:
            seam.resume_reading(self)

    def _feed_aiohttp(self, data: bytes) -> None:
        for piece in (data,) if self._boundary is None else self._boundary.feed(data):
            super().data_received(piece)
        self._tell_broken_body()

    def _tell_broken_body(self) -> None:
        """End the wait for a body whose framing is broken: aiohttp queues its error behind the body's request."""
        body = self._awaited_body
        if body is not None and not body.is_eof() and seam.has_found_broken_bytes(self):
            body.set_exception(web.RequestPayloadError("the framing is broken"))

    def _aiohttp_is_done(self) -> bool:
        """Whether aiohttp has answered all that it was given, and its parser holds no part of a next request."""
        found = seam.requests_found(self) - self._found_before
        return seam.is_idle(self) and self._boundary is not None and self._boundary.follows(found)

    def _stop_waiting(self) -> None:
        self._pieces = 0
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
            seam.start_keepalive_timer(self)  # it ends a head that aiohttp waits for in vain, too
