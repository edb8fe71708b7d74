"""Pure: what is delivered: a log, its framings (views), and the pieces that subscribers at one position share.

In: a view, a position and the bytes that end a connection's body. Out: the bytes of one send. The log and its views
are made elsewhere (`gateway/stream/`). The invariant: subscribers of one view that stand at one position are sent the
very same object of bytes.
"""

from typing import Protocol

from gateway.delivery.long_piece import Sendable
from gateway.endings import Ending

MAX_SHARED_PIECES = 4  # pieces of up to 64 KiB, for subscribers that follow one another through a long log


# The bytes of one send (empty: there is nothing new for the subscriber), the position behind them, and whether the
# stream is over, so that nothing follows them. A plain tuple: a frame to two subscribers takes 6 us, to which a
# `NamedTuple` would add 0.6 us.
Piece = tuple[Sendable, int, bool]


class View(Protocol):
    """One framing of one log. It says when the stream is over; how a body ends is the business of a connection."""

    keepalive: bytes  # the bytes of a comment, which may be sent between two pieces
    relays_chunks: bool  # subscribers are sent a frame as the transfer chunk in which it came from upstream
    resumable: bool  # a subscriber that is cut off can come again and go on where it was

    def framed(self, frame: bytes, seq: int) -> Sendable:
        """The bytes of one frame, which stands at `seq`."""

    def piece(self, seq: int) -> Piece:
        """The next bytes for a subscriber at `seq`. Raises `LookupError` if the log has forgotten the position."""

    def farewell(self, ending: Ending, retry_ms: int | None = None) -> bytes:
        """The last bytes for a subscriber that is sent away before the end; empty if its body has to stay unended.

        With `retry_ms` they ask the client to come again, and do not speak of an end.
        """


class Log(Protocol):
    """The log that is delivered."""

    next_seq: int  # the position behind the newest frame
    ending: Ending | None

    def append(self, frame: bytes) -> None:
        """Append one frame. Raises `ValueError` once the log is closed."""

    def extend(self, frames: list[bytes]) -> None:
        """Append frames in order. Raises `ValueError` once the log is closed."""

    def close(self, ending: Ending) -> None:
        """Write the end."""

    bytes: int  # the size of the frames that are held


def next_piece(view: View, seq: int, body_end: bytes) -> Piece:
    """The next piece for a subscriber at `seq`; the last one holds the end of the body, so that both are one send."""
    data, next_seq, over = view.piece(seq)
    return data + body_end if over else data, next_seq, over


class SharedPieces:
    """The pieces that were made last, for subscribers that come to the same position one after the other."""

    __slots__ = ("_log", "_made")

    def __init__(self, log: Log) -> None:
        self._log = log
        # Each piece with the end of the log at the time when it was made.
        self._made: dict[tuple[View, int, bytes], tuple[Piece, tuple[int, Ending | None]]] = {}

    def next(self, view: View, seq: int, body_end: bytes) -> Piece:
        """The next piece for a subscriber at `seq`: the piece that another subscriber got, if that is still right."""
        end = (self._log.next_seq, self._log.ending)
        made = self._made.get((view, seq, body_end))
        if made is not None:
            piece, end_then = made
            if end_then == end or piece[1] != end_then[0]:  # the log has not grown, or the piece was full
                return piece
        piece = next_piece(view, seq, body_end)
        if piece[0]:
            if len(self._made) >= MAX_SHARED_PIECES:
                del self._made[next(iter(self._made))]
            self._made[view, seq, body_end] = piece, end
        return piece

    def clear(self) -> None:
        """Let go of all bytes: the pass that they were made for is over."""
        self._made.clear()
