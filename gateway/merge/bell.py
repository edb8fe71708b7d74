"""Shell: the subscriber of a merge at one channel: a bell that rings when the log of the channel has grown or ended.

A merge reads the log by itself, at its own position, so its view makes no bytes worth sending, and its sink takes
them without looking at them. It is never blocked.
"""

import socket
from collections.abc import Callable

from gateway.delivery.long_piece import Sendable
from gateway.delivery.pieces import Piece
from gateway.endings import Ending
from gateway.stream.log import StreamLog

_RING = b"."  # any bytes: an empty piece would not be written to the sink


class BellView:
    """The view of a log that says only whether there is anything new (`View`)."""

    __slots__ = ("_log",)

    keepalive = b""
    relays_chunks = False
    resumable = True

    def __init__(self, log: StreamLog) -> None:
        self._log = log

    def framed(self, frame: bytes, seq: int) -> Sendable:
        return _RING

    def piece(self, seq: int) -> Piece:
        log = self._log
        over = log.ending is not None
        return _RING if over or seq < log.next_seq else b"", log.next_seq, over

    def farewell(self, ending: Ending, retry_ms: int | None = None) -> bytes:
        return b""


class Bell:
    """The sink of a merge at one channel (`Sink`)."""

    __slots__ = ("_on_ring",)

    body_end = b""
    steady = False
    direct: socket.socket | None = None
    blocked = False

    def __init__(self, on_ring: Callable[[], None]) -> None:
        """`on_ring`: called when the log may have grown or ended."""
        self._on_ring = on_ring

    def write(self, data: Sendable) -> None:
        self._on_ring()

    def on_short_write(self, data: Sendable, sent: int) -> None:
        """Nothing: there is no socket that could take less than a piece."""

    def when_sent(self, call: Callable[[], None]) -> None:
        call()

    def unsent_bytes(self) -> int:
        return 0

    def kernel_bytes(self) -> int:
        return 0

    def abort(self) -> None:
        """Nothing: there is no connection."""

    def close(self) -> None:
        """Nothing: there is no connection."""
