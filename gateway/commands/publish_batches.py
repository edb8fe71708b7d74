"""Pure: what `rivergate publish` reads, cut into events, and the events put into bodies.

In: reads of the input, cut anywhere. Out: events, each as a part of a body, with its number in the input.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple, Protocol

from gateway.wire import json_text, sse

MAX_BATCH_EVENTS = 1000
MAX_BATCH_BYTES = 262144
MAX_INPUT_BYTES = 16 << 20  # of one event; the gateway takes less


class InputFormat(StrEnum):
    """How the input is read."""

    LINES = "lines"  # each line is the data of an event
    NDJSON = "ndjson"  # each line is an event as JSON
    SSE = "sse"


class InputEvent(NamedTuple):
    """One event: its part of a body, and the number of its line in the input, or of the event itself."""

    part: bytes
    number: int


class BrokenInput(Exception):
    """The input cannot be read any further; the text tells where and why."""


class InputReader(Protocol):
    """Cuts the input into events."""

    unit: str  # what the numbers of the events count
    content_type: str

    def feed(self, data: bytes) -> Iterator[InputEvent]:
        """The events that these bytes complete. Raises `BrokenInput`, after the events before the fault."""

    def finish(self) -> Iterator[InputEvent]:
        """The event at the end of the input, if there is one."""


class LineReader:
    """The reader of lines: each is an event, in JSON or as its data. Blank lines are none."""

    unit = "line"
    content_type = "application/x-ndjson"

    def __init__(self, *, is_json: bool) -> None:
        self._is_json = is_json
        self._rest = b""
        self._number = 0

    def feed(self, data: bytes) -> Iterator[InputEvent]:
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = self._rest + lines[0]
            self._rest = rest
        else:
            self._rest += rest
        for line in lines:
            yield from self._event(line)
        if len(self._rest) > MAX_INPUT_BYTES:
            raise BrokenInput(f"line {self._number + 1} of the input is longer than {MAX_INPUT_BYTES} bytes")

    def finish(self) -> Iterator[InputEvent]:
        rest, self._rest = self._rest, b""
        yield from self._event(rest)

    def _event(self, line: bytes) -> Iterator[InputEvent]:
        self._number += 1
        line = line.removesuffix(b"\r")
        if not line.strip():
            return
        if not self._is_json:
            try:
                line = json_text.dumps({"data": line.decode("utf-8-sig" if self._number == 1 else "utf-8")})
            except UnicodeDecodeError:
                raise BrokenInput(f"line {self._number} of the input is not UTF-8") from None
        yield InputEvent(line + b"\n", self._number)


class EventReader:
    """The reader of server-sent events."""

    unit = "event"
    content_type = "text/event-stream"

    def __init__(self) -> None:
        self._decoder = sse.BlockDecoder(MAX_INPUT_BYTES)
        self._number = 0

    def feed(self, data: bytes) -> Iterator[InputEvent]:
        try:
            blocks = self._decoder.feed(data)
        except sse.EventFault as error:
            yield from self._events(error.blocks)
            raise BrokenInput(f"event {self._number + 1} of the input: {error}") from None
        yield from self._events(blocks)

    def finish(self) -> Iterator[InputEvent]:
        if rest := self._decoder.finish():
            yield from self._events([rest.rstrip(b"\n") + b"\n\n"])

    def _events(self, blocks: list[bytes]) -> Iterator[InputEvent]:
        for block in blocks:
            if sse.decode(block).data is not None:
                self._number += 1
                yield InputEvent(block, self._number)


class Batch:
    """The events of the next body."""

    def __init__(self) -> None:
        self.events: list[InputEvent] = []
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether the body should be sent before more is read."""
        return len(self.events) >= MAX_BATCH_EVENTS or self._bytes >= MAX_BATCH_BYTES

    @property
    def body(self) -> bytes:
        """The body."""
        return b"".join(event.part for event in self.events)

    def add(self, event: InputEvent) -> None:
        """Add an event."""
        self.events.append(event)
        self._bytes += len(event.part)


def reader_of(form: InputFormat) -> InputReader:
    """The reader of input in this format."""
    return EventReader() if form is InputFormat.SSE else LineReader(is_json=form is InputFormat.NDJSON)
