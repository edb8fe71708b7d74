"""Pure: what delivery needs to know of a log and of a framing of it; the log and its views are made elsewhere."""

from typing import Protocol

from gateway.endings import Ending

# Bytes for a reader, the position behind them, and whether they hold the end of the body. A plain tuple: it is made
# per token, and a dataclass would cost more than the framing itself.
Piece = tuple[bytes, int, bool]


class View(Protocol):
    """One framing of one log."""

    keepalive: bytes  # what may stand between two pieces
    bare_chunks: bool  # a frame goes out as a transfer chunk of its own, with nothing added
    resumable: bool  # a reader that is cut off can come again and go on where it was

    def one(self, frame: bytes, seq: int) -> bytes:
        """The bytes of one frame, the one at `seq`."""

    def piece(self, seq: int) -> Piece:
        """The next bytes for a reader at `seq`; none if there are none yet."""

    def farewell(self, ending: Ending, retry_ms: int | None = None) -> bytes:
        """What a reader is told that is sent away before the end, the end of its body included.

        With `retry_ms` it is to come again, so that it is not told of an end.
        """


class Log(Protocol):
    """The log that is delivered."""

    held: list[bytes]  # the frames that are held, oldest first
    bytes: int  # of the frames that are held
    next_seq: int  # the position behind the newest frame
    ending: Ending | None
