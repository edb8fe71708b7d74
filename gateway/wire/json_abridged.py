"""Pure: a long JSON text in short: what is long in it and not looked at is left out, and stands aside.

In: a long text, and a `Shape` that says what is looked at of it. Out, in short steps: an `Abridged`, whose `text` is
a short JSON text with stand-ins, from which a value is made as from any other. What that value is written as later is
filled again by wire/json_filling.py: each stand-in that is still there gives way to the bytes that it stood for.

A stand-in is a letter and a number between control characters that stand together nowhere else in the short text. In
a string it follows the beginning of the string, which is kept, so that words can be read in it. Otherwise it is the
only element of a list, or the name of a member. So a value keeps its type, and is as true or empty as it was.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from gateway.wire import json_text
from gateway.wire.json_members import Buffer
from gateway.wire.json_skip import Skipper
from gateway.wire.media_text import media_bytes, spoken_bytes

Steps = Generator[None, None, None]

MAX_ENTRIES = 14_000  # members and elements that are looked at: 11 ms in one step for whoever reads the short text
_ENTRIES_OF_CUT = 3  # as which each value counts beside itself that is cut
MAX_SHORT_BYTES = 1 << 20  # of the short text: 10 ms in that step
KEPT_OF_STRING = 4096  # characters of a long string that are kept: more than an error message may have
_KEPT_OF_VALUE = 4096  # bytes; a shorter list or object is kept, with all that is in it
_ROOM = 98304  # the size of the short text from which on less is kept
_LITTLE = 64  # bytes of a value that are kept then
_ENTRIES_OF_STEP = 250  # members and elements that are looked at in one step: 1 ms
_MAX_BLANKS = 65536  # blanks in a row, which are read in 0.1 ms; more inside of a text are an attack
_BLANKS_OF_ENTRY = 2048  # blanks that take as long as one entry
_SCAN_BYTES = 65536  # what is searched for control characters in one step

_BLANKS = re.compile(rb"[ \t\n\r]{0,%d}+" % _MAX_BLANKS)
_NAME = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.){0,100}+"')
_SCALAR = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.){0,1024}+"|[-+.0-9A-Za-z()]{1,4096}+')
_KEPT = re.compile(rb'(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-cA-Ce-fE-F][0-9a-fA-F]{3})){0,%d}+' % KEPT_OF_STRING)
_PAIRS = [(b"\\u000%d" % one, b"\\u000%d" % other) for one, other in product(range(1, 8), repeat=2) if one != other]
# Two control characters, one behind the other. The second one may be the first of the next pair.
_TOGETHER = re.compile(rb"\\u000([1-7])(?=\\{1,2}u000([1-7]))")
_LONGEST_PAIR = 13  # bytes
_QUOTE, _LIST, _OBJECT, _COMMA, _COLON, _END_OF_LIST, _END_OF_OBJECT = b'"[{,:]}'


class TooManyEntries(ValueError):
    """The error for more to be looked at than one step could read."""

    def __init__(self) -> None:
        super().__init__(f"more than {MAX_ENTRIES} values, or {MAX_SHORT_BYTES} bytes of short ones")


class Shape(NamedTuple):
    """What is looked at of a value: members of an object, elements of a list; `others` is for all other members.

    `is_text`: it counts as text. `is_read_only`: it is not written again, so that nothing stands in for what is cut.
    """

    members: "Mapping[str, Shape] | None" = None
    elements: "Shape | None" = None
    others: "Shape | None" = None
    is_text: bool = False
    is_read_only: bool = False


_ANY = Shape()


class Range(NamedTuple):
    """Bytes of the long text; `other`: what takes their place."""

    start: int
    end: int
    other: bytes | None = None


class LeftOut(NamedTuple):
    """What a stand-in stands for. Its `kind` is S for a part of a string, L for elements of a list, O for members.

    `hidden_text_bytes`: how many bytes of text it has more than its stand-in; images and sounds are no text.
    """

    kind: bytes
    ranges: tuple[Range, ...]
    hidden_text_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Abridged:
    """A long text in short."""

    data: Buffer
    text: bytes
    marks: tuple[bytes, bytes]  # control characters, as escapes: both begin a stand-in, and the first ends it
    cuts: tuple[LeftOut, ...]
    has_line_ends: bool  # U+0085, U+2028 or U+2029 stand somewhere in it, not as escapes
    is_repaired: bool  # null takes the place of NaN or infinity


class Abridger:
    """Makes one text short. Every step may raise `ValueError`: the text is not JSON."""

    def __init__(
        self, data: Buffer, shape: Shape, start: int = 0, end: int | None = None, beside: bytes = b""
    ) -> None:
        """`start` and `end`: where the text stands in `data`; `beside`: a JSON text that may be added to it later."""
        self._data, self._beside = data, beside
        self._at, self._end = start, len(data) if end is None else end
        self._shape = shape
        self._skipper = Skipper(data, self._end)
        self._kept: list[bytes | int] = []  # parts of the short text, and the numbers of cuts
        self._kept_bytes = 0
        self._cuts: list[LeftOut] = []
        self._entries = self._step_entries = 0  # of the text, and of this step
        self._marks = _PAIRS[0]

    def steps(self) -> Steps:
        """The steps of the work, after which `abridged` has its result."""
        yield from self._outer_blanks()
        yield from self._value(self._shape)
        yield from self._outer_blanks()
        if self._at < self._end:
            raise ValueError("something follows the value")
        yield from self._choose_marks()

    def abridged(self) -> Abridged:
        """The text in short, after the last step."""
        marks = self._marks
        text = b"".join([self._stand_in(part, marks) if isinstance(part, int) else part for part in self._kept])
        return Abridged(
            data=self._data,
            text=text,
            marks=marks,
            cuts=tuple(self._cuts),
            has_line_ends=self._skipper.has_line_ends,
            is_repaired=any(part.other is not None for cut in self._cuts for part in cut.ranges),
        )

    def _choose_marks(self) -> Steps:
        """Choose two control characters that stand together nowhere, as escapes or in a JSON text in a string."""
        plain = b"".join([part for part in self._kept if isinstance(part, bytes)] + [self._beside])
        self._skipper.note_line_ends(plain)
        held = set[tuple[bytes, bytes]]()
        if b"\\u000" in plain:
            for start in range(0, len(plain), _SCAN_BYTES):
                yield
                held.update(_TOGETHER.findall(plain, start, start + _SCAN_BYTES + _LONGEST_PAIR))
        free = next((pair for pair in _PAIRS if (pair[0][-1:], pair[1][-1:]) not in held), None)
        if free is None:
            raise ValueError("it holds all control characters")
        self._marks = free
        yield  # the result takes a step of its own

    # --- values that are looked at

    def _value(self, shape: Shape) -> Steps:
        self._inner_blanks()
        first = self._first()
        if first == _OBJECT and shape.members is not None:
            yield from self._object(shape.members, shape.others or _ANY)
        elif first == _LIST and shape.elements is not None:
            yield from self._list(shape.elements)
        elif (scalar := _SCALAR.match(self._data, self._at, self._end)) and (
            scalar.end() - scalar.start() <= _LITTLE or self._has_room_for(shape)
        ):
            self._keep(scalar[0])
            self._at = scalar.end()
        elif first == _QUOTE:
            yield from self._string(shape)
        elif first in (_OBJECT, _LIST):
            yield from self._container(shape)
        else:
            raise ValueError(f"no value stands at byte {self._at}")

    def _object(self, members: Mapping[str, Shape], others: Shape) -> Steps:
        self._at += 1
        self._keep(b"{")
        if self._is_empty(_END_OF_OBJECT):
            return
        while True:
            if self._counts_one_more():
                yield
            name = _NAME.match(self._data, self._at, self._end)
            if name is None:
                yield from self._odd_member()
            else:
                self._at = name.end()
                self._expect_colon()
                self._keep(name[0] + b":")
                yield from self._value(members.get(json_text.loads_numbers(name[0]), others))
            if self._is_end(_END_OF_OBJECT):
                return

    def _list(self, elements: Shape) -> Steps:
        self._at += 1
        self._keep(b"[")
        if self._is_empty(_END_OF_LIST):
            return
        while True:
            if self._counts_one_more():
                yield
            yield from self._value(elements)
            if self._is_end(_END_OF_LIST):
                return

    # --- values that are gone past

    def _string(self, shape: Shape) -> Steps:
        """Keep the beginning of a long string, and cut the rest."""
        start = self._at
        self._at = end = yield from self._skipper.string(start)
        most = end if self._has_room_for(shape) else _LITTLE
        match = _KEPT.match(self._data, start + 1, min(start + 1 + most, end - 1))
        assert match is not None
        kept = match.end()
        while kept > start + 1 and self._data[kept] & 0xC0 == 0x80:  # inside of a character of UTF-8
            kept -= 1
        beginning = bytes(self._data[start + 1 : kept])
        self._keep(b'"' + beginning)
        if kept < end - 1 and not shape.is_read_only:
            hidden = 0
            if shape.is_text:
                shown: str = json_text.loads_numbers(b'"%b"' % beginning)
                media = yield from media_bytes(self._data, start + 1, end - 1)
                hidden = self._skipper.text_bytes - media - spoken_bytes(shown)
            self._cut(b"S", [Range(kept, end - 1)], hidden)
        self._keep(b'"')

    def _container(self, shape: Shape) -> Steps:
        """Keep a short list or object, and cut what is in a long one."""
        start, repairs = self._at, len(self._skipper.repairs)
        self._at = end = yield from self._skipper.container(start)
        opening, closing = self._data[start : start + 1], self._data[end - 1 : end]
        blanks = _BLANKS.match(self._data, start + 1, end)
        if end - start <= (_KEPT_OF_VALUE if self._has_room_for(shape) else _LITTLE):
            self._keep(self._data[start:end])
        elif shape.is_read_only or (blanks is not None and blanks.end() == end - 1):
            self._keep(opening + closing)
        else:
            self._keep(opening + b'"')
            ranges = _with_repairs(Range(start + 1, end - 1), self._skipper.repairs[repairs:])
            size = 0
            if shape.is_text:
                size = end - start - 2 - (yield from media_bytes(self._data, start, end))
            self._cut(b"O" if opening == b"{" else b"L", ranges, size)
            self._keep(b'":0}' if opening == b"{" else b'"]')

    def _odd_member(self) -> Steps:
        """LeftOut a member whose name is long."""
        start, repairs = self._at, len(self._skipper.repairs)
        if self._first() != _QUOTE:
            raise ValueError(f"no name stands at byte {start}")
        self._at = yield from self._skipper.string(start)
        self._expect_colon()
        self._inner_blanks()
        if (first := self._first()) == _QUOTE:
            self._at = yield from self._skipper.string(self._at)
        elif first in (_OBJECT, _LIST):
            self._at = yield from self._skipper.container(self._at)
        elif (scalar := _SCALAR.match(self._data, self._at, self._end)) is not None:
            json_text.loads_numbers(scalar[0])
            self._at = scalar.end()
        else:
            raise ValueError(f"no value stands at byte {self._at}")
        self._keep(b'"')
        self._cut(b"O", _with_repairs(Range(start, self._at), self._skipper.repairs[repairs:]))
        self._keep(b'":0')

    # --- inside

    def _first(self) -> int | None:
        return self._data[self._at] if self._at < self._end else None

    def _keep(self, part: Buffer) -> None:
        self._kept.append(bytes(part))
        self._kept_bytes += len(part)

    def _cut(self, kind: bytes, ranges: list[Range], text_bytes: int = 0) -> None:
        """Cut what has so many bytes of text."""
        self._count_more(_ENTRIES_OF_CUT)
        number = len(self._cuts)
        self._kept.append(number)
        self._cuts.append(LeftOut(kind, tuple(ranges), text_bytes and text_bytes - len(_stand_in(kind, number))))

    def _stand_in(self, number: int, marks: tuple[bytes, bytes]) -> bytes:
        return _stand_in(self._cuts[number].kind, number, *marks)

    def _has_room_for(self, shape: Shape) -> bool:
        """Whether more than a little is kept of a value; what is never written again has a room of its own."""
        return self._kept_bytes <= (2 * _ROOM if shape.is_read_only else _ROOM)

    def _counts_one_more(self) -> bool:
        """Count an entry; returns whether a step is over. Blanks before the entry are left out."""
        self._inner_blanks()
        self._count_more(1)
        self._step_entries += 1
        if self._step_entries < _ENTRIES_OF_STEP:
            return False
        self._step_entries = 0
        return True

    def _count_more(self, entries: int) -> None:
        self._entries += entries
        if self._entries > MAX_ENTRIES or self._kept_bytes > MAX_SHORT_BYTES:
            raise TooManyEntries

    def _is_empty(self, closing: int) -> bool:
        """Whether an object or a list ends where it has begun; then its end is kept."""
        self._inner_blanks()
        if self._first() != closing:
            return False
        self._at += 1
        self._keep(bytes([closing]))
        return True

    def _is_end(self, closing: int) -> bool:
        """Whether an object or a list ends behind this entry, or another entry follows; keeps what is there."""
        self._inner_blanks()
        following = self._first()
        if following not in (closing, _COMMA):
            raise ValueError(f"a comma is missing at byte {self._at}")
        self._at += 1
        self._keep(bytes([following]))
        return following == closing

    def _expect_colon(self) -> None:
        self._inner_blanks()
        if self._first() != _COLON:
            raise ValueError(f"a colon is missing at byte {self._at}")
        self._at += 1

    def _blanks(self) -> int:
        match = _BLANKS.match(self._data, self._at, self._end)
        assert match is not None
        self._at = match.end()
        blanks = match.end() - match.start()
        self._step_entries += blanks // _BLANKS_OF_ENTRY
        return blanks

    def _inner_blanks(self) -> None:
        if self._blanks() == _MAX_BLANKS:
            raise ValueError(f"there are too many blanks before byte {self._at}")

    def _outer_blanks(self) -> Steps:
        """Go past blanks before or behind the value: some upstreams send them while they work."""
        while self._blanks() == _MAX_BLANKS:
            yield


def _stand_in(kind: bytes, number: int, first: bytes = b"\1", second: bytes = b"\2") -> bytes:
    """The stand-in, in a JSON text, or by default as the value has it."""
    return b"%b%b%b%d%b" % (kind, first, second, number, first)


def _with_repairs(whole: Range, repairs: list[tuple[int, int, bytes]]) -> list[Range]:
    """The range with what was repaired in it; a repair may hold a bracket at either end that is not in the range."""
    found: list[Range] = []
    at = whole.start
    for start, end, other in repairs:
        inner = other[max(whole.start - start, 0) : len(other) - max(end - whole.end, 0)]
        start, end = max(start, whole.start), min(end, whole.end)
        found += [Range(at, start), Range(start, end, inner)]
        at = end
    return [*found, Range(at, whole.end)]
