"""Pure: the outline of a large JSON object, read in short steps, so that nobody else has to wait for it.

In: the bytes of a body, all of them. Out: after the last step an `Outline`: where the members are, and what a check
of the body needs of them. The invariant: a body is accepted if and only if it is one JSON object within the limits,
and neither a step nor the memory that is needed grows with the body.

A long string is checked, but not made a value: its first characters stand in for it. An object that is still long
without its long strings is checked in pieces, each with brackets around it that make it valid on its own; the values
of the pieces are dropped.
"""

import codecs
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.wire import json_text
from gateway.wire.json_members import MAX_MEMBERS, Buffer, Member

STEP_BYTES = 131072  # of the body that one step reads: 1 ms of long strings
STEP_TOKENS = 1500  # strings and brackets that one step reads: 1 to 4 ms
PIECE_BYTES = 32768  # from this length on a piece is parsed: 1 ms for the worst kind of JSON
MAX_PIECE_BYTES = 4 * PIECE_BYTES  # a longer piece without a comma holds a number that is an attack
LONG_STRING_BYTES = 1024  # a longer string is not made a value
KEPT_OF_STRING = 128  # bytes of a long string that stand in for it, up to its first escape or character beyond ASCII
SMALL_MEMBER_BYTES = 16384  # a longer member of an object that was checked in pieces is not made a value
MAX_TOKENS = 250_000  # strings, lists and objects of one body: half a second of work, in steps
MAX_SPACE = 64  # blanks around a colon or before the object; more are an attack on whoever reads them
_ESCAPE_BYTES = 6  # the longest escape; one that a step's end cuts in two is read by the next step

