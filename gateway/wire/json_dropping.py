"""Pure: finds what is left of a JSON value without some members, in short steps; the value itself is not made.

In: a JSON text that is valid, and paths of names. Out: the pieces that stay, as ranges of the text. A path goes into
objects, and into each object of a list.
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
_BLANKS = re.compile(rb"[ \t\n\r]*+")
_NAME = re.compile(rb'"(?:[^"\\]|\\.){0,200}+"')
_SCALAR = re.compile(rb'"(?:[^"\\]|\\.){0,1024}+"|[-+.0-9A-Za-z]++')
_QUOTE, _LIST, _OBJECT, _END_OF_LIST, _END_OF_OBJECT = b'"[{]}'


def kept_pieces(data: Buffer, start: int, end: int, paths: Iterable[Path]) -> Generator[None, None, list[Piece]]:
    """What is left of the value that stands there. Raises `ValueError` if it is one that cannot be gone through."""
    walk = _Walk(data, start, end)
    yield from walk.value(_tree_of(paths))
    pieces: list[Piece] = []
    for cut_at, cut_end in walk.cuts:
        pieces.append((start, cut_at))
        start = cut_end
    return [*pieces, (start, end)]


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
        self._entries = 0
        self.cuts: list[tuple[int, int]] = []

    def value(self, tree: Tree) -> Generator[None, None, None]:
        """Go through the value that stands here."""
        self._blanks()
        first = self._data[self._at]
        if first == _OBJECT:
            yield from self._object(tree)
        elif first == _LIST:
            yield from self._list(tree)
        else:
            yield from self._skip()

    def _list(self, tree: Tree) -> Generator[None, None, None]:
        self._at += 1
        while not self._is_at(_END_OF_LIST):
            if self._counts_one_more():
                yield
            yield from self.value(tree)
            self._comma()
        self._at += 1

    def _object(self, tree: Tree) -> Generator[None, None, None]:
        self._at += 1
        begin = before = self._at  # of the member that is next if none was kept; the end of the last member
        has_kept = False
        while not self._is_at(_END_OF_OBJECT):
            if self._counts_one_more():
                yield
            if not has_kept and before != begin:
                self.cuts.append((begin, self._at))  # up to this member, with the comma before it
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
                self.cuts.append((before, self._at))
            before = self._at
            self._comma()
        if not has_kept and before != begin:
            self.cuts.append((begin, before))
        self._at += 1

    def _name(self) -> Generator[None, None, str | None]:
        """Go past a name and its colon; returns the name, or nothing if it is a long one."""
        match = _NAME.match(self._data, self._at)
        if match is None:
            self._at = yield from self._skipper.string(self._at)
        else:
            self._at = match.end()
        self._blanks()
        self._at += 1
        return None if match is None else str(json_text.loads_numbers(match[0]))

    def _skip(self) -> Generator[None, None, None]:
        self._blanks()
        if (scalar := _SCALAR.match(self._data, self._at)) is not None:
            self._at = scalar.end()
        elif self._data[self._at] == _QUOTE:
            self._at = yield from self._skipper.string(self._at)
        else:
            self._at = yield from self._skipper.container(self._at)

    def _is_at(self, bracket: int) -> bool:
        self._blanks()
        return self._data[self._at] == bracket

    def _comma(self) -> None:
        """Go past the comma, if one follows."""
        self._blanks()
        self._at += self._data[self._at] not in (_END_OF_LIST, _END_OF_OBJECT)

    def _blanks(self) -> None:
        match = _BLANKS.match(self._data, self._at)
        assert match is not None
        self._at = match.end()

    def _counts_one_more(self) -> bool:
        self._entries += 1
        return self._entries % _ENTRIES_OF_STEP == 0
