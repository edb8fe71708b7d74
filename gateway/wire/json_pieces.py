"""Pure: a JSON text of any length that is kept in pieces, and written in parts, so that no step takes long.

In: members, elements and texts, each of which was written as JSON before. Out: the parts of the text.
"""

from collections.abc import Iterator
from typing import Any, Protocol

from gateway.wire import json_text
from gateway.wire.json_abridged import Abridged
from gateway.wire.json_filling import PART_BYTES, FilledText
from gateway.wire.json_members import Buffer

_PART_PIECES = 1000  # in one part: 0.5 ms, or 4 ms if each is filled into a gap


class LongText(Protocol):
    """A JSON text that is written part by part."""

    @property
    def size(self) -> int | None:
        """Its size in bytes; None if only the writing can tell."""

    def parts(self) -> Iterator[bytes]:
        """The text, in parts that take some milliseconds each."""

    def __bytes__(self) -> bytes:
        """All of the text at once."""


class TextAsItCame:
    """A JSON text that is sent as it came (`LongText`), up to `end`, and with some bytes behind it."""

    __slots__ = ("_behind", "_content", "_end")

    def __init__(self, content: Buffer, end: int | None = None, behind: bytes = b"") -> None:
        self._content = content
        self._end = len(content) if end is None else end
        self._behind = behind

    def __bytes__(self) -> bytes:
        return b"".join(self.parts())

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self._end + len(self._behind)

    def parts(self) -> Iterator[bytes]:
        """The text, in parts that take 0.1 ms each."""
        for at in range(0, self._end, PART_BYTES):
            yield bytes(self._content[at : min(at + PART_BYTES, self._end)])
        if self._behind:
            yield self._behind


Piece = bytes | FilledText


class Text(list[Piece]):
    """A string in pieces, none of which has the quotes."""


class Elements(list["Node"]):
    """A list. A piece may stand for some elements, with the commas between them."""


Members = dict[str | int, "Node"]
"""An object. What stands under a number is a piece with some members, and their names."""

Node = Piece | Text | Elements | Members


class PieceWriter:
    """Writes values as pieces. `abridged`: the text from which the values were made, if it was a long one."""

    __slots__ = ("_abridged", "_mark", "_name_mark")

    def __init__(self, abridged: Abridged | None = None) -> None:
        self._abridged = abridged
        self._mark = b"" if abridged is None else abridged.marks[0]
        self._name_mark = None if abridged is None else (b"O%b%b" % abridged.marks).decode("unicode-escape")

    def write(self, value: Any) -> Piece:
        """The value as a piece. Raises `ValueError` if it is nested too deeply."""
        text = json_text.dumps_line(value)
        # A copy, since what the codec gives keeps a buffer of kilobytes.
        return self._filled(text) or bytes(memoryview(text))

    def write_inner(self, value: Any) -> Piece:
        """The inside of a string, a list or an object: the value without its first and its last character."""
        text = json_text.dumps_line(value)[1:-1]
        return self._filled(text) or text

    def is_left_out(self, name: str) -> bool:
        """Whether a name stands for members that were left out of the long text."""
        return self._name_mark is not None and name.startswith(self._name_mark)

    def _filled(self, text: bytes) -> FilledText | None:
        return FilledText(self._abridged, text) if self._abridged is not None and self._mark in text else None


class JoinedText:
    """The text of an object that is kept in pieces (`LongText`)."""

    __slots__ = ("_members",)

    size = None

    def __init__(self, members: Members) -> None:
        self._members = members

    def __bytes__(self) -> bytes:
        return b"".join(self.parts())

    def parts(self) -> Iterator[bytes]:
        """The text, in parts that take some milliseconds each."""
        held: list[bytes] = []
        size = 0
        for piece in _written(self._members):
            held.append(piece)
            size += len(piece)
            if size >= PART_BYTES or len(held) == _PART_PIECES:
                yield b"".join(held)
                held, size = [], 0
        yield b"".join(held)


def _written(node: Node) -> Iterator[bytes]:
    if isinstance(node, bytes):
        yield node
    elif isinstance(node, FilledText):
        yield from node.parts()
    elif isinstance(node, Text):
        yield b'"'
        for piece in node:
            yield from _written(piece)
        yield b'"'
    elif isinstance(node, Elements):
        yield b"["
        for number, element in enumerate(node):
            if number:
                yield b","
            yield from _written(element)
        yield b"]"
    else:
        yield b"{"
        for number, (name, value) in enumerate(node.items()):
            if number:
                yield b","
            if isinstance(name, str):
                yield json_text.dumps_line(name) + b":"
            yield from _written(value)
        yield b"}"