_STRING = rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+("?)'
_REST_OF_STRING = re.compile(_STRING)
_TOKEN = re.compile(b'"' + _STRING + rb"|[\[\]{}]")
_COLON = re.compile(rb"[ \t\n\r]{0,%d}+:[ \t\n\r]{0,%d}+" % (MAX_SPACE, MAX_SPACE))
_OPENING = re.compile(rb"[ \t\n\r]{0,%d}+\{" % MAX_SPACE)
_BLANKS = re.compile(rb"[ \t\n\r]{%d,}+" % MAX_SPACE)
_KEPT = re.compile(rb"[\x20\x21\x23-\x5b\x5d-\x7e]{0,%d}" % KEPT_OF_STRING)
_QUOTE, _LIST, _OBJECT, _END_OF_LIST = b'"[{]'
_BLANKS_AND_COMMAS = b" \t\n\r,"
_STAND_INS = {_QUOTE: "", _LIST: [{}], _OBJECT: {}}


class NotAnObject(ValueError):
    """The JSON text is no object."""


class TooDeep(ValueError):
    """The object is nested more deeply than is allowed."""


class StrayElement(ValueError):
    """A list that may hold objects only holds something else: its name, and the index of the first such element."""

    def __init__(self, name: str, index: int) -> None:
        super().__init__(f"{name}[{index}] is no object")
        self.name, self.index = name, index


@dataclass(frozen=True, slots=True)
class Outline:
    """What is known of a large object.

    `document` is the object with stand-ins: the beginning of each long string, and, if it was checked in pieces,
    `[{}]`, `{}` or `""` for each long member.
    """

    members: tuple[Member, ...]
    document: dict[str, Any]


class StringObserver(Protocol):
    """Is told of each string inside a member, which takes as long for 1,500 strings as a step may be longer."""

    def on_string(self, data: Buffer, start: int, end: int, member: str, brackets: bytearray) -> None:
        """The string from `start` to `end`, its quotes included; `brackets` are those that are open there."""


class OutlineReader:
    """Reads one object. Every call of `step` may raise `ValueError`, which ends the reading."""

    def __init__(
        self,
        data: Buffer,
        max_depth: int,
        lists_of_objects: Collection[str] = (),
        observer: StringObserver | None = None,
    ) -> None:
        """`lists_of_objects`: the names of members that may hold nothing but objects if they are lists."""
        self._data = data
        self._max_depth = max_depth
        self._lists_of_objects = lists_of_objects
        self._observer = observer
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._decoded = 0  # up to here the bytes are known to be UTF-8
        self._at = 0
        self._string_at: int | None = None  # where the string begins that the last step ended in
        self._stack = bytearray()  # the brackets that are open
        self._tokens = 0
        self._members: list[Member] = []
        self._values: dict[str, Any] = {}  # the short members, and stand-ins for the long ones
        self._name: tuple[str, int, int] | None = None  # of the member that is being read, and its place
        self._elements = 0  # the objects so far in the list that is this member
        self._piece = _Piece(data)

    def step(self) -> bool:
        """Read on; returns whether the object is read to its end."""
        data, stop = self._data, min(self._at + STEP_BYTES, len(self._data))
        if self._decoded < stop:
            self._utf8.decode(data[self._decoded : stop], stop == len(data))
            self._decoded = stop
        if not self._tokens:
            self._begin()
        if self._string_at is not None and not self._read_string(_REST_OF_STRING.match(data, self._at, stop), stop):
            return False
        before = self._tokens
        for token in _TOKEN.finditer(data, self._at, stop):
            start, self._tokens = token.start(), self._tokens + 1
            if start > self._at:
                self._on_gap(self._at, start)
            if data[start] == _QUOTE:
                self._string_at = start
                if not self._read_string(token, stop):
                    return False
            else:
                self._on_bracket(start, data[start])
            if self._tokens - before >= STEP_TOKENS:
                break
        else:
            self._on_gap(self._at, stop)
        if self._tokens > MAX_TOKENS:
            raise ValueError(f"it has more than {MAX_TOKENS} texts, lists and objects")
        return self._at == len(data) and self._end()

    def outline(self) -> Outline:
        """What was read, after the last step."""
        if self._piece.is_first:
            return Outline(tuple(self._members), self._piece.value(len(self._data)))
        return Outline(tuple(self._members), self._values)

    # --- inside

    def _begin(self) -> None:
        if (opening := _OPENING.match(self._data)) is None:
            raise NotAnObject("it is no object")
        self._at, self._tokens = opening.end(), 1
        self._stack.append(_OBJECT)

    def _end(self) -> bool:
        if self._stack:
            raise ValueError("it ends too early")
        if not self._piece.is_first:
            self._piece.check(len(self._data))
        return True

    def _read_string(self, match: re.Match[bytes] | None, stop: int) -> bool:
        """Go on behind the string; False: this step does not see its end."""
        assert match is not None
        assert self._string_at is not None
        self._at = match.end()
        if not match[1]:
            if self._at + _ESCAPE_BYTES <= stop or stop == len(self._data):
                raise ValueError(f"a text is broken at byte {self._at}")
            return False
        start, self._string_at = self._string_at, None
        self._on_string(start, self._at)
        return True

    def _on_string(self, start: int, end: int) -> None:
        depth = len(self._stack)
        if depth == 1 and self._name is None:
            name = json_text.loads_numbers(self._data[start:end]) if end - start <= LONG_STRING_BYTES else "…"
            self._name, self._elements = (name, start, end), 0
        elif depth == 2:
            self._check_stray()
        elif depth == 0:
            raise ValueError("something follows the object")
        if depth > 1 and self._observer is not None and self._name is not None:
            self._observer.on_string(self._data, start, end, self._name[0], self._stack)
        if end - start > LONG_STRING_BYTES:
            self._cut(start, end)

    def _cut(self, start: int, end: int) -> None:
        """Leave a long string out of the piece, but for its beginning."""
        kept = _KEPT.match(self._data, start + 1)
        assert kept is not None
        self._piece.leave_out(kept.end(), end - 1)

    def _on_bracket(self, at: int, bracket: int) -> None:
        stack = self._stack
        self._at = at + 1
        if bracket in (_LIST, _OBJECT):
            if not stack:
                raise ValueError("something follows the object")
            if len(stack) == self._max_depth:
                raise TooDeep("it is nested too deeply")
            if len(stack) == 2:
                if bracket == _LIST:
                    self._check_stray()
                self._elements += 1
            stack.append(bracket)
        elif not stack or stack.pop() != (_LIST if bracket == _END_OF_LIST else _OBJECT):
            raise ValueError(f"a bracket has no partner at byte {at}")
        elif not stack:
            self._end_member(at)

    def _on_gap(self, start: int, stop: int) -> None:
        """Read what stands between two tokens: commas, colons, numbers, blanks."""
        data, stack = self._data, self._stack
        self._at = stop
        if len(stack) == 1 and (comma := data.find(b",", start, stop)) >= 0:
            self._end_member(comma)
        elif len(stack) == 2 and data[start:stop].strip(_BLANKS_AND_COMMAS):
            self._check_stray()
        elif not stack and data[start:stop].strip(_BLANKS_AND_COMMAS[:4]):
            raise ValueError("something follows the object")
        piece = self._piece
        if stop - start >= MAX_SPACE:
            for blanks in _BLANKS.finditer(data, start, stop):
                piece.leave_out(blanks.start() + 1, blanks.end())
        while piece.length(stop) > PIECE_BYTES and (comma := data.find(b",", piece.due(start), stop)) >= 0:
            piece.cut(comma, stack)
        if piece.length(stop) > MAX_PIECE_BYTES:
            raise ValueError(f"a number is too long at byte {stop}")

    def _check_stray(self) -> None:
        """Refuse an element that is no object, at the place of the reader, if the list may hold only objects."""
        if self._name is not None and self._name[0] in self._lists_of_objects and self._stack[1] == _LIST:
            raise StrayElement(self._name[0], self._elements)

    def _end_member(self, end: int) -> None:
        if self._name is None:
            return
        (name, at, colon), self._name = self._name, None
        if (match := _COLON.match(self._data, colon)) is None:
            raise ValueError(f"a colon is missing at byte {colon}")
        self._members.append(Member(name, at, match.end(), end))
        if len(self._members) > MAX_MEMBERS:
            raise ValueError(f"it has more than {MAX_MEMBERS} members")
        if end - match.end() <= SMALL_MEMBER_BYTES:
            self._values[name] = json_text.loads_numbers(self._data[match.end() : end])
        else:
            self._values[name] = _STAND_INS.get(self._data[match.end()])


class _Piece:
    """The part of an object that was read and not checked yet, without its long strings."""

    def __init__(self, data: Buffer) -> None:
        self._data = data
        self.is_first = True  # no piece was cut off yet: this one is the whole object
        self._done: list[bytes | bytearray] = []
        self._done_bytes = 0
        self._start = 0  # what is read from here on is not in `_done` yet

    def length(self, at: int) -> int:
        """How long the piece is if it ends here."""
        return self._done_bytes + at - self._start

    def due(self, start: int) -> int:
        """The first place from `start` on at which the piece is long enough to be cut off."""
        return max(start, self._start + PIECE_BYTES - self._done_bytes)

    def leave_out(self, start: int, end: int) -> None:
        """Leave a range out."""
        self._add(start)
        self._start = end

    def cut(self, comma: int, stack: bytearray) -> None:
        """Check the piece up to a comma, where the brackets of `stack` are open, and begin the next piece there.

        An element of our own stands at each side of the comma, so that a comma too many is found.
        """
        self._add(comma)
        self._done.append(b",0]" if stack[-1] == _LIST else b',"":0}')
        self._done += [b"]" if bracket == _LIST else b"}" for bracket in reversed(stack[:-1])]
        json_text.loads_numbers(b"".join(self._done))
        context = [b"[" if bracket == _LIST else b'{"":' for bracket in stack[:-1]]
        self._done = [*context, b"[0" if stack[-1] == _LIST else b'{"":0']
        self._done_bytes, self._start, self.is_first = sum(map(len, self._done)), comma, False

    def check(self, end: int) -> None:
        """Check the piece if it ends here."""
        self.value(end)

    def value(self, end: int) -> Any:
        """The value of the piece if it ends here."""
        self._add(end)
        return json_text.loads_numbers(b"".join(self._done))

    def _add(self, end: int) -> None:
        part = self._data[self._start : end]
        self._done.append(part)
        self._done_bytes += len(part)
        self._start = end
