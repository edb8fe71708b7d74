"""Pure: the members of a JSON object as places in its bytes: some are exchanged, the others stay as they came.

In: the bytes of an object, and what is to change. Out: pieces of the new object, new bytes or ranges of the old ones.
The invariant: a member that is not changed keeps its very bytes, with all digits of its numbers, and its order.
"""

import json
import re
from collections.abc import Iterable, Mapping
from json.decoder import JSONDecoder, scanstring  # type: ignore[attr-defined]  # typeshed does not know it
from typing import Any, NamedTuple

from gateway.wire import json_text

MAX_MEMBERS = 1000  # of one object; each takes 5 us

Buffer = bytes | bytearray
Piece = bytes | tuple[int, int]  # new bytes, or a range (start, end) of the object's own bytes

_SPACE = re.compile(r"[ \t\n\r]*")
_NEXT = re.compile(r"[ \t\n\r]*([,}])[ \t\n\r]*")
_COLON = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
# Its `scan_once` is a scanner in C, which typeshed does not know. Numbers are not converted, however long they are.
_DECODER: Any = JSONDecoder(strict=False, parse_int=str, parse_float=str)


class Member(NamedTuple):
    """One member: its name, where its name begins (at the quote), and where its value begins and ends."""

    name: str
    at: int
    start: int
    end: int


def members_of(content: bytes) -> list[Member]:
    """The members of a valid JSON object in their order; a name that stands twice is there twice.

    Raises `ValueError` if the bytes are no object, have too many members, or are nested more deeply than Python's own
    reader goes.
    """
    text = content.decode("latin-1")  # one character a byte; the syntax of JSON is ASCII
    at = _end_of(_SPACE.match(text)) + 1
    members: list[Member] = []
    following = _SPACE.match(text, at)
    if text[_end_of(following) : _end_of(following) + 1] == "}":
        return members
    try:
        while True:
            at = _end_of(_SPACE.match(text, at))
            _, end = scanstring(text, at + 1, False)
            name = json.loads(content[at:end])
            start = _end_of(_COLON.match(text, end))
            _, end = _DECODER.scan_once(text, start)
            members.append(Member(name, at, start, end))
            if len(members) > MAX_MEMBERS:
                raise ValueError(f"it has more than {MAX_MEMBERS} members")
            separator = _NEXT.match(text, end)
            at = _end_of(separator)
            if separator is None or separator[1] == "}":
                return members
    except (StopIteration, RecursionError):
        raise ValueError("the object cannot be taken apart") from None


def exchange(length: int, members: Iterable[Member], changes: Mapping[str, bytes | None]) -> list[Piece]:
    """The pieces of an object of this length in which members have new values, or are left out (None).

    A name that stands twice is changed at each place, since nobody knows which of them an upstream reads. A member
    that is new stands before all others. If none is new and none is left out, the blanks between members stay, too.
    """
    members = list(members)
    names = {member.name for member in members}
    if all((value is None) is (name not in names) for name, value in changes.items()):
        return _with_values(length, members, changes)
    pieces: list[Piece] = []
    for name, value in changes.items():
        if value is not None and name not in names:
            pieces += [b'"%b":%b' % (name.encode(), value), b","]
    run: tuple[int, int] | None = None  # the members in a row that stay as they are
    for member in members:
        if member.name not in changes:
            run = (member.at if run is None else run[0], member.end)
            continue
        if run is not None:
            pieces += [run, b","]
            run = None
        if (value := changes[member.name]) is not None:
            pieces += [(member.at, member.start), value, b","]
    if run is not None:
        pieces += [run, b","]
    return [b"{", *pieces[:-1], b"}"]


def _with_values(length: int, members: Iterable[Member], values: Mapping[str, bytes | None]) -> list[Piece]:
    """The pieces of an object in which members have other values, and nothing else is changed."""
    pieces: list[Piece] = []
    at = 0
    for member in members:
        if (value := values.get(member.name)) is not None:
            pieces += [(at, member.start), value]
            at = member.end
    return [*pieces, (at, length)]


def object_of(values: Mapping[str, Piece | list[Piece]]) -> list[Piece]:
    """The pieces of an object with these members, each of one piece or of some."""
    pieces: list[Piece] = []
    for name, value in values.items():
        pieces += [json_text.dumps(name) + b":", *(value if isinstance(value, list) else [value]), b","]
    return [b"{", *pieces[:-1], b"}"]


def size(pieces: Iterable[Piece]) -> int:
    """The number of bytes of these pieces."""
    return sum(len(piece) if isinstance(piece, bytes) else piece[1] - piece[0] for piece in pieces)


def joined(content: Buffer, pieces: Iterable[Piece]) -> bytes:
    """The bytes of an object of these pieces, some of which are ranges of `content`."""
    return b"".join([piece if isinstance(piece, bytes) else content[piece[0] : piece[1]] for piece in pieces])


def _end_of(match: re.Match[str] | None) -> int:
    if match is None:
        raise ValueError("the object cannot be taken apart")
    return match.end()
