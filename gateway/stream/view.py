"""Pure: the views (framings) of a log. A view makes the bytes that every subscriber of one kind receives.

A piece is what one `send` carries: the frames from a cursor on, up to a limit, joined; on HTTP/1.1 it is one
transfer chunk (RFC 9112 section 7.1), so that an event is never split over two of them. A view says when the stream
is over; the bytes that end a body belong to the owner of the connection.
"""

import functools
from collections.abc import Sequence
from enum import Enum
from urllib.parse import quote

from gateway.delivery.long_piece import LONG_PIECE_BYTES, LongPiece, Sendable
from gateway.delivery.pieces import Piece
from gateway.endings import Ending
from gateway.stream.log import StreamLog
from gateway.wire import http1, sse
from gateway.wire.http1 import SIZE_LINES

# Frames are joined up to this size, to save sends; a larger piece would rarely fit into a socket's send buffer.
MAX_PIECE_BYTES = 65536
MAX_PIECE_EVENTS = 2000  # with an id each, however short they are: 3 ms

MAX_QUOTED_ID = 6144  # bytes of a source's id in a query: servers take request lines and fields of at most 8 KiB
SOURCE_ID = b"source-id: "  # in the log of a feed, begins the line before an event that holds the source's own id
# In the log of a feed, the line before a control event of the gateway: it tells a control event from an event of the
# source that has the same name. It is a comment, so that clients ignore it.
CONTROL = b": rivergate\n"


class CompletionView:
    """The framing of POST completions: the frames as they are, then the terminal bytes of the log.

    `chunked`: HTTP/1.1; otherwise the body ends with the connection (HTTP/1.0).
    """

    __slots__ = ("_log", "keepalive", "relays_chunks")

    resumable = False

    def __init__(self, log: StreamLog, *, chunked: bool) -> None:
        self._log = log
        self.relays_chunks = chunked
        self.keepalive = _keepalive(log.keepalive, chunked)

    def framed(self, frame: bytes, seq: int) -> Sendable:
        if not self.relays_chunks:
            return frame
        size = len(frame)
        if size < len(SIZE_LINES):
            return SIZE_LINES[size] + frame + b"\r\n"  # what `encode_chunk` does, without the cost of a call
        return sendable([frame], chunked=True)

    def piece(self, seq: int) -> Piece:
        log = self._log
        frames = log.read(seq, MAX_PIECE_BYTES)
        next_seq = seq + len(frames)
        over = log.ending is not None and next_seq == log.next_seq
        if over:
            frames.append(log.terminal)
        return sendable(frames, chunked=self.relays_chunks), next_seq, over

    def farewell(self, ending: Ending, retry_ms: int | None = None) -> bytes:
        """No bytes: a POST client that is sent away sees its connection close, never a false terminal event."""
        return b""


class EventsView:
    """The framing of subscriptions: an `id: <epoch>-<seq>` on every event, and control events by name.

    The id is the last line of an event: some clients (fetch-event-source) note it as soon as its line is complete,
    and would lose an event that is cut behind it. The control event `gap` says how many events were trimmed before
    they were sent; `end` is the last event.
    """

    __slots__ = ("_chunked", "_log", "_prefix", "keepalive")

    relays_chunks = False
    resumable = True

    def __init__(self, log: StreamLog, *, chunked: bool) -> None:
        self._log = log
        self._chunked = chunked
        self._prefix = b"id: %b-" % log.epoch.encode()
        # A comment stands without a blank line behind it: for many clients a block without data is an empty event.
        keepalive = log.keepalive[:-1] if log.keepalive.startswith(b":") else log.keepalive
        self.keepalive = _keepalive(keepalive, chunked)

    def framed(self, frame: bytes, seq: int) -> Sendable:
        if len(frame) > LONG_PIECE_BYTES:
            return sendable(self._parts(frame, seq), chunked=self._chunked)
        event = self._event(frame, seq)
        return http1.encode_chunk(event) if self._chunked else event

    def piece(self, seq: int) -> Piece:
        log = self._log
        next_seq = log.next_seq
        parts: list[bytes | memoryview] = []
        if seq < log.first_seq:
            parts.append(log.control("gap", {"missed": log.first_seq - seq}))
            seq = log.first_seq
        if seq > next_seq:
            return b"", seq, False  # everything, the `end` event too, was delivered before
        for frame in log.read(seq, MAX_PIECE_BYTES)[:MAX_PIECE_EVENTS]:
            parts += self._parts(frame, seq)
            seq += 1
        over = log.ending is not None and seq == next_seq
        if over:
            parts.append(self._event(log.control("end", {"ending": log.ending}), seq))
        return sendable(parts, chunked=self._chunked), seq, over

    def farewell(self, ending: Ending, retry_ms: int | None = None) -> bytes:
        end = self._log.control("end", {"ending": ending}) if retry_ms is None else sse.retry_line(retry_ms)
        return http1.encode_chunk(end) if self._chunked else end

    def _parts(self, frame: bytes, seq: int) -> Sequence[bytes | memoryview]:
        """The event of a frame; a long frame is not copied."""
        if len(frame) <= LONG_PIECE_BYTES:
            return (self._event(frame, seq),)
        first = frame.partition(b"\n")[0] + b"\n" if frame.startswith(SOURCE_ID) else b""
        return memoryview(frame)[len(first) : -1], self._event(first + b"\n", seq)

    def _event(self, frame: bytes, seq: int) -> bytes:
        return b"%b%b%d\n\n" % (frame[:-1], self._prefix, seq)


class SourceEventsView(EventsView):
    """The framing of subscriptions to a feed that add the id that the source gave an event, if it gave one.

    An event's id is `<epoch>-<seq>/<source id>`, since a browser's `EventSource` shows its page only the `id` field.
    A source's id that no request can bring back is left out: the client's next connection would be refused.
    """

    __slots__ = ()

    def _event(self, frame: bytes, seq: int) -> bytes:
        if not frame.startswith(SOURCE_ID):
            return super()._event(frame, seq)
        source_id, _, event = frame.removeprefix(SOURCE_ID).partition(b"\n")
        if not _can_come_back(source_id):
            return super()._event(frame, seq)
        return b"%b%b%d/%b\n\n" % (event[:-1], self._prefix, seq, source_id)


class Framing(Enum):
    """The framing in which a subscriber receives a log."""

    COMPLETION = CompletionView
    EVENTS = EventsView
    SOURCE_EVENTS = SourceEventsView


def _can_come_back(source_id: bytes) -> bool:
    """Whether a client can send this id in a header and, as some do, in a query, where an odd byte takes three."""
    size = len(source_id)
    if size > MAX_QUOTED_ID // 3:
        size = len(quote(source_id)) if size <= MAX_QUOTED_ID else size
    return size <= MAX_QUOTED_ID and http1.is_field("id", source_id.decode("latin-1"))


@functools.lru_cache(maxsize=32)  # each dialect has one keep-alive, and a view is made for each stream
def _keepalive(frame: bytes, chunked: bool) -> bytes:
    return http1.encode_chunk(frame) if chunked else frame


def sendable(parts: Sequence[bytes | memoryview], *, chunked: bool) -> Sendable:
    """The parts as one piece; on HTTP/1.1 it is one transfer chunk."""
    size = sum(map(len, parts))
    if size > LONG_PIECE_BYTES:
        before, behind = http1.around_chunk(size) if chunked else (b"", b"")
        return LongPiece([before, *parts, behind])
    data = b"".join(parts)
    return http1.encode_chunk(data) if chunked else data
