"""Pure: framings of a log. A view makes the bytes that every reader of one kind receives.

A piece is what one `send` carries: the frames from a cursor on, up to a limit, joined; on HTTP/1.1 it is one
transfer chunk (RFC 9112 section 7.1), so that an event is never split over two of them.
"""

from gateway.stream.log import StreamLog
from gateway.wire import http1, sse

# One join below 64 KiB costs less than the second send it saves; above it the socket buffer is full anyway.
MAX_PIECE_BYTES = 65536

# Bytes for a reader, the position behind them, and whether they hold the end of the body. A plain tuple: it is made
# per token, and a dataclass would cost more than the framing itself.
Piece = tuple[bytes, int, bool]


class CompletionView:
    """The framing of POST completions: the frames as they are, then `[DONE]` and the end of the body.

    `chunked`: HTTP/1.1; otherwise the body ends with the connection (HTTP/1.0).
    """

    __slots__ = ("_chunked", "_log", "keepalive")

    def __init__(self, log: StreamLog, *, chunked: bool) -> None:
        self._log = log
        self._chunked = chunked
        self.keepalive = http1.encode_chunk(sse.KEEPALIVE) if chunked else sse.KEEPALIVE

    def piece(self, seq: int) -> Piece:
        """The next bytes for a reader at `seq`."""
        log = self._log
        next_seq = log.next_seq
        if next_seq - seq == 1 and log.ending is None:  # one new token, as nearly always
            frame = log.last
            return (http1.encode_chunk(frame) if self._chunked else frame), next_seq, False
        frames = log.read(seq, MAX_PIECE_BYTES)
        next_seq = seq + len(frames)
        last = log.ending is not None and next_seq == log.next_seq
        if last:
            frames.append(sse.DONE)
        data = b"".join(frames)
        if self._chunked:
            data = http1.encode_chunk(data) + (http1.LAST_CHUNK if last else b"")
        return data, next_seq, last
