"""Pure: framings of a log. A view makes the bytes that all readers of one kind receive, once for all of them.

A piece is what one `send` carries: every frame from a cursor on, up to a limit, joined; on HTTP/1.1 it is one
transfer chunk (RFC 9112 section 7.1), so that an event is never split over two of them.
"""

from dataclasses import dataclass

from gateway.stream.log import StreamLog
from gateway.wire import http1, sse

# One join below 64 KiB costs less than the second send it saves; above it the socket buffer is full anyway.
MAX_PIECE_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes for a reader, the position behind them, and whether they hold the end of the body."""

    data: bytes
    next_seq: int
    last: bool


class CompletionView:
    """The framing of POST completions: the frames as they are, then `[DONE]` and the end of the body.

    `chunked`: HTTP/1.1; otherwise the body ends with the connection (HTTP/1.0).
    """

    __slots__ = ("_chunked", "_log", "_shared", "_shared_at", "_shared_ending", "_shared_upto", "keepalive")

    def __init__(self, log: StreamLog, *, chunked: bool) -> None:
        self._log = log
        self._chunked = chunked
        self.keepalive = http1.encode_chunk(sse.KEEPALIVE) if chunked else sse.KEEPALIVE
        self._shared_at = -1  # the last piece made, and for what: readers at one cursor share it
        self._shared_upto = -1
        self._shared_ending: object = None
        self._shared = Piece(b"", 0, last=False)

    def piece(self, seq: int) -> Piece:
        """The next bytes for a reader at `seq`; the same object for every reader there."""
        log = self._log
        if seq != self._shared_at or log.next_seq != self._shared_upto or log.ending is not self._shared_ending:
            self._shared = self._encode(log.read(seq, MAX_PIECE_BYTES), seq)
            self._shared_at, self._shared_upto, self._shared_ending = seq, log.next_seq, log.ending
        return self._shared

    def _encode(self, frames: list[bytes], seq: int) -> Piece:
        log = self._log
        next_seq = seq + len(frames)
        last = log.ending is not None and next_seq == log.next_seq
        if last:
            frames.append(sse.DONE)
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        if self._chunked:
            data = http1.encode_chunk(data)
            if last:
                data += http1.LAST_CHUNK
        return Piece(data, next_seq, last)
