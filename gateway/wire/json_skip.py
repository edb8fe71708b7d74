"""Pure: goes past one value in a JSON text in short steps, and checks it on the way; the value itself is not made.

In: a JSON text, all of it, and where a long string, a list or an object begins. Out: where it ends, what has to be
exchanged in it, and whether it holds line ends of Unicode. The invariant: what was gone past is JSON, and neither a
step nor the memory that is needed grows with it.

A list or an object is read by regular expressions in windows, and checked by orjson in pieces of some ten kilobytes:
each is cut off at a comma, and brackets around it make it valid on its own.
"""

import re
from collections.abc import Generator

from gateway.wire import json_text
from gateway.wire.json_members import Buffer
from gateway.wire.json_outline import TooDeep

Steps = Generator[None, None, int]

MAX_DEPTH = 240  # levels of nesting; orjson writes 254, some of which may stand around this value
_STRING_STEP = 131072  # bytes of a long string that one step reads: 0.1 ms, 3 ms if they are all escapes
_FIRST_WINDOW, _LAST_WINDOW = 1024, 16384  # bytes that one step reads: 2 ms if they are all strings, 6 if brackets
_DENSE_WINDOW = 4096  # bytes that a step reads where a quarter of the bytes before it were brackets that open
_PIECE_BYTES = 16384  # from this length on a piece is checked, if there is a comma at which it can be cut off
_MAX_PIECE_BYTES = 262144  # a longer piece without such a comma holds a number or blanks that are an attack
_ESCAPE_BYTES = 6  # the longest escape
_FEW_ROUNDS = 8  # levels of nesting that are taken off by `replace`, which takes a hundredth of the time of a loop

_REST_OF_STRING = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+("?)')
_RUN = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.){0,1024}+")*+')  # ends before a string whose end is not seen
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"')
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"|([\[{])|[\]}]')
_UP_TO_LAST_COMMA = re.compile(rb'(?:[^",]++|"(?:[^"\\]++|\\.)*+"|(,))*+')  # the last comma that stands in no string
_HALF_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_QUOTE, _LIST, _OBJECT, _END_OF_LIST = b'"[{]'


class Skipper:
    """Goes past values of one text. Every step may raise `ValueError`: what stands there is not JSON."""

    def __init__(self, data: Buffer, end: int) -> None:
        """`end`: where the text ends in `data`."""
        self._data = data
        self._end = end
        self.has_line_ends = False  # U+0085, U+2028 or U+2029 was seen as it is, not as an escape
        self.repairs: list[tuple[int, int, bytes]] = []  # ranges that hold NaN or infinity, and what to write there
        self.text_bytes = 0  # the size of the text of the last string, without escapes

    def string(self, at: int) -> Steps:
        """Go past the string that begins at `at`; returns where it ends."""
        at, self.text_bytes = at + 1, 0
        while True:
            upto, is_over = self._part(at, min(at + _STRING_STEP, self._end))
            part = bytes(self._data[at:upto])
            self.note_line_ends(part)
            text: str = json_text.loads_numbers(b'"%b"' % part)
            self.text_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
            if is_over:
                return upto + 1
            at = upto
            yield

    def container(self, at: int) -> Steps:
        """Go past the list or the object that begins at `at`; returns where it ends."""
        data, stack, window = self._data, bytearray(), _FIRST_WINDOW
        piece = _CheckedPart(at)
        while True:
            run = bytes(data[at : _end_of_run(data, at, min(at + window, self._end))])
            if not run:
                if at >= self._end:
                    raise ValueError("it ends too early")
                end = yield from self.string(at)
                piece.leave_out(end)
                at = end
                continue
            self.note_line_ends(run)
            if piece.length + len(run) >= _PIECE_BYTES and (comma := _last_comma(run)) > 0:
                run = run[:comma]
            closers, openers = _reduced(run) if stack else (b"", b"")
            if len(closers) >= len(stack):
                end = _place_of_end(run, stack)
                if not stack:
                    piece.add(run[:end])
                    self._check(piece, stack)
                    return at + end
            else:
                _move(stack, closers, openers)
            at += len(run)
            piece.add(run)
            if data[at : at + 1] == b"," and piece.length >= _PIECE_BYTES:
                self._check(piece, stack)
                piece = piece.following(at, stack)
            elif piece.length > _MAX_PIECE_BYTES:
                raise ValueError(f"a number or a blank is too long at byte {at}")
            is_dense = run.count(b"[") + run.count(b"{") > _DENSE_WINDOW // 4
            window = _DENSE_WINDOW if is_dense else min(8 * window, _LAST_WINDOW)
            yield

    def note_line_ends(self, part: bytes) -> None:
        """Look for line ends of Unicode in these bytes."""
        if not self.has_line_ends and not part.isascii():
            self.has_line_ends = json_text.escape_line_ends(part) is not part

    # --- inside

    def _part(self, at: int, stop: int) -> tuple[int, bool]:
        """Where the part of a string ends that can be read on its own, and whether the string ends there."""
        data = self._data
        if data.find(b"\\", at, stop) < 0:
            quote = data.find(b'"', at, stop)
            upto = quote if quote >= 0 else stop
        else:
            match = _REST_OF_STRING.match(data, at, stop)
            assert match is not None
            upto = match.end() - len(match[1])
            quote = upto if match[1] else -1
            if quote < 0 and upto + _ESCAPE_BYTES <= stop:
                raise ValueError(f"a text is broken at byte {upto}")
        if quote >= 0:
            return upto, True
        if stop == self._end:
            raise ValueError("a text has no end")
        half = _HALF_PAIR.search(data, max(upto - _ESCAPE_BYTES, at), upto)
        if half is not None and _is_escape(data, half.start(), at):
            upto = half.start()
        while upto > at and data[upto] & 0xC0 == 0x80:  # inside of a character of UTF-8
            upto -= 1
        if upto == at:
            raise ValueError(f"a text is broken at byte {at}")
        return upto, False

    def _check(self, piece: "_CheckedPart", stack: bytearray) -> None:
        """Check a piece up to here, where the brackets of `stack` are open."""
        end = _closing(stack) if stack else b""
        try:
            json_text.loads_numbers(piece.text(end))
        except ValueError:
            found = piece.repair()
            if not found:
                raise
            json_text.loads_numbers(piece.text(end))
            self.repairs += found


