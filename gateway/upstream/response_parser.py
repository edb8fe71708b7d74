"""Pure: the parser of the responses of one HTTP/1.1 connection, one after the other (RFC 9112).

In: the bytes of the reads. Out: a state, the head and the parts of the body that the read has brought, or the error.
llhttp, through httptools, parses the bytes; `TABLE` says what each of its callbacks means in each state. The
invariant: bytes that follow a response never become a part of that response or of the next one.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import httptools

from gateway.errors import UpstreamError

MAX_HEAD_BYTES = 65536  # more than any provider sends; bounds what a hostile one can make us keep
_FIELD_FRAMING = len(": \r\n")  # counts towards the limit of a head, so that empty fields are not free


class ResponseState(StrEnum):
    """The place in a response that the bytes so far have come to."""

    IDLE = "idle"  # no response is awaited
    AWAITED = "awaited"  # the request was sent; no byte of the response has come
    HEAD = "head"
    INTERIM = "interim"  # behind an interim head (RFC 9110 section 15.2); the response itself follows
    BODY = "body"  # inside a body of known length, or inside a transfer chunk
    BETWEEN_CHUNKS = "between chunks"  # inside a body, exactly after the end of a transfer chunk
    BODY_UNTIL_CLOSE = "body until close"  # the end of the connection ends the body
    ENDED = "ended"  # the connection can carry another response
    ENDED_LAST = "ended last"  # the response is whole, and the connection can carry no other
    BROKEN = "broken"  # the bytes that came are no response that can be used; `error` says why


class ResponseInput(StrEnum):
    """An input of the parser, from a read or from the owner of the connection."""

    REQUEST = "request"
    BEGIN = "begin"  # the first byte of a response
    INTERIM_HEAD = "interim head"
    FRAMED_HEAD = "framed head"  # the head of a response that tells where it ends
    UNFRAMED_HEAD = "unframed head"  # the head of a response that ends with the connection
    CHUNK_BEGIN = "chunk begin"
    CHUNK_END = "chunk end"
    END = "end"
    END_AND_CLOSE = "end and close"  # the end of a response after which the upstream closes the connection
    MORE = "more"  # a byte that belongs to no response that was asked for
    EOF = "eof"
    FAULT = "fault"  # bytes that are not HTTP/1.1, or beyond a limit


# For each input, the state that follows each state in which the input can come.
TABLE: Mapping[ResponseInput, Mapping[ResponseState, ResponseState]] = {
    ResponseInput.REQUEST: {ResponseState.IDLE: ResponseState.AWAITED},
    ResponseInput.BEGIN: {ResponseState.AWAITED: ResponseState.HEAD, ResponseState.INTERIM: ResponseState.HEAD},
    ResponseInput.INTERIM_HEAD: {ResponseState.HEAD: ResponseState.INTERIM},
    ResponseInput.FRAMED_HEAD: {ResponseState.HEAD: ResponseState.BODY},
    ResponseInput.UNFRAMED_HEAD: {ResponseState.HEAD: ResponseState.BODY_UNTIL_CLOSE},
    ResponseInput.CHUNK_BEGIN: {
        ResponseState.BODY: ResponseState.BODY,
        ResponseState.BETWEEN_CHUNKS: ResponseState.BODY,
    },
    ResponseInput.CHUNK_END: {ResponseState.BODY: ResponseState.BETWEEN_CHUNKS},
    ResponseInput.END: {
        ResponseState.INTERIM: ResponseState.INTERIM,
        ResponseState.BODY: ResponseState.ENDED,
        ResponseState.BETWEEN_CHUNKS: ResponseState.ENDED,
    },
    ResponseInput.END_AND_CLOSE: {
        ResponseState.INTERIM: ResponseState.INTERIM,
        ResponseState.BODY: ResponseState.ENDED_LAST,
        ResponseState.BETWEEN_CHUNKS: ResponseState.ENDED_LAST,
    },
    ResponseInput.EOF: {ResponseState.BODY_UNTIL_CLOSE: ResponseState.ENDED_LAST},
    ResponseInput.MORE: {ResponseState.IDLE: ResponseState.BROKEN, ResponseState.ENDED: ResponseState.ENDED_LAST},
    ResponseInput.FAULT: {
        ResponseState.AWAITED: ResponseState.BROKEN,
        ResponseState.HEAD: ResponseState.BROKEN,
        ResponseState.INTERIM: ResponseState.BROKEN,
        ResponseState.BODY: ResponseState.BROKEN,
        ResponseState.BETWEEN_CHUNKS: ResponseState.BROKEN,
        ResponseState.BODY_UNTIL_CLOSE: ResponseState.BROKEN,
        ResponseState.ENDED: ResponseState.ENDED_LAST,  # the response is whole; what cannot be read comes after it
        ResponseState.ENDED_LAST: ResponseState.ENDED_LAST,
    },
}
BEFORE_BODY = frozenset({ResponseState.AWAITED, ResponseState.HEAD, ResponseState.INTERIM})
IN_BODY = frozenset({ResponseState.BODY, ResponseState.BETWEEN_CHUNKS, ResponseState.BODY_UNTIL_CLOSE})

# Rows that every response needs are constants: CPython 3.11 takes 0.4 us to find the member of an Enum by its name.
_REQUEST, _BEGIN, _INTERIM_HEAD, _FRAMED_HEAD, _UNFRAMED_HEAD = (TABLE[kind] for kind in list(ResponseInput)[:5])
_CHUNK_BEGIN, _CHUNK_END, _END, _END_AND_CLOSE = (TABLE[kind] for kind in list(ResponseInput)[5:9])
_IDLE, _AWAITED = ResponseState.IDLE, ResponseState.AWAITED
_BETWEEN_CHUNKS, _ENDED = ResponseState.BETWEEN_CHUNKS, ResponseState.ENDED


ResponseHead = tuple[int, Mapping[str, str]]
"""The head of a response: the status, and the header fields by their names in lower case."""

# The head of an event stream in chunks on a connection that is kept, as nearly all answers have it. Of such a head
# nothing else matters, so its fields are not made values: 20 fields would take 1,000 bytecodes (bench/README.md).
EVENTS_HEAD: ResponseHead = (
    200,
    MappingProxyType({"content-type": "text/event-stream", "transfer-encoding": "chunked"}),
)
_FIELDS_BESIDE = rb"""
    (?: connection:[ \t]*+keep-alive[ \t]*+\r\n
      | (?!content-(?:type|length|encoding):|transfer-encoding:|(?:proxy-)?connection:|upgrade:)
        [!#$%&'*+\-.^_`|~0-9a-z]++:[\t\x20-\x7e]*+\r\n )*+"""
_EVENTS = rb"content-type:[ \t]*+text/event-stream(?:[ \t]*+;[\t\x20-\x7e]*+)?[ \t]*+\r\n"
_CHUNKS = rb"transfer-encoding:[ \t]*+chunked[ \t]*+\r\n"
_EVENTS_HEAD = re.compile(
    rb"(?-i:HTTP/1\.1\ 200)\ [\t\x20-\x7e]*+\r\n"
    rb"%b(?:%b%b%b|%b%b%b)%b\r\n"
    % (_FIELDS_BESIDE, _EVENTS, _FIELDS_BESIDE, _CHUNKS, _CHUNKS, _FIELDS_BESIDE, _EVENTS, _FIELDS_BESIDE),
    re.IGNORECASE | re.VERBOSE,
)
_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"  # what llhttp is given in its place


class ResponseParser:
    """The parser of one connection; `expect` begins a response, `close` forgets it."""

    __slots__ = (
        "_fields",
        "_head_bytes",
        "_llhttp",
        "_unparsed_bytes",
        "error",
        "head",
        "on_body",
        "pieces",
        "reads",
        "state",
    )

    def __init__(self) -> None:
        self._llhttp: httptools.HttpResponseParser | None = None
        self._fields: dict[str, str] = {}
        self._head_bytes = 0  # the size of the complete fields of the head
        self._unparsed_bytes = 0  # the size of the reads since the head began, or since the last piece of the body
        self.reads = 0  # the reads of this response so far
        self.state = ResponseState.IDLE
        self.head: ResponseHead | None = None  # the head that the read has brought, until it is taken
        self.error: UpstreamError | None = None  # why the state is BROKEN
        # The parts of the body that the read has brought. llhttp appends them without a call into Python.
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append

    def expect(self) -> None:
        """A request was sent: the next bytes are its response."""
        self.state = _REQUEST[self.state]
        self.reads = 0
        self._begin_head()  # trailers of the previous response may have left fields

    def close(self) -> None:
        """Forget the response, whatever its state."""
        self.state = _IDLE
        self._llhttp = self.head = self.error = None
        self.pieces.clear()

    def feed(self, data: bytes) -> None:
        """Take the bytes of one read."""
        self.reads += 1
        if (llhttp := self._llhttp) is None:
            if self.state is not _AWAITED:
                self.state = TABLE[ResponseInput.MORE][self.state]
                return
            llhttp, data = self._begin(data)
        try:
            llhttp.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as problem:
            self._on_fault(_explain(problem))
        if not self.pieces:
            self._count_unparsed(len(data))
        elif self._unparsed_bytes:
            self._unparsed_bytes = 0

    def feed_eof(self) -> None:
        """Take the end of the connection's bytes, which ends a body of unknown length."""
        if self.state is ResponseState.BODY_UNTIL_CLOSE:
            self.state = TABLE[ResponseInput.EOF][self.state]

    def take_head(self) -> ResponseHead | None:
        """The head that the read has brought; it is handed out once."""
        head, self.head = self.head, None
        return head

    def take_body(self) -> bytes:
        """All parts of the body that the read has brought, joined, so that a burst of chunks goes on as one piece."""
        body = b"".join(self.pieces)
        self.pieces.clear()
        return body

    # --- httptools callbacks

    def on_message_begin(self) -> None:
        if self.state is _ENDED:
            self.state = TABLE[ResponseInput.MORE][self.state]
            raise UpstreamError("bytes follow the response")  # stops llhttp
        self.state = _BEGIN[self.state]

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value) + _FIELD_FRAMING
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _head_too_large()
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._fields[key] = f"{self._fields[key]}, {text}" if key in self._fields else text

    def on_headers_complete(self) -> None:
        assert self._llhttp is not None
        fields, status = self._fields, self._llhttp.get_status_code()
        self._begin_head()
        if status < 200:  # the response itself follows, or httptools reports an upgrade
            self.state = _INTERIM_HEAD[self.state]
            return
        self.head = status, fields
        self.state = (_FRAMED_HEAD if _is_framed(status, fields) else _UNFRAMED_HEAD)[self.state]

    def on_chunk_header(self) -> None:
        self.state = _CHUNK_BEGIN[self.state]

    def on_chunk_complete(self) -> None:
        self.state = _CHUNK_END[self.state]

    def on_message_complete(self) -> None:
        assert self._llhttp is not None
        self.state = (_END if self._llhttp.should_keep_alive() else _END_AND_CLOSE)[self.state]

    # --- inside

    def _begin(self, data: bytes) -> tuple[httptools.HttpResponseParser, bytes]:
        """Make the llhttp for a response that begins with these bytes; returns it with what is left for it."""
        found = _EVENTS_HEAD.match(data)
        if found is None or (end := found.end()) > MAX_HEAD_BYTES:
            llhttp = self._llhttp = httptools.HttpResponseParser(self)
            return llhttp, data
        llhttp = self._llhttp = httptools.HttpResponseParser(_BodyCalls(self))
        llhttp.feed_data(_CHUNKED_HEAD)
        self.state = _FRAMED_HEAD[self.state]
        self.head = EVENTS_HEAD
        return llhttp, data[end:]

    def _count_unparsed(self, size: int) -> None:
        """Count a read without a piece of a body: a head, or what stands between and behind transfer chunks."""
        self._unparsed_bytes += size
        if self._unparsed_bytes <= 2 * MAX_HEAD_BYTES:  # `on_header` has not counted a field that does not end
            return
        if self.state in BEFORE_BODY:
            self._on_fault(_head_too_large())
        elif self.state in IN_BODY:
            self._on_fault(UpstreamError(f"the upstream sent {2 * MAX_HEAD_BYTES} bytes of chunk lines or trailers"))

    def _on_fault(self, error: UpstreamError) -> None:
        self.state = TABLE[ResponseInput.FAULT][self.state]
        if self.state is ResponseState.BROKEN:
            self.error = error

    def _begin_head(self) -> None:
        self._fields = {}
        self._head_bytes = self._unparsed_bytes = 0


class _BodyCalls:
    """Those of the parser's callbacks that a response needs whose head was read already."""

    __slots__ = ("on_body", "on_chunk_complete", "on_chunk_header", "on_message_begin", "on_message_complete")

    def __init__(self, parser: ResponseParser) -> None:
        self.on_message_begin = parser.on_message_begin
        self.on_body = parser.on_body
        self.on_chunk_header = parser.on_chunk_header
        self.on_chunk_complete = parser.on_chunk_complete
        self.on_message_complete = parser.on_message_complete


def _is_framed(status: int, fields: Mapping[str, str]) -> bool:
    """Whether the response tells where its body ends (RFC 9112 section 6.3)."""
    chunked = "chunked" in fields.get("transfer-encoding", "").lower()
    return chunked or status in (204, 304) or "content-length" in fields


def _explain(problem: Exception) -> UpstreamError:
    """The error for what httptools found wrong, in words for clients."""
    if isinstance(problem, httptools.HttpParserCallbackError) and problem.__context__ is not None:
        if isinstance(problem.__context__, UpstreamError):
            return problem.__context__
        raise problem.__context__  # a fault of the gateway itself
    if isinstance(problem, httptools.HttpParserUpgrade):
        return UpstreamError("the upstream switched to another protocol")
    return UpstreamError(f"the upstream's answer is not HTTP/1.1: {problem}")


def _head_too_large() -> UpstreamError:
    return UpstreamError(f"the upstream's response head is over {MAX_HEAD_BYTES} bytes")
