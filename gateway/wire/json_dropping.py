"""Pure: finds what is left of a JSON value without some members, in short steps; the value itself is not made.

In: a JSON text that is valid, and paths of names. Out: the pieces that stay, as ranges of the text; short ones are
copied together. A path goes into objects, and into each object of a list.
"""

import re
from collections.abc import Generator, Iterable

from gateway.wire import json_text
from gateway.wire.json_members import Buffer, Piece
from gateway.wire.json_skip import Skipper

Path = tuple[str, ...]
Tree = dict[str, "Tree"]
"""Paths by their first names; an empty tree ends a path."""

_ENTRIES_OF_STEP = 250  # members and elements: 1 ms
_CUTS_OF_STEP = 2000  # 1 ms
_SHORT_PIECE = 4096  # bytes; a shorter range is copied, so that not even a hundred thousand of them are many pieces
_COPIED_BYTES = 65536  # of short ranges in one piece
_MAX_BLANKS = 65536  # blanks that are gone past at once: 0.1 ms
_BLANKS_OF_ENTRY = 2048  # blanks that take as long as one entry
_BLANKS = re.compile(rb"[ \t\n\r]{0,%d}+" % _MAX_BLANKS)
_NAME = re.compile(rb'"(?:[^"\\]|\\.){0,200}+"')
_SCALAR = re.compile(rb'"(?:[^"\\]|\\.){0,1024}+"|[-+.0-9A-Za-z]++')
_QUOTE, _LIST, _OBJECT, _END_OF_LIST, _END_OF_OBJECT = b'"[{]}'


def kept_pieces(data: Buffer, start: int, end: int, paths: Iterable[Path]) -> Generator[None, None, list[Piece]]:
    """What is left of the value that stands there. Raises `ValueError` if it is one that cannot be gone through."""
    walk = _Walk(data, start, end)
    yield from walk.value(_tree_of(paths))
    pieces, copied = list[Piece](), bytearray()
    walk.cuts.append((end, end))
    for number, (cut_at, cut_end) in enumerate(walk.cuts, 1):
        is_short = cut_at - start < _SHORT_PIECE
        if is_short:
            copied += data[start:cut_at]
        if copied and (not is_short or len(copied) > _COPIED_BYTES):
            pieces.append(bytes(copied))
            copied = bytearray()
        if not is_short:
            pieces.append((start, cut_at))
        start = cut_end
        if number % _CUTS_OF_STEP == 0:
            yield
    return [*pieces, bytes(copied)] if copied else pieces


def _tree_of(paths: Iterable[Path]) -> Tree:
    tree: Tree = {}
    for path in sorted(paths, key=len, reverse=True):  # what a short path drops is not gone into for a longer one
        inner = tree
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = {}
    return tree


class _Walk:
    """Goes through one value. `cuts`: the ranges that are left out of it, in their order."""

    def __init__(self, data: Buffer, start: int, end: int) -> None:
        self._data, self._at = data, start
        self._skipper = Skipper(data, end)
        self._entries = 0  # of this step
        self.cuts: list[tuple[int, int]] = []

    def value(self, tree: Tree) -> Generator[None, None, None]:
        """Go through the value that stands here."""
        if self._blanks():
            yield from self._long_blanks()
        first = self._data[self._at]
        if first == _OBJECT:
            yield from self._object(tree)
        elif first == _LIST:
            yield from self._list(tree)
        else:
            yield from self._skip()

    def _list(self, tree: Tree) -> Generator[None, None, None]:
        self._at += 1
        while not (yield from self._is_at(_END_OF_LIST)):
            if self._counts_one_more():
                yield
            yield from self.value(tree)
            yield from self._comma()
        self._at += 1

    def _object(self, tree: Tree) -> Generator[None, None, None]:
        self._at += 1
        begin = before = self._at  # of the member that is next if none was kept; the end of the last member
        has_kept = False
        while not (yield from self._is_at(_END_OF_OBJECT)):
            if self._counts_one_more():
                yield
            if not has_kept and before != begin:
                self._cut(begin, self._at)  # up to this member, with the comma before it
                begin = self._at
            name = yield from self._name()
            inner = None if name is None else tree.get(name)
            if inner:
                yield from self.value(inner)
            else:
                yield from self._skip()
            if inner is None or inner:
                has_kept = True
            elif has_kept:
                self._cut(before, self._at)
            before = self._at
            yield from self._comma()
        if not has_kept and before != begin:
            self._cut(begin, before)
        self._at += 1

    def _name(self) -> Generator[None, None, str | None]:
        """Go past a name and its colon; returns the name, or nothing if it is a long one."""
        match = _NAME.match(self._data, self._at)
        if match is None:
            self._at = yield from self._skipper.string(self._at)
        else:
            self._at = match.end()
        if self._blanks():
            yield from self._long_blanks()
        self._at += 1
        return None if match is None else str(json_text.loads_numbers(match[0]))

    def _skip(self) -> Generator[None, None, None]:
        if self._blanks():
            yield from self._long_blanks()
        if (scalar := _SCALAR.match(self._data, self._at)) is not None:
            self._at = scalar.end()
        elif self._data[self._at] == _QUOTE:
            self._at = yield from self._skipper.string(self._at)
        else:
            self._at = yield from self._skipper.container(self._at)

    def _is_at(self, bracket: int) -> Generator[None, None, bool]:
        if self._blanks():
            yield from self._long_blanks()
        return self._data[self._at] == bracket

    def _comma(self) -> Generator[None, None, None]:
        """Go past the comma, if one follows."""
        if self._blanks():
            yield from self._long_blanks()
        self._at += self._data[self._at] not in (_END_OF_LIST, _END_OF_OBJECT)

    def _blanks(self) -> bool:
        """Go past blanks; returns whether more of them may follow."""
        match = _BLANKS.match(self._data, self._at)
        assert match is not None
        blanks = match.end() - self._at
        self._at = match.end()
        self._entries += blanks // _BLANKS_OF_ENTRY
        return blanks == _MAX_BLANKS

    def _long_blanks(self) -> Generator[None, None, None]:
        yield
        while self._blanks():
            yield

    def _cut(self, start: int, end: int) -> None:
        """Leave this range out, which begins behind or where the last one ends."""
        if self.cuts and self.cuts[-1][1] == start:
            start = self.cuts.pop()[0]
        self.cuts.append((start, end))

    def _counts_one_more(self) -> bool:
        """Count an entry; returns whether a step is over."""
        self._entries += 1
        if self._entries < _ENTRIES_OF_STEP:
            return False
        self._entries = 0
        return True
