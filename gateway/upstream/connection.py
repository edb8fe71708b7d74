"""Shell: one HTTP/1.1 client connection: requests out, response heads and bodies in, by callbacks.

In: bytes of a request. Out: `ResponseReceiver` callbacks in the call of the read that brought the bytes; no await,
no queue. The invariant: an exchange ends exactly once, with `on_end` or `on_lost`; a connection is handed back
to its owner only after a response that ended as it was framed.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, cast

import httptools

from gateway.errors import GatewayError, RivergateError, UpstreamError
from gateway.upstream.acknowledgement import acknowledge
from gateway.upstream.pace import Pace

MAX_HEAD_BYTES = 65536  # more than any provider sends; bounds what a hostile one can make us keep
_FIELD_FRAMING = len(": \r\n")  # counted too, else empty fields would be free

BodyHandler = Callable[[bytes], None]
ChunkHandler = Callable[[bytes], bool]


class ResponseReceiver(Protocol):
    """One request and its response, as the connection sees it."""

    def on_head(self, status: int, headers: Mapping[str, str]) -> BodyHandler:
        """The response head came (names in lower case); the result takes the pieces of the body."""

    def on_end(self) -> None:
        """The body ended as it was framed (RFC 9112 section 6.3)."""

    def on_lost(self, error: RivergateError, *, untouched: bool) -> None:
        """The exchange failed. `untouched`: on a connection used before, with no byte of an answer."""


class UpstreamConnection(asyncio.Protocol):
    """A connection to one origin; carries one exchange at a time."""

    __slots__ = (
        "_body",
        "_chunk_ended",
        "_chunk_handler",
        "_close_delimited",
        "_exchange",
        "_express",
        "_head_bytes",
        "_headers",
        "_on_idle",
        "_on_lost",
        "_pace",
        "_parser",
        "_pieces",
        "_reusable",
        "_transport",
        "_unparsed_bytes",
        "_untouched",
        "exchanges",
        "is_urgent",
        "on_body",
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
        self._exchange: ResponseReceiver | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._headers: dict[str, str] = {}
        self._head_bytes = 0  # of complete fields
        self._unparsed_bytes = 0  # read for a head that is not complete
        self._body: BodyHandler | None = None
        self._chunk_handler: ChunkHandler | None = None
        self._chunk_ended = False  # the parser stands behind a transfer chunk
        # The chunk handler while the parser stands exactly between two chunks: a read that is one whole chunk, and
        # that the handler takes, changes nothing for the parser, which then need not see it.
        self._express: ChunkHandler | None = None
        # The pieces of the body in one read: a burst of chunks goes on as one, so that readers get it in one send.
        # The parser appends them itself, without a call into Python.
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append
        self._close_delimited = False
        self._reusable = False
        self._untouched = True
        self.exchanges = 0
        self.is_urgent = False  # what comes next is waited for: the upstream is not to wait for us before it sends it

    @property
    def is_open(self) -> bool:
        """Whether a request can still be sent here."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes, exchange: ResponseReceiver) -> None:
        """Begin an exchange; the connection must be open and idle."""
        if self._transport is None or self._exchange is not None:
            raise RuntimeError("a connection carries one exchange at a time")
        self.exchanges += 1
        self._exchange = exchange
        self._untouched = True
        self._headers = {}
        self._head_bytes = self._unparsed_bytes = 0
        self._transport.write(request)
        self._parser = httptools.HttpResponseParser(self)

    def abort(self) -> None:
        """Close at once, without a word to the exchange: it is its owner who gives it up."""
        self._exchange = self._parser = None
        self._end_body()
        self._pieces.clear()
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close at once, and tell the exchange if there is one."""
        self._fail(GatewayError("the gateway closed the connection"))

    def deliver_to(self, body: BodyHandler, chunks: ChunkHandler | None = None) -> None:
        """From now on the pieces of the body go there; reads that are one whole chunk are offered to `chunks`."""
        if self._body is not None:
            self._body = body
            self._chunk_handler = chunks
            self._express = None if self._express is None else chunks  # whether a chunk begins now stays as it was

    def pause(self) -> None:
        """Stop reading: the peer's window fills and it has to wait."""
        if self.is_open and self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again after `pause`."""
        if self.is_open and self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports only quack like one

    def data_received(self, data: bytes) -> None:
        pace = self._pace
        pace.reads += 1
        if pace.is_due:
            pace.begin_turn()
        try:
            if (express := self._express) is not None and express(data):
                return
            if (parser := self._parser) is None:
                self.abort()  # bytes that nobody asked for: this connection cannot be trusted with a request
                return
            pieces = self._pieces
            parser.feed_data(data)
            if len(pieces) == 1 and self._body is not None:
                self._body(pieces.pop())  # as nearly always: one read, one chunk, one token
            else:
                self._deliver()
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._on_unreadable(error)
        except Exception:
            self._fail(GatewayError("the gateway failed to relay the answer"))
            raise  # a fault of ours: the loop logs it
        else:
            if self._body is None:  # never between two pieces of a body
                self._after_read(len(data))
            else:
                self._express = self._chunk_handler if self._chunk_ended and data.endswith(b"\r\n") else None
                if self.is_urgent and self._transport is not None and not self._transport.is_closing():
                    self.is_urgent = False  # it holds until the next request is sent
                    acknowledge(self._transport)

    def eof_received(self) -> bool:
        if self._exchange is not None and self._close_delimited and self._body is not None:
            self._finish(reusable=False)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        untouched = self._untouched and self.exchanges > 1
        if self._exchange is not None:
            reason = "before it answered" if self._body is None else "in mid-answer"
            self._end_lost(UpstreamError(f"the upstream closed the connection {reason}"), untouched=untouched)
        self._on_lost(self)

    # --- httptools callbacks

    def on_message_begin(self) -> None:
        self._untouched = False
        if self._parser is None:
            self._reusable = False  # something follows the response that ended in this very read

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + _FIELD_FRAMING
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _head_too_large()
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        parser, exchange = self._parser, self._exchange
        if parser is None or exchange is None:
            return
        headers, self._headers = self._headers, {}
        self._head_bytes = self._unparsed_bytes = 0
        status = parser.get_status_code()
        if status < 200:
            return  # an interim answer (RFC 9110 section 15.2): the true one follows, or the parser tells an upgrade
        chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        bodyless = status in (204, 304)
        self._close_delimited = not chunked and not bodyless and "content-length" not in headers
        self._reusable = parser.should_keep_alive() and not self._close_delimited
        body = exchange.on_head(status, headers)
        if self._exchange is exchange:  # else it gave up just now
            self._body = body

    def on_chunk_header(self) -> None:
        self._chunk_ended = False

    def on_chunk_complete(self) -> None:
        self._chunk_ended = True

    def on_message_complete(self) -> None:
        self._deliver()
        if self._body is not None:  # else the end of an interim answer
            # The end is told after the read, when it is known whether anything follows it.
            self._parser = None
            self._end_body()

    def _deliver(self) -> None:
        """Hand on what a read has brought of the body."""
        pieces = self._pieces
        if not pieces:
            return
        data = b"".join(pieces)
        pieces.clear()
        if self._body is not None:
            self._body(data)

    # --- ends

    def _end_body(self) -> None:
        self._body = self._chunk_handler = self._express = None
        self._chunk_ended = self.is_urgent = False

    def _after_read(self, size: int) -> None:
        """A read is over, and no body is under way: the head is not complete yet, or the response has ended."""
        if self._parser is None:
            if self._exchange is not None:
                self._finish(reusable=self._reusable)
            return
        self._unparsed_bytes += size
        if self._unparsed_bytes > 2 * MAX_HEAD_BYTES:  # a field that does not end was not counted yet
            self._fail(_head_too_large())

    def _on_unreadable(self, error: Exception) -> None:
        self._deliver()  # what could be read before
        if self._parser is None and self._exchange is not None:
            self._finish(reusable=False)  # the response is whole; what cannot be read comes after it
            return
        cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else None
        if isinstance(cause, RivergateError):
            self._fail(cause)
        elif cause is not None:
            self._fail(GatewayError("the gateway failed to read the answer"))
            raise cause  # a fault of ours: the loop logs it
        elif isinstance(error, httptools.HttpParserUpgrade):
            self._fail(UpstreamError("the upstream switched to another protocol"))
        else:
            self._fail(UpstreamError(f"the upstream's answer is not HTTP/1.1: {error}"))

    def _finish(self, *, reusable: bool) -> None:
        exchange, self._exchange = self._exchange, None
        self._parser = None
        self._end_body()
        # An answer that overtook its request ends the connection: the server may not read the rest of it.
        if reusable and self._transport is not None and not self._transport.get_write_buffer_size() and self.is_open:
            self.resume()
            self._on_idle(self)
        elif self._transport is not None:
            self._transport.abort()
        if exchange is not None:
            exchange.on_end()

    def _fail(self, error: RivergateError) -> None:
        self._end_lost(error, untouched=False)
        self.abort()

    def _end_lost(self, error: RivergateError, *, untouched: bool) -> None:
        exchange, self._exchange = self._exchange, None
        self._parser = None
        self._end_body()
        if exchange is not None:
            exchange.on_lost(error, untouched=untouched)


def _head_too_large() -> UpstreamError:
    return UpstreamError(f"the upstream's response head is over {MAX_HEAD_BYTES} bytes")
