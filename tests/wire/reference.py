"""A slow and obvious reading of WHATWG HTML 9.2.6, one character at a time, to compare the decoder with."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dispatched:
    """An event that an `EventSource` would dispatch; its type is None if the event has no name."""

    data: bytes
    name: bytes | None
    last_id: bytes


def lines_of(stream: bytes) -> list[bytes]:
    """The terminated lines of a stream, without their ends and without a leading BOM."""
    stream = stream.removeprefix(b"\xef\xbb\xbf")
    lines: list[bytes] = []
    line = b""
    position = 0
    while position < len(stream):
        character = stream[position : position + 1]
        if character == b"\r":
            lines.append(line)
            line = b""
            if stream[position + 1 : position + 2] == b"\n":
                position += 1
        elif character == b"\n":
            lines.append(line)
            line = b""
        else:
            line += character
        position += 1
    return lines


def events_of(stream: bytes) -> list[Dispatched]:
    """The events that a whole stream dispatches; an unfinished event at its end is dropped."""
    events: list[Dispatched] = []
    data, name, last_id = b"", b"", b""
    for line in lines_of(stream):
        if line == b"":
            if data != b"":
                events.append(Dispatched(data[:-1], name or None, last_id))
            data, name = b"", b""
            continue
        if line.startswith(b":"):
            continue
        if b":" in line:
            at = line.index(b":")
            field, value = line[:at], line[at + 1 :]
            if value[:1] == b" ":
                value = value[1:]
        else:
            field, value = line, b""
        if field == b"event":
            name = value
        elif field == b"data":
            data += value + b"\n"
        elif field == b"id" and b"\0" not in value:
            last_id = value
    return events
