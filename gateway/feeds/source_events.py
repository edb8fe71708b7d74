"""Pure: what an SSE source sends becomes the frames of a feed's log.

In: reads of the source's answer, one connection after the other. Out: frames; the id behind which the source is asked
to go on; how long it asks its clients to wait. The invariant: names, data and order are the source's own. An event
that is too large is told as missing, so that no event is ever asked for twice because it cannot be taken.
Source: WHATWG HTML, section 9.2.5 and 9.2.6 (server-sent events).
"""

from collections.abc import Callable

from gateway.stream.log import StreamLog
from gateway.stream.view import CONTROL, SOURCE_ID
from gateway.wire import http1, sse

MAX_LINES = 20_000  # of one event, which takes 0.4 us a line
MAX_ID_BYTES = 4096  # of a source's id that is sent back to it: common servers refuse header lines of more than 8 KiB
LONGEST_RETRY = 30.0  # seconds of a source's `retry` that are respected
SHORTEST_RETRY = 0.01  # seconds
LAST_EVENT_ID = "Last-Event-ID"
CONTROL_NAMES = frozenset({b"gap", b"reset", b"end", b"source"})  # of the gateway's own events


class SourceEvents:
    """The events of one source. `retry_seconds`: what the source asked for last, if it did."""

    def __init__(self, last_id: bytes, max_event_bytes: int, log: Callable[[], StreamLog]) -> None:
        """`log`: the log for which the frames are, and which knows how control events are named in it."""
        self._max_event_bytes = max_event_bytes
        self._log = log
        self._last_id = b""
        self._id_line = b""  # stands before each event: the source's last id stays until it gives another
        self._decoder = sse.BlockDecoder()
        self.retry_seconds: float | None = None
        self._set_id(last_id)

    def begin(self) -> None:
        """Read a new connection from now on; the beginning of an event that was cut is dropped."""
        self._decoder = sse.BlockDecoder(self._max_event_bytes, discards=True)

    @property
    def last_id(self) -> bytes:
        """The id behind which the source is asked to go on; empty without one, or if no request can carry it."""
        return self._last_id if is_sendable(self._last_id) else b""

    def drop_id(self) -> None:
        """Forget the last id, so that the source is asked for what comes now."""
        self._set_id(b"")

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that the next bytes bring. Raises `EventFault`, with the frames before in `blocks`."""
        try:
            blocks = self._decoder.feed(data)
        except sse.EventFault as fault:
            fault.blocks = self._frames(fault.blocks)
            raise
        return self._frames(blocks)

    def control(self, name: str, fields: dict[str, object]) -> bytes:
        """The frame of a control event for the log."""
        return CONTROL + self._log().control(name, fields)

    # --- inside

    def _frames(self, blocks: list[bytes]) -> list[bytes]:
        return [frame for block in blocks if (frame := self._frame(block))]

    def _frame(self, block: bytes) -> bytes:
        """The event as the log holds it, behind the source's last id; empty for a block that is no event."""
        if sse.is_frame(block):
            return self._id_line + block if self._id_line else block
        if len(block) > MAX_LINES and block.count(b"\n") > MAX_LINES:
            block = sse.remains_of(block)
        event = sse.decode(block)
        if event.retry is not None:
            self.retry_seconds = min(max(event.retry / 1000, SHORTEST_RETRY), LONGEST_RETRY)
        if event.id is not None:
            self._set_id(event.id)
        if isinstance(block, sse.Remains):
            return self.control("gap", {"missed": 1})
        if event.data is None:
            return b""
        if event.name is not None and event.name in CONTROL_NAMES:
            self._log().avoid(event.name.decode())
        return self._id_line + sse.frame(event.data, event.name)

    def _set_id(self, source_id: bytes) -> None:
        if source_id != self._last_id:
            self._last_id = source_id
            self._id_line = b"%b%b\n" % (SOURCE_ID, source_id) if source_id else b""


def is_sendable(source_id: bytes) -> bool:
    """Whether a request can carry this id, and a common server takes it."""
    return len(source_id) <= MAX_ID_BYTES and http1.is_field(LAST_EVENT_ID, source_id.decode("latin-1"))


def foreign_names_in(frames: list[bytes]) -> list[str]:
    """The names of control events that the source has used in these frames of a log."""
    found = set()
    for frame in frames:
        line = frame.partition(b"\n")[2] if frame.startswith(SOURCE_ID) else frame
        if line.startswith(b"event: ") and (name := line[7 : line.index(b"\n")]) in CONTROL_NAMES:
            found.add(name.decode())
    return sorted(found)
