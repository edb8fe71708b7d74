"""Pure: the short way of a token: chunks of one completion that differ only in their text are not parsed.

A provider's content chunks are equal but for one JSON string. A shape remembers the bytes before and after that
string, as they come in and as they go out; a later chunk that fits needs two comparisons and one look at each byte
of its text instead of a parse (0.5 us against 3 us for 220 bytes, bench/micro.py). The shape is learned from a chunk
that went through the full reader, and proven by parsing it once more with other text in the hole.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.wire.http1 import CHUNK_LINES, CRLF, NO_CHUNK

# The inside of a JSON string (RFC 8259 section 7), non-empty: ASCII first, the rest only if ASCII does not fit.
_ASCII_TEXT = re.compile(rb'[ !#-\[\]-\x7f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[ !#-\[\]-\x7f]*+)*+').fullmatch
# U+0085, U+2028 and U+2029 are legal JSON but cut lines in clients that split on Unicode line ends.
_UNICODE_TEXT = re.compile(r'(?:[^"\\\x00-\x1f\x85\u2028\u2029]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+').fullmatch
_PLAIN_ASCII = frozenset(map(chr, range(0x20, 0x80))) - {'"', "\\"}
# Leaves plain ASCII as it is, as most tokens are, and nothing else: 50 ns, and an eighth of the instructions of a
# search by a regular expression (bench/micro.py).
_PLAIN = bytes(code if chr(code) in _PLAIN_ASCII else code ^ 0xFF for code in range(256))
_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+')

_PROBE = "hole"
_USELESS = 8  # so many shapes in a row that nothing fitted: this provider's chunks have none in common
_NOTHING = b"-"  # no block begins so

Path = tuple[str | int, ...]  # to the string that changes
Around = tuple[bytes, bytes]  # the bytes before and behind it


def is_safe_text(text: bytes) -> bool:
    """Whether bytes may stand inside a JSON string on one line of an event, exactly as they are."""
    if _ASCII_TEXT(text):
        return True
    try:
        return _UNICODE_TEXT(text.decode()) is not None
    except UnicodeDecodeError:
        return False


class Counts:
    """What a completion has brought so far; read and written per token, so plain numbers."""

    __slots__ = ("events", "text_bytes")

    def __init__(self) -> None:
        self.events = 0  # that bore content
        self.text_bytes = 0  # of text in them, as the client reads it or, escapes and all, as it stood on the wire


@dataclass(frozen=True, slots=True)
class Sample:
    """A chunk that was fully read: its block, the frame made of it, and where the string is that will change."""

    block: bytes
    frame: bytes
    path: Path
    hits: int  # of this shape so far


def _drop(frame: bytes, chunk: bytes) -> None:
    """Takes a frame for nobody."""


class LearnedShape:
    """Of one completion. `fit` gives the frame of a block; `take` sends a whole transfer chunk on as it came.

    One object and one call, since with hundreds of streams a token costs what it touches: a template, a reader and a
    body one behind the other cost more (bench/relay.py).
    """

    __slots__ = (
        "_around",
        "_chunk_heads",
        "_chunk_tail",
        "_counts",
        "_head",
        "_hits_before",
        "_out_head",
        "_out_tail",
        "_same",
        "_sample",
        "_tail",
        "_useless",
        "is_open",
        "on_frame",
    )

    _chunk_heads: dict[int, tuple[bytes, int, int]]

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._sample: Callable[[], Sample | None] | None = None  # to be learned from
        self._hits_before = 0  # up to the shape that is known now
        self._useless = 0
        self.is_open = False  # the next byte begins a block
        self.on_frame: Callable[[bytes, bytes], None] = _drop  # takes the frame of a chunk, and that as it came
        self._follow(None)

    def close(self) -> None:
        """Forget who takes frames: nothing goes on any more."""
        self.on_frame = _drop

    @property
    def wants_samples(self) -> bool:
        """Whether it is worth learning from another chunk."""
        return self._useless < _USELESS

    def learn_from(self, sample: Callable[[], Sample | None]) -> None:
        """A shape for the chunks to come, when the next one comes: the first token does not wait for it."""
        self._sample = sample
        self._chunk_heads = {}  # of a size that is not known, `take` learns first

    def fit(self, block: bytes) -> bytes | None:
        """The frame for a block of the known shape (the very block if nothing needs repair), else None; it counts."""
        if self._sample is not None:
            self._learn()
        # Two calls of `removeprefix` and its like cost 50 ns, two of `startswith` and a slice 130.
        text = block.removeprefix(self._head).removesuffix(self._tail)
        size = len(text)
        if not size or size + self._around != len(block):
            return None
        if text != text.translate(_PLAIN) and not is_safe_text(text):
            return None
        counts = self._counts
        counts.events += 1
        counts.text_bytes += size
        return block if self._same else self._out_head + text + self._out_tail

    def take(self, chunk: bytes) -> bool:
        """Send on what is one whole transfer chunk (RFC 9112 section 7.1) with one block of the known shape.

        Whether it was, and needed no repair: the way of nearly every token, the very bytes that came for the reader.
        """
        head, around, start = self._chunk_heads.get(len(chunk)) or self._chunk_head(len(chunk))
        text = chunk.removeprefix(head).removesuffix(self._chunk_tail)
        size = len(text)
        if not size or size + around != len(chunk) or not self.is_open:
            return False
        if text != text.translate(_PLAIN) and not is_safe_text(text):
            return False
        counts = self._counts
        counts.events += 1
        counts.text_bytes += size
        on_frame = self.on_frame  # in a local: CPython 3.11 is slow at calling what a slot holds
        on_frame(chunk[start:-2], chunk)
        return True

    def _chunk_head(self, size: int) -> tuple[bytes, int, int]:
        """Of a chunk of so many bytes: its beginning, how many of them are not text, where its data starts."""
        if self._sample is not None:
            self._learn()
        found = NO_CHUNK, size, 0
        if self._same and size < len(CHUNK_LINES):
            head = CHUNK_LINES[size] + self._head
            found = head, len(head) + len(self._chunk_tail), len(CHUNK_LINES[size])
        self._chunk_heads[size] = found
        return found

    def _learn(self) -> None:
        pending, self._sample = self._sample, None
        if pending is not None and (sample := pending()) is not None:
            self._useless = 0 if sample.hits > self._hits_before else self._useless + 1
            self._hits_before = sample.hits
            self._follow(learn(sample))

    def _follow(self, shape: tuple[Around, Around] | None) -> None:
        """Take this for the shape of what comes: the bytes around the text, as they come in and as they go out."""
        before, after = shape or ((_NOTHING, b""), (b"", b""))
        self._head, self._tail = before
        self._around = len(self._head) + len(self._tail) if shape else -1  # nothing is as long
        self._out_head, self._out_tail = after
        self._same = before == after
        self._chunk_heads = {}
        self._chunk_tail = self._tail + CRLF


def learn(sample: Sample) -> tuple[Around, Around] | None:
    """What stands around the text, in the block and in the frame; None if it cannot be found beyond doubt in both."""
    before = _split(sample.block, sample.path)
    after = before if sample.frame == sample.block else _split(sample.frame, sample.path)
    return (before, after) if before and after else None


def _split(frame: bytes, path: Path) -> Around | None:
    """The bytes before and after the string at `path`; proven by a parse with a probe in its place."""
    for opening in (b'"%b":"', b'"%b": "'):
        key = opening % str(path[-1]).encode()
        at = frame.find(key)
        if at < 0 or frame.find(key, at + 1) >= 0:
            continue
        start = at + len(key)
        rest = _STRING_REST.match(frame, start)
        if rest is None:
            continue
        head, tail = frame[:start], frame[rest.end() :]
        return (head, tail) if _holds(frame, head + _PROBE.encode() + tail, path) else None
    return None


def _holds(frame: bytes, probed: bytes, path: Path) -> bool:
    try:
        expected, found = orjson.loads(frame[6:]), orjson.loads(probed[6:])
        parent: Any = expected
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = _PROBE
        return bool(expected == found)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
