"""Pure: the events in the body of a publication: one as JSON, many as lines of JSON, or server-sent events.

In: a whole body. Out, in steps of some milliseconds: the events as frames, and what is wrong with the first one that
is at fault. The invariant: a frame holds one event, whatever stands in the texts that were sent; and the events of a
body are those before the first fault, in their order.

A line end in `data` is a line end of SSE: CR LF and CR become LF (WHATWG HTML, section 9.2.6). `data` that is no text
is sent as its JSON, in the very bytes that came, on one line.
"""

import re
from collections.abc import Generator, Iterator
from typing import Any, Literal, NamedTuple

from gateway.errors import ClientError, InvalidParameter, PayloadTooLarge
from gateway.feeds.long_data import data_in_parts
from gateway.feeds.source_events import CONTROL_NAMES, MAX_LINES
from gateway.stream.view import SOURCE_ID
from gateway.wire import json_text, sse
from gateway.wire.json_members import Buffer, Member, members_of
from gateway.wire.json_outline import PIECE_BYTES, NotAnObject, OutlineReader

BodyKind = Literal["json", "ndjson", "sse"]
Steps = Generator[None, None, None]

MAX_EVENTS = 10_000  # of one body: their positions are told in one answer of a quarter of a megabyte
MAX_FIELD_BYTES = 256  # of `event` and of `id`, which browsers send back in a header, and the gateway remembers
MAX_DEPTH = 200  # of a long event
RESERVED_NAMES = frozenset(name.decode() for name in CONTROL_NAMES)
_FIELDS = frozenset({"data", "event", "id"})
_OTHER_LINES = 100  # of a server-sent event, beside its data
_SLICE_BYTES = 16384  # of server-sent events that are read in one step
_BYTES_OF_STEP = 32768  # of lines
_LINES_OF_STEP = 100  # each takes up to 20 us
_BLANKS_OF_STEP = 65536
_EMPTY_EVENT_BYTES = 7  # the shortest event, `data:` and two line ends; shorter blocks are a flood
_ESCAPED = 6  # bytes for one, in a string of JSON in which each character is an escape
_BLANKS = re.compile(rb"[ \t\r\n]*+")
_BOM = b"\xef\xbb\xbf"


class NewEvent(NamedTuple):
    """An event to be published: its frame, and the id by which it is known again."""

    frame: bytes
    id: str | None


class Publication:
    """The events of one body, which `steps` reads. Whoever takes events while it does keeps them from piling up."""

    def __init__(self, kind: BodyKind, content: Buffer, max_event_bytes: int) -> None:
        self.count = 0  # events that were read
        self._events: list[NewEvent] = []  # those of them that were not taken
        self.fault: ClientError | None = None  # why the rest of the body is not read
        self.place = ""  # of the fault: "line 3", "event 3"; "": the body has no places
        self._kind = kind
        self._content = content
        self._max_event_bytes = max_event_bytes
        self._blocks = 0  # of server-sent events, those without data included

    def take(self) -> list[NewEvent]:
        """The events that were read since the last call."""
        events, self._events = self._events, []
        return events

    def steps(self) -> Steps:
        """The steps of the work, after which `fault` says whether it came to the end of the body."""
        read = {"json": self._read_one, "ndjson": self._read_lines, "sse": self._read_events}[self._kind]
        try:
            yield from read()
            if not self.count:
                self.place = ""
                raise ClientError("the body holds no event")
        except ClientError as fault:
            self.fault = fault

    def _read_one(self) -> Steps:
        self._check_size(len(self._content))
        text = bytes(self._content.removeprefix(_BOM))
        if text.strip():
            yield from self._read(text)

    def _read_lines(self) -> Steps:
        content, line, lines = self._content, 1, 0
        at = since = len(_BOM) if content.startswith(_BOM) else 0
        while at < len(content):
            before, at = at, _end_of_blanks(content, at)
            if at > before:
                line += content.count(b"\n", before, at)
            else:
                end = content.find(b"\n", at)
                end = len(content) if end < 0 else end
                self.place = f"line {line}"
                self._check_size(end - at)
                yield from self._read(bytes(content[at:end]))
                at, lines = end, lines + 1
            if lines >= _LINES_OF_STEP or at - since >= _BYTES_OF_STEP:
                lines, since = 0, at
                yield

    def _read_events(self) -> Steps:
        decoder = sse.BlockDecoder(self._max_event_bytes, tiny_bytes=_EMPTY_EVENT_BYTES)
        for start in range(0, len(self._content), _SLICE_BYTES):
            try:
                blocks = decoder.feed(bytes(self._content[start : start + _SLICE_BYTES]))
            except sse.EventFault as error:
                self._take_blocks(error.blocks)
                self.place = f"event {self.count + 1}"
                too_large = isinstance(error, sse.EventTooLarge)
                raise self._too_large() if too_large else ClientError(f"the body has {error}") from None
            self._take_blocks(blocks)
            yield
        # The body is whole, so an event at its end is whole as well, even without the blank line behind it.
        self._take_blocks([decoder.finish()])

    def _take_blocks(self, blocks: list[bytes]) -> None:
        for block in blocks:
            self.place = f"event {self.count + 1}"
            self._blocks += 1
            if self._blocks > MAX_EVENTS + 1:
                raise _too_many_events()
            if block.count(b"\n") > MAX_LINES + _OTHER_LINES:
                raise _too_many_lines()
            event = sse.decode(block)
            if event.data is not None:
                self._add(_decoded(event.data), _decoded(event.name or b""), _decoded(event.id or b""))

    def _read(self, text: bytes) -> Steps:
        """Read the JSON of one event."""
        self._check_size(len(text))
        try:
            if len(text) <= PIECE_BYTES:
                fields = _fields(json_text.loads_numbers(text))
                data = fields["data"]
                if not isinstance(data, str):
                    data = _json_of(text)
            else:
                reader = OutlineReader(text, MAX_DEPTH)
                while not reader.step():
                    yield
                members = reader.outline().members
                fields = _fields({member.name: _short_value(text, member) for member in members})
                data = yield from data_in_parts(text, members)
        except NotAnObject:
            raise _no_object(text.startswith(b"[")) from None
        except ValueError as error:
            raise _no_json(error) from None
        self._add(data, fields.get("event"), fields.get("id"))

    def _add(self, data: str | bytes, event: object, event_id: object) -> None:
        if self.count == MAX_EVENTS:
            raise _too_many_events()
        name, known = _text("event", event), _text("id", event_id)
        if name in RESERVED_NAMES:
            raise InvalidParameter(f"the name {name} is for the gateway's own events", param="event")
        content = _lines(data) if isinstance(data, str) else data
        head = b"" if known is None else b"%b%b\n" % (SOURCE_ID, known.encode())
        self.count += 1
        self._events.append(NewEvent(head + sse.frame(content, None if name is None else name.encode()), known))

    def _check_size(self, size: int) -> None:
        if size > self._max_event_bytes:
            raise self._too_large()

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"the event is larger than max_event_bytes of the feed ({self._max_event_bytes})")


