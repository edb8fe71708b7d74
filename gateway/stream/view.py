"""Pure: framings of a log. A view makes the bytes that every reader of one kind receives.

A piece is what one `send` carries: the frames from a cursor on, up to a limit, joined; on HTTP/1.1 it is one
transfer chunk (RFC 9112 section 7.1), so that an event is never split over two of them.
"""

from gateway.delivery.source import Piece
from gateway.endings import Ending
from gateway.stream.log import StreamLog
from gateway.wire import http1, sse
from gateway.wire.http1 import SIZE_LINES

# One join below 64 KiB costs less than the second send it saves; above it the socket buffer is full anyway.
MAX_PIECE_BYTES = 65536


class CompletionView:
    """The framing of POST completions: the frames as they are, then the terminal of the log and the end of the body.

    `chunked`: HTTP/1.1; otherwise the body ends with the connection (HTTP/1.0).
    """

    __slots__ = ("_log", "bare_chunks", "keepalive")

    resumable = False

    def __init__(self, log: StreamLog, *, chunked: bool) -> None:
        self._log = log
        self.bare_chunks = chunked
        self.keepalive = http1.encode_chunk(log.keepalive) if chunked else log.keepalive

    def one(self, frame: bytes, seq: int) -> bytes:
        size = len(frame)
        if self.bare_chunks and size < len(SIZE_LINES):
            return SIZE_LINES[size] + frame + b"\r\n"  # `encode_chunk`, without the call
        return http1.encode_chunk(frame) if self.bare_chunks else frame

    def piece(self, seq: int) -> Piece:
        log = self._log
        frames = log.read(seq, MAX_PIECE_BYTES)
        next_seq = seq + len(frames)
        last = log.ending is not None and next_seq == log.next_seq
        if last:
            frames.append(log.terminal)
        return _body(b"".join(frames), chunked=self.bare_chunks, last=last), next_seq, last

    def farewell(self, ending: Ending, retry_ms: int | None = None) -> bytes:
        """Nothing: a POST client that is sent away sees its connection close, never a false terminal."""
        return b""


# The line before an event of a feed in its log: the id that its source gave it.
SOURCE_ID = b"source-id: "


class EventsView:
    """The framing of subscriptions: an `id: <epoch>-<seq>` on every event, and control events by name.

    `gap` tells how many events were trimmed before the reader came to them; `end` is the last event.
    """

    __slots__ = ("_chunked", "_log", "_prefix", "keepalive")

    bare_chunks = False
    resumable = True

    def __init__(self, log: StreamLog, *, chunked: bool) -> None:
        self._log = log
        self._chunked = chunked
        self._prefix = b"id: %b-" % log.epoch.encode()
        self.keepalive = http1.encode_chunk(sse.KEEPALIVE) if chunked else sse.KEEPALIVE

    def one(self, frame: bytes, seq: int) -> bytes:
        data = self._event(frame, seq)
        return http1.encode_chunk(data) if self._chunked else data

    def piece(self, seq: int) -> Piece:
        log = self._log
        next_seq = log.next_seq
        parts: list[bytes] = []
        if seq < log.first_seq:
            parts.append(sse.control("gap", {"missed": log.first_seq - seq}))
            seq = log.first_seq
        if seq > next_seq:
            return b"", seq, False  # everything, the `end` event too, was delivered before
        for frame in log.read(seq, MAX_PIECE_BYTES):
            parts.append(self._event(frame, seq))
            seq += 1
        last = log.ending is not None and seq == next_seq
        if last:
            parts.append(self._event(sse.control("end", {"ending": log.ending}), seq))
        return _body(b"".join(parts), chunked=self._chunked, last=last), seq, last

    def farewell(self, ending: Ending, retry_ms: int | None = None) -> bytes:
        end = sse.control("end", {"ending": ending}) if retry_ms is None else b"retry: %d\n\n" % retry_ms
        return _body(end, chunked=self._chunked, last=True)

    def _event(self, frame: bytes, seq: int) -> bytes:
        return b"%b%d\n%b" % (self._prefix, seq, frame)


class SourceEventsView(EventsView):
    """The same with the id of the source, if it gave one, behind ours: `id: <epoch>-<seq>/<source id>`.

    A browser's `EventSource` shows its page no other field than `id`.
    """

    __slots__ = ()

    def _event(self, frame: bytes, seq: int) -> bytes:
        if not frame.startswith(SOURCE_ID):
            return super()._event(frame, seq)
        source_id, _, event = frame.removeprefix(SOURCE_ID).partition(b"\n")
        return b"%b%d/%b\n%b" % (self._prefix, seq, source_id, event)


def _body(data: bytes, *, chunked: bool, last: bool) -> bytes:
    if not chunked:
        return data
    return http1.encode_chunk(data) + http1.LAST_CHUNK if last else http1.encode_chunk(data)