class _CheckedPart:
    """The part of a list or an object that was read and not checked yet, without its long strings."""

    def __init__(self, at: int, begin: bytes = b"") -> None:
        self._at = at  # where the next bytes begin in the text
        self._begin = begin  # opens the brackets in which the piece stands
        self._parts = [bytearray()]  # what stands between the strings that were left out
        self._places = [at]  # where each part begins
        self.length = 0

    def add(self, data: bytes) -> None:
        """Add the bytes that follow."""
        self._parts[-1] += data
        self._at += len(data)
        self.length += len(data)

    def leave_out(self, end: int) -> None:
        """Let an empty string stand for the one that follows, and ends there."""
        self._at = end
        self._parts.append(bytearray())
        self._places.append(end)
        self.length += 2

    def text(self, end: bytes) -> bytes:
        """The piece as a value of its own."""
        return b"".join([self._begin, b'""'.join(self._parts), end])

    def repair(self) -> list[tuple[int, int, bytes]]:
        """Put null in place of NaN and infinity; returns the ranges that were changed, and their new bytes."""
        found: list[tuple[int, int, bytes]] = []
        for number, (part, start) in enumerate(zip(self._parts, self._places, strict=True)):
            if (repaired := json_text.with_nulls(part)) != part:
                found.append((start, start + len(part), repaired))
                self._parts[number] = bytearray(repaired)
        return found

    def following(self, at: int, stack: bytearray) -> "_CheckedPart":
        """The piece that begins at a comma, where the brackets of `stack` are open.

        An element of our own stands at each side of the comma, so that a comma too many is found.
        """
        context = b"".join([b"[" if bracket == _LIST else b'{"":' for bracket in stack[:-1]])
        return _CheckedPart(at, context + (b"[0" if stack[-1] == _LIST else b'{"":0'))


def _closing(stack: bytearray) -> bytes:
    own = b",0" if stack[-1] == _LIST else b',"":0'
    return own + bytes(
        [bracket + 2 for bracket in reversed(stack)]
    )  # in ASCII each bracket is two before its partner


def _end_of_run(data: Buffer, at: int, stop: int) -> int:
    match = _RUN.match(data, at, stop)
    assert match is not None
    return match.end()


def _place_of_end(run: bytes, stack: bytearray) -> int:
    """Follow the brackets of a run until none is open; returns the place behind the last one."""
    for token in _STRING_OR_BRACKET.finditer(run):
        bracket = run[token.start()]
        if token[1]:
            stack.append(bracket)
            if len(stack) > MAX_DEPTH:
                raise TooDeep("it is nested too deeply")
        elif bracket != _QUOTE:
            if stack.pop() + 2 != bracket:
                raise ValueError("a bracket has another partner")
            if not stack:
                return token.end()
    return len(run)


def _last_comma(run: bytes) -> int:
    """The last comma in a run that stands in no string; -1 without one."""
    if b'"' not in run:
        return run.rfind(b",")
    match = _UP_TO_LAST_COMMA.match(run)
    assert match is not None
    return match.start(1)


def _reduced(run: bytes) -> tuple[bytes, bytes]:
    """The brackets of a run that have no partner in it: those that close, then those that open."""
    brackets = (run if b'"' not in run else _STRING.sub(b"", run)).translate(None, _NO_BRACKETS)
    for _ in range(_FEW_ROUNDS):
        before = len(brackets)
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if len(brackets) == before:
            break
    closers, openers = bytearray(), bytearray()
    for bracket in brackets:
        if bracket in (_LIST, _OBJECT):
            openers.append(bracket)
        elif not openers:
            closers.append(bracket)
        elif openers.pop() + 2 != bracket:
            raise ValueError("a bracket has another partner")
    return bytes(closers), bytes(openers)


def _move(stack: bytearray, closers: bytes, openers: bytes) -> None:
    """Close and open brackets. Raises `ValueError` for a partner of another kind, `TooDeep`."""
    for bracket in closers:
        if stack.pop() + 2 != bracket:
            raise ValueError("a bracket has another partner")
    stack += openers
    if len(stack) > MAX_DEPTH:
        raise TooDeep("it is nested too deeply")


def _is_escape(data: Buffer, at: int, start: int) -> bool:
    """Whether the backslash at `at` begins an escape, in a string whose part begins at `start`."""
    before = bytes(data[start:at])
    return not (len(before) - len(before.rstrip(b"\\"))) % 2