def groups(events: list[NewEvent], max_events: int, max_bytes: int) -> Iterator[list[NewEvent]]:
    """The events in their order, in groups of these limits; a group holds one event at least."""
    group: list[NewEvent] = []
    size = 0
    for event in events:
        if group and (len(group) == max_events or size + len(event.frame) > max_bytes):
            yield group
            group, size = [], 0
        group.append(event)
        size += len(event.frame)
    if group:
        yield group


def _fields(value: object) -> dict[str, Any]:
    """The fields of an event. Raises `ClientError` for what is none."""
    if not isinstance(value, dict):
        raise _no_object(isinstance(value, list))
    for name in value:
        if name not in _FIELDS:
            message = f"{name[:50]!r} is no field of an event, which has data, and perhaps event and id"
            raise InvalidParameter(message, param=name)
    if "data" not in value:
        raise InvalidParameter("data is missing", param="data")
    return value


def _json_of(text: bytes) -> bytes:
    """The JSON of `data` on one line, in the bytes that came."""
    [*_, member] = [member for member in members_of(text) if member.name == "data"]
    value = text[member.start : member.end].replace(b"\n", b" ").replace(b"\r", b" ")
    return json_text.escape_line_ends(value)


def _short_value(text: bytes, member: Member) -> object:
    """The value of a member of a long event; `data`, and what is too long for the others, is not made a value."""
    if member.name == "data" or member.name not in _FIELDS:
        return None
    if member.end - member.start > _ESCAPED * MAX_FIELD_BYTES + len('""'):
        raise _too_long(member.name)
    return json_text.loads_numbers(text[member.start : member.end])


def _lines(data: str) -> bytes:
    """A text with the line ends of SSE, in UTF-8. Raises `ClientError`."""
    if "\r" in data:
        data = data.replace("\r\n", "\n").replace("\r", "\n")
    if data.count("\n") >= MAX_LINES:
        raise _too_many_lines()
    try:
        return data.encode()
    except UnicodeEncodeError:
        raise InvalidParameter("data holds half of a surrogate pair, which is no character", param="data") from None


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ClientError("it is not UTF-8") from None


def _text(name: str, value: object) -> str | None:
    """The value of `event` or `id`; None if there is none. Raises `InvalidParameter`."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidParameter(f"{name} must be a string", param=name)
    if not value.isprintable():  # a line end in it would be the beginning of another field
        raise InvalidParameter(f"{name} must not hold line ends, control characters or the like", param=name)
    if len(value.encode()) > MAX_FIELD_BYTES:
        raise _too_long(name)
    return value


def _end_of_blanks(content: Buffer, at: int) -> int:
    found = _BLANKS.match(content, at, at + _BLANKS_OF_STEP)
    return at if found is None else found.end()


def _no_json(error: ValueError) -> ClientError:
    at = getattr(error, "pos", None)
    return ClientError("it is not JSON" if at is None else f"it is not JSON, from character {at + 1} on")


def _no_object(is_list: bool) -> ClientError:
    if is_list:
        return ClientError("it is a list: many events are sent as application/x-ndjson, one a line")
    return ClientError('it is no object, such as {"data": "text"}')


def _too_long(name: str) -> InvalidParameter:
    return InvalidParameter(f"{name} must have at most {MAX_FIELD_BYTES} bytes", param=name)


def _too_many_events() -> PayloadTooLarge:
    return PayloadTooLarge(f"a body may hold {MAX_EVENTS} events")


def _too_many_lines() -> InvalidParameter:
    return InvalidParameter(f"data must have at most {MAX_LINES} lines", param="data")
