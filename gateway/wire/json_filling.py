"""Pure: fills the stand-ins of a JSON text that was made from an abridged one (wire/json_abridged.py).

In: an `Abridged`, and a JSON text in which its stand-ins stand, as they were or moved, some perhaps left out or
joined in one string; a text with stand-ins may itself stand in a string, as an object does that was made the text of
a tool call's arguments. Out: the long text, in parts of `PART_BYTES`, or some times that where they are escaped.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.wire import json_text
from gateway.wire.json_abridged import Abridged, LeftOut, Range
from gateway.wire.json_members import Buffer

MAX_DIGITS = 9  # of the number of a stand-in
# What stands around a stand-in, by the level and by what it stands for.
_AROUND = [{b"S": (b"", b""), b"L": (quote, quote), b"O": (quote, quote + b":0")} for quote in (b'"', b'\\"')]
PART_BYTES = 131072  # 0.1 ms to copy, 1 ms to escape

_ESCAPES = ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t"))
_IN_STRING = 1  # the level of a text that stands in a string


class FilledText:
    """A JSON text whose stand-ins are filled while it is sent."""

    __slots__ = ("_abridged", "_text")

    def __init__(self, abridged: Abridged, text: bytes) -> None:
        self._abridged = abridged
        self._text = text

    def __bytes__(self) -> bytes:
        return b"".join(self.parts())

    @property
    def size(self) -> int | None:
        """Its size in bytes; None if only the filling can tell."""
        return filled_size(self._abridged, self._text)

    def parts(self) -> Iterator[bytes]:
        """The text, in parts that take a millisecond each."""
        return filled(self._abridged, self._text)


def filled(abridged: Abridged, text: bytes) -> Iterator[bytes]:
    """The parts of the text with all stand-ins filled. No line end of Unicode is left in it."""
    for part, level in _parts(abridged, text):
        if isinstance(part, bytes):
            yield part
            continue
        for piece in _pieces(abridged.data, part):
            if level == _IN_STRING:
                for plain, escaped in _ESCAPES:
                    piece = piece.replace(plain, escaped)
            yield json_text.escape_line_ends(piece) if abridged.has_line_ends else piece


def filled_size(abridged: Abridged, text: bytes) -> int | None:
    """The size of the text with all stand-ins filled; None if only the filling can tell."""
    size = 0
    for part, level in _parts(abridged, text):
        if isinstance(part, bytes):
            size += len(part)
        elif level == _IN_STRING or abridged.has_line_ends:
            return None
        else:
            size += part.end - part.start if part.other is None else len(part.other)
    return size


def hidden_text_bytes(abridged: Abridged, text: bytes) -> int:
    """How many bytes of text stand behind the stand-ins that are left in the text."""
    if not any(cut.hidden_text_bytes for cut in abridged.cuts):
        return 0
    return sum(cut.hidden_text_bytes for _, cut, _ in _stand_ins(abridged, text))


def without_stand_ins(abridged: Abridged, words: str) -> str:
    """Words without the stand-ins in them, for words that are not filled, and may be a JSON text."""
    first, second = (f"(?:{mark.decode('unicode-escape')}|{re.escape(mark.decode())})" for mark in abridged.marks)
    return re.sub(f"[SLO]{first}{second}[0-9]+{first}", "", words)


def object_of(abridged: Abridged, short: Mapping[str, Any]) -> bytes | None:
    """The object that was cut, for an object with nothing but its stand-in; None for any other object."""
    first, second = (mark.decode("unicode-escape") for mark in abridged.marks)
    found = re.fullmatch(f"O{first}{second}([0-9]{{1,{MAX_DIGITS}}}){first}", next(iter(short), ""))
    if found is None or (number := int(found[1])) >= len(abridged.cuts):
        return None
    inner = [piece for part in abridged.cuts[number].ranges for piece in _pieces(abridged.data, part)]
    return b"{%b}" % b"".join(inner)


def _parts(abridged: Abridged, text: bytes) -> Iterator[tuple[bytes | Range, int]]:
    """The parts of the text, and the ranges that fill it; with each range the level at which it stands."""
    at = 0
    for (start, end), cut, level in _stand_ins(abridged, text):
        yield text[at:start], 0
        for part in cut.ranges:
            yield part, level
        at = end
    yield text[at:], 0


def _stand_ins(abridged: Abridged, text: bytes) -> Iterator[tuple[tuple[int, int], LeftOut, int]]:
    """Where the stand-ins of the text are, what each stands for, and the level at which it stands."""
    first, second = (mark[1:] for mark in abridged.marks)
    pattern = rb"([SLO])(\\{1,2})%b\2%b([0-9]+)\2%b" % (first, second, first)
    filled_before = set[int]()
    for found in re.finditer(pattern, text):
        # Each is filled once: what looks like another is not ours, and could make a text of any length.
        if len(found[3]) > MAX_DIGITS or (number := int(found[3])) in filled_before or number >= len(abridged.cuts):
            continue
        cut, level = abridged.cuts[number], len(found[2]) - 1
        before, behind = _AROUND[level][cut.kind]
        start, end = found.start() - len(before), found.end() + len(behind)
        if found[1] == cut.kind and text.startswith(before, start) and text.endswith(behind, 0, end):
            filled_before.add(number)
            yield (start, end), cut, level


def _pieces(data: Buffer, part: Range) -> Iterator[bytes]:
    """A range in pieces that end between two characters."""
    if part.other is not None:
        yield part.other
        return
    at = part.start
    while at < part.end:
        stop = min(at + PART_BYTES, part.end)
        while stop < part.end and data[stop] & 0xC0 == 0x80:  # inside of a character of UTF-8
            stop -= 1
        yield bytes(data[at:stop])
        at = stop
