"""Shell: the socket of one HTTP/1.1 client connection: requests out, response heads and bodies in, by callbacks.

In: bytes of a request. Out: `ResponseReceiver` callbacks in the call of the read that brought the bytes; no await,
no queue. A read that is more work than a turn of the loop has time for is worked on in later turns, while nothing
more is read (upstream/read_work.py). The invariant: an exchange ends exactly once, with `on_end` or `on_lost`; a
connection is handed back to its owner only after a response that ended as it was framed.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, cast

from gateway.borrowed_socket import BorrowedSocket
from gateway.errors import GatewayError, RivergateError, UpstreamError
from gateway.upstream.acknowledgement import acknowledge
from gateway.upstream.bodies import Steps
from gateway.upstream.long_request import LongRequestSender, Request
from gateway.upstream.pace import Pace
from gateway.upstream.read_work import SLICE_BYTES, ReadWork
from gateway.upstream.response_parser import BEFORE_BODY, IN_BODY, ResponseParser, ResponseState
from gateway.upstream.whole_chunk import ChunkHandler, replaced, shortcut

# Members in constants: CPython 3.11 takes 0.4 us to find the member of an Enum by its name.
_BETWEEN_CHUNKS, _ENDED, _ENDED_LAST = ResponseState.BETWEEN_CHUNKS, ResponseState.ENDED, ResponseState.ENDED_LAST

BodyHandler = Callable[[bytes], Steps]
"""Takes the next bytes of a body: all that one read has brought. Returns the steps that are left to do, if any."""


class ResponseReceiver(Protocol):
    """One request and its response, as the connection sees it."""

    def on_head(self, status: int, headers: Mapping[str, str]) -> BodyHandler:
        """Take the response head, its field names in lower case; the result takes the bytes of the body."""

    def on_end(self) -> None:
        """The body ended as it was framed (RFC 9112 section 6.3)."""

    def on_lost(self, error: RivergateError, *, untouched: bool) -> None:
        """The exchange failed. `untouched`: no byte of an answer came, on a connection that had served others."""


class UpstreamConnection(asyncio.Protocol):
    """A connection to one origin; carries one exchange at a time."""

    __slots__ = (
        "_body",
        "_borrowed",
        "_chunks",
        "_exchange",
        "_is_held",
        "_is_lost",
        "_is_urgent",
        "_on_idle",
        "_on_lost",
        "_pace",
        "_parser",
        "_sender",
        "_take",
        "_transport",
        "_work",
        "exchanges",
    )

    def __init__(
        self,
        on_idle: Callable[["UpstreamConnection"], None],
        on_lost: Callable[["UpstreamConnection"], None],
        pace: Pace | None = None,
    ) -> None:
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._pace = pace or Pace()
        self._transport: asyncio.Transport | None = None
        self._borrowed: BorrowedSocket | None = (
            None  # the transport's socket, from the beginning of the connection on
        )
        self._exchange: ResponseReceiver | None = None
        self._parser = ResponseParser()
        self._body: BodyHandler = ignore
        self._chunks: ChunkHandler | None = None
        self._take: ChunkHandler | None = None  # is offered the next read before the parser (whole_chunk.py)
        self._is_urgent = False  # the next read is acknowledged at once
        self._sender: LongRequestSender | None = None  # writes a long request, which takes several turns
        self._work: ReadWork | None = None  # what is left to do for a read; no further byte is read before it is done
        self._is_held = False  # the owner wants no further bytes for now
        self._is_lost = False  # the socket is closed, which is told when the work on the last read is done
        self.exchanges = 0

    @property
    def is_open(self) -> bool:
        """Whether a request can still be sent here."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: Request, exchange: ResponseReceiver) -> None:
        """Begin an exchange; the connection must be open and idle."""
        if self._transport is None or self._exchange is not None:
            raise RuntimeError("a connection carries one exchange at a time")
        self.exchanges += 1
        self._exchange = exchange
        self._parser.expect()
        if isinstance(request, bytes):
            self._transport.write(request)
        else:
            self._sender = LongRequestSender(request, self._transport)
            self._sender.start()

    def abort(self) -> None:
        """Close the socket at once, and tell the exchange nothing, since its owner gives it up."""
        self._let_go()
        self._close_socket()

    def close(self) -> None:
        """Close the socket at once, and tell the exchange if there is one."""
        self._fail(GatewayError("the gateway closed the connection"))

    def deliver_to(self, body: BodyHandler, chunks: ChunkHandler | None = None) -> None:
        """Give the bytes of the body to `body` from now on; a read that is one whole chunk is offered to `chunks`."""
        if self._exchange is not None:
            self._body = body
            self._chunks, self._take = chunks, replaced(self._take, chunks)

    @property
    def reads(self) -> int:
        """How many reads of the exchange went through the parser: all but those of the learned shape."""
        return self._parser.reads

    @property
    def is_whole(self) -> bool:
        """Whether the end of the response is among the bytes that were read; it is told behind its body."""
        return self._parser.state is _ENDED

    @property
    def is_urgent(self) -> bool:
        """Whether the next read is acknowledged at once."""
        return self._is_urgent

    def set_urgent(self, urgent: bool) -> None:
        """Say whether a client waits for the next bytes of the upstream.

        If it does, the next read is acknowledged at once: some upstreams send no more before they are acknowledged.
        """
        self._is_urgent = urgent

    def probe_when_silent(self, seconds: int) -> None:
        """Have TCP ask the peer whether it is still there, whenever it has been silent for this long (tcp(7))."""
        if self._borrowed is not None and (own := self._borrowed.take()) is not None and own.family != socket.AF_UNIX:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # How long until the first probe, how long between two, and how many may stay without an answer.
            for name, value in (("KEEPIDLE", seconds), ("KEEPINTVL", seconds // 3), ("KEEPCNT", 3)):
                if (option := getattr(socket, f"TCP_{name}", None)) is not None:  # no system has to know them
                    own.setsockopt(socket.IPPROTO_TCP, option, value)

    def pause(self) -> None:
        """Stop reading: the peer's window fills and it has to wait."""
        self._is_held = True
        self._pause_reading()

    def resume(self) -> None:
        """Read again after `pause`."""
        self._is_held = False
        self._resume_reading()

    def ignore_rest(self) -> None:
        """Wait for the end of the body and drop what comes before it; a paused connection would not see the end."""
        self.deliver_to(ignore)
        self.resume()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are no subclass of it
        self._borrowed = BorrowedSocket(transport)

    def data_received(self, data: bytes) -> None:
        pace = self._pace
        pace.reads += 1
        if pace.is_due:
            pace.begin_turn()
        try:
            if (take := self._take) is not None and take(data):
                return  # nearly always: one read is one chunk with one token
            if len(data) > SLICE_BYTES or self._work is not None:
                self._read_in_slices(data)
            elif (steps := self._read(data)) is not None:
                self._begin(ReadWork(steps))
        except Exception:
            self._fail(GatewayError("the gateway failed to relay the answer"))
            raise  # the event loop logs the fault

    def eof_received(self) -> bool:
        if self._work is None:
            self._on_eof()
        else:
            self._work.then(self._on_eof)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._borrowed is not None:
            self._borrowed.give_back()
        if self._work is None:
            self._on_closed()
        else:
            self._is_lost = True
            self._work.then(self._on_closed)

    def _on_eof(self) -> None:
        self._parser.feed_eof()
        if self._parser.state is ResponseState.ENDED_LAST:
            self._finish()

    def _on_closed(self) -> None:
        self._is_lost = False
        state = self._parser.state
        if (exchange := self._let_go()) is not None:
            reason = "before it answered" if state in BEFORE_BODY else "in mid-answer"
            untouched = state is ResponseState.AWAITED and self.exchanges > 1
            exchange.on_lost(UpstreamError(f"the upstream closed the connection {reason}"), untouched=untouched)
        self._on_lost(self)

    def pause_writing(self) -> None:
        if self._sender is not None:
            self._sender.pause()

    def resume_writing(self) -> None:
        if self._sender is not None:
            self._sender.resume()

    # --- inside

    def _read(self, data: bytes) -> Steps:
        """Take a read or a slice of one; returns the steps that are left to do for it, if any."""
        parser = self._parser
        parser.feed(data)
        if parser.head is not None:
            self._tell_head()
        if pieces := parser.pieces:
            steps = self._body(pieces.pop() if len(pieces) == 1 else parser.take_body())
            if steps is not None:
                return self._finish_read(steps, data)
        self._end_read(data)
        return None

    def _finish_read(self, steps: Iterator[None], data: bytes) -> Iterator[None]:
        yield from steps
        self._end_read(data)

    def _end_read(self, data: bytes) -> None:
        if (state := self._parser.state) is _BETWEEN_CHUNKS or state in IN_BODY:
            self._take = shortcut(self._chunks, state, data)
            if self._is_urgent:
                self._acknowledge()
        else:
            self._on_state(state)

    def _read_in_slices(self, data: bytes) -> None:
        if self._work is not None:
            self._work.add_read(data, self._read)
            return
        work = ReadWork()
        work.add_read(data, self._read)
        self._begin(work)

    def _begin(self, work: ReadWork) -> None:
        """Work in later turns: libuv calls back for up to 32 long reads of one socket in a turn."""
        self._work = work
        self._wait_for_turn()

    def _go_on(self) -> None:
        if (work := self._work) is None:
            return
        if not work.run():
            self._wait_for_turn()
        elif self._work is work:
            self._work = None
            self._resume_reading()

    def _wait_for_turn(self) -> None:
        self._take = None
        self._pause_reading()
        self._pace.later.add(self._on_turn)

    def _on_turn(self) -> None:
        try:
            self._go_on()
        except Exception:
            self._fail(GatewayError("the gateway failed to relay the answer"))
            raise  # the event loop logs the fault

    def _pause_reading(self) -> None:
        if self.is_open and self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._work is not None or self._is_held:
            return
        if self.is_open and self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    def _close_socket(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        elif self._is_lost:
            self._is_lost = False
            self._on_lost(self)

    def _tell_head(self) -> None:
        head, exchange = self._parser.take_head(), self._exchange
        if head is not None and exchange is not None:
            body = exchange.on_head(*head)
            if self._exchange is exchange:  # the exchange may have given up in `on_head`
                self._body = body

    def _on_state(self, state: ResponseState) -> None:
        """Act on the end of a response, after its head and its body were handed on."""
        if state is _ENDED or state is _ENDED_LAST:
            self._finish()
        elif state is ResponseState.BROKEN:
            self._break()

    def _acknowledge(self) -> None:
        self._is_urgent = False
        if self.is_open and self._borrowed is not None:
            acknowledge(self._borrowed)

    def _break(self) -> None:
        """Close a connection that cannot be trusted: it brought no answer, or bytes that no request asked for."""
        if self._parser.error is not None:
            self._fail(self._parser.error)
        else:
            self.abort()

    def _finish(self) -> None:
        """The response is whole. The exchange is told last: it may send the next request on this connection."""
        reusable = self._parser.state is _ENDED and (self._sender is None or self._sender.is_over)
        if self._work is not None and self._work.has_more:
            reusable = False
        exchange = self._let_go()
        try:
            self._rest(reusable=reusable)
        finally:  # whatever becomes of the connection, the response is whole
            try:
                if exchange is not None:
                    exchange.on_end()
            except Exception:
                if exchange is not None:
                    exchange.on_lost(GatewayError("the gateway failed to end the answer"), untouched=False)
                raise

    def _rest(self, *, reusable: bool) -> None:
        """Wait for the next request, or close the socket."""
        # An answer that overtook its request ends the connection: the server may not read the rest of it.
        if reusable and self._transport is not None and not self._transport.get_write_buffer_size() and self.is_open:
            self.resume()
            self._on_idle(self)
        else:
            self._close_socket()

    def _fail(self, error: RivergateError) -> None:
        if (exchange := self._let_go()) is not None:
            exchange.on_lost(error, untouched=False)
        self.abort()

    def _let_go(self) -> ResponseReceiver | None:
        """Forget the exchange and its state; return the exchange, so that it can be told, or None without one."""
        self._parser.close()
        self._body = ignore
        self._chunks = self._take = None
        self._is_urgent = False
        if self._work is not None:
            self._work.cancel()
            self._work = None
        if self._sender is not None:
            self._sender.stop()
            self._sender = None
        exchange, self._exchange = self._exchange, None  # at last: after a fault in the above it can still be told
        return exchange


def ignore(data: bytes) -> None:
    """Drop bytes of a body that is not wanted any more."""
