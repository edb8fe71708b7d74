"""Pure: the `data` of a long event in JSON, read in parts of a millisecond.

In: the text of the event, which is valid JSON, and the places of its members. Out: a text, or the JSON of any other
value on one line.
"""

import re
from collections.abc import Generator, Iterator, Sequence

from gateway.wire import json_text
from gateway.wire.json_members import Member

PART_BYTES = 131072
# Whole characters of a JSON string, and whole escapes; two escapes that make one character stay together.
_CHARACTERS = re.compile(
    rb'(?:[^"\\]++|\\(?:["\\/bfnrt]|u[dD][89abAB][0-9a-fA-F]{2}\\u[0-9a-fA-F]{4}|u(?![dD][89abAB])[0-9a-fA-F]{4}))++'
)


def data_in_parts(text: bytes, members: Sequence[Member]) -> Generator[None, None, str | bytes]:
    """The value of the last member `data`: a string as `str`, any other as its JSON. Raises `ValueError`."""
    [*_, member] = [member for member in members if member.name == "data"]
    value = text[member.start : member.end].strip()
    if not value.startswith(b'"'):
        return (yield from _joined(_one_line(value)))
    parts: list[str] = []
    at, end = 1, len(value) - 1
    while at < end:
        found = _CHARACTERS.match(value, at, min(at + PART_BYTES, end))
        stop = at if found is None else _between_characters(value, found.end())
        if stop == at:
            raise ValueError("data holds half of a surrogate pair")
        parts.append(json_text.loads(b'"%b"' % value[at:stop]))
        at = stop
        yield
    return "".join(parts)


def _one_line(value: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(value):
        stop = _between_characters(value, min(at + PART_BYTES, len(value)))
        yield json_text.escape_line_ends(value[at:stop].replace(b"\n", b" ").replace(b"\r", b" "))
        at = stop


def _joined(parts: Iterator[bytes]) -> Generator[None, None, bytes]:
    found: list[bytes] = []
    for part in parts:
        found.append(part)
        yield
    return b"".join(found)


def _between_characters(value: bytes, at: int) -> int:
    """The last place up to `at` that is not in the midst of a character of UTF-8."""
    while at < len(value) and value[at] & 0xC0 == 0x80:
        at -= 1
    return at
