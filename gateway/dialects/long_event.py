"""Pure: one long event of a stream, which a dialect's reader reads in short, so that no step takes long.

In: the block of the event, and the shape of what is looked at in it. Out, in short steps: a short block for the
reader, and later the frame that the reader made of it, with all that the short block lacks. The invariant: an event
that the reader did not change is relayed as the very object of bytes that came.
"""

import io
from collections.abc import Generator

from gateway.wire import json_text, sse
from gateway.wire.json_abridged import Abridged, Abridger, Shape, TooManyEntries
from gateway.wire.json_filling import filled, hidden_text_bytes, without_stand_ins
from gateway.wire.json_members import Buffer
from gateway.wire.json_outline import TooDeep

LONG_BYTES = 32768  # a longer event or answer is read in steps; this one takes 3 ms, and 11 with NaN among numbers
_SCAN_BYTES = 1 << 20  # what is searched for line ends in one step: 0.1 ms
_LINES_OF_STEP = 1000
_SHORT_LINE = 1024  # bytes of a line that is kept beside the data: the event's name
_BEGINNING = 4096  # bytes of an event that is no JSON: more than an error tells of it


class TooMuch(ValueError):
    """The error for an event that holds more than is read, in words for the client."""


class LongEvent:
    """One long event. `size`: the bytes of its block."""

    def __init__(self, block: bytes, shape: Shape, max_lines: int, beside: bytes = b"") -> None:
        """`beside`: a JSON text of what a reader may add to the event."""
        self._block = block
        self._shape = shape
        self._max_lines = max_lines
        self._beside = beside
        self._abridged: Abridged | None = None
        self._short = b""
        self.size = len(block)

    def shortened(self) -> Generator[None, None, bytes]:
        """The short block; empty if the event has no data. Raises `TooMuch`, or `ValueError` if it is no JSON."""
        head, data, start, end = yield from self._find_data()
        if start == end:
            return b""
        abridger = Abridger(data, self._shape, start, end, self._beside)
        try:
            yield from abridger.steps()
            self._abridged = abridger.abridged()
        except (TooManyEntries, TooDeep) as problem:
            raise TooMuch(f"the upstream sent an event that cannot be read: {problem}") from None
        # What is kept as it came may be printed prettily; outside of strings a line end is a blank.
        self._short = head + self._abridged.text.replace(b"\n", b" ") + b"\n\n"
        return self._short

    def beginning(self) -> bytes:
        """A short block that begins as the event does, and is no JSON either."""
        return self._block[:_BEGINNING] + b"}\n\n"

    def frame(self, frame: bytes) -> Generator[None, None, bytes]:
        """The frame for subscribers, made of the frame that a reader made of the short block."""
        abridged = self._abridged
        assert abridged is not None
        is_changed = abridged.has_line_ends or abridged.is_repaired or frame != self._short
        # Without a comment, `id` or `retry` beside its data.
        if not is_changed and (sse.is_frame(self._block) or sse.is_named_frame(self._block)):
            return self._block
        out = io.BytesIO()  # its bytes are handed out without being copied
        for part in filled(abridged, frame):
            out.write(part)
            yield
        return out.getvalue()

    def hidden_text_bytes(self, frame: bytes) -> int:
        """How many bytes of text the frame of the event has more than the frame made of the short block shows."""
        return hidden_text_bytes(self._abridged, frame) if self._abridged is not None else 0

    def words(self, text: str) -> str:
        """Words from the short block as a client may read them."""
        return text if self._abridged is None else without_stand_ins(self._abridged, text)

    def value(self, short: object) -> object:
        """A whole value for one that was read in the short block, in one step; None if it cannot be written."""
        assert self._abridged is not None
        try:
            return json_text.loads(b"".join(filled(self._abridged, json_text.dumps(short))))
        except ValueError:  # it is nested too deeply
            return None

    def _find_data(self) -> Generator[None, None, tuple[bytes, Buffer, int, int]]:
        """What stands before the data in the short block, and where the data stands in which bytes."""
        block, name, places = self._block, b"", list[tuple[int, int]]()
        at, lines = 0, 0
        while at < len(block):
            end = yield from self._line_end(at)
            if block.startswith(b"data:", at, end):
                places.append((at, end))
            elif end - at <= _SHORT_LINE and block.startswith(b"event:", at):
                name = block[at : end + 1]  # of many names the last one holds (WHATWG HTML, section 9.2.6)
            at, lines = end + 1, lines + 1
            if lines > self._max_lines:
                raise TooMuch(f"the upstream sent an event of more than {self._max_lines} lines")
            if lines % _LINES_OF_STEP == 0:
                yield
        if len(places) == 1:
            start, end = places[0]
            head = b"data: " if block.startswith(b"data: ", start) else b"data:"
            return name + head, block, start + len(head), end
        if places:
            joined = yield from self._joined(places)
            return name + b"data:", joined, 0, len(joined)
        is_bare = block[:_SHORT_LINE].lstrip().startswith(b"{")  # an object in place of an event
        return b"data: ", block, 0, len(block) if is_bare else 0

    def _line_end(self, at: int) -> Generator[None, None, int]:
        while (end := self._block.find(b"\n", at, at + _SCAN_BYTES)) < 0:
            at += _SCAN_BYTES
            if at >= len(self._block):
                return len(self._block)
            yield
        return end

    def _joined(self, places: list[tuple[int, int]]) -> Generator[None, None, bytearray]:
        """The data of an event that has many lines."""
        joined = bytearray()
        for number, (start, end) in enumerate(places):
            joined += b"\n"
            for at in range(start + len("data:"), end, _SCAN_BYTES):
                joined += self._block[at : min(at + _SCAN_BYTES, end)]
                if number % _LINES_OF_STEP == 0 or end - at > _SCAN_BYTES:
                    yield
        return joined
