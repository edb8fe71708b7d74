"""Pure: recognises the chunks of one completion that differ only in their text, without parsing them.

A provider's content chunks are equal but for one JSON string. A template remembers the bytes before and after
that string, as they come in and as they go out; a later chunk that fits needs two comparisons and one look at each
byte of its text instead of a parse (0.5 us against 3 us for 220 bytes, bench/micro.py). It is learned from a chunk
that went through the full reader, and proven by parsing it once more with other text in the hole.
"""

import re
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


class Template:
    """The bytes around the one string that changes; `match` gives the frame to relay or None, and counts."""

    __slots__ = (
        "_around",
        "_chunk_heads",
        "_chunk_tail",
        "_counts",
        "_head",
        "_out_head",
        "_out_tail",
        "_same",
        "_tail",
    )

    def __init__(self, block: tuple[bytes, bytes], frame: tuple[bytes, bytes], counts: Counts) -> None:
        self._head, self._tail = block
        self._around = len(self._head) + len(self._tail)
        self._out_head, self._out_tail = frame
        self._same = block == frame
        self._chunk_heads: dict[int, tuple[bytes, int, int]] = {}
        self._chunk_tail = self._tail + CRLF
        self._counts = counts

    def match(self, block: bytes) -> bytes | None:
        """The frame for a block of this shape (the very block if nothing needs repair), else None."""
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

    def match_chunk(self, chunk: bytes) -> bytes | None:
        """The frame in a whole transfer chunk (RFC 9112 section 7.1) that holds one block of this shape, else None.

        Also None if the frame needs repair: then the chunk is not what readers get.
        """
        head, around, start = self._chunk_heads.get(len(chunk)) or self._chunk_head(len(chunk))
        text = chunk.removeprefix(head).removesuffix(self._chunk_tail)
        size = len(text)
        if not size or size + around != len(chunk):
            return None
        if text != text.translate(_PLAIN) and not is_safe_text(text):
            return None
        counts = self._counts
        counts.events += 1
        counts.text_bytes += size
        return chunk[start:-2]

    def _chunk_head(self, size: int) -> tuple[bytes, int, int]:
        """Of a chunk of so many bytes: its beginning, how many of them are not text, where its data starts."""
        if not self._same or size >= len(CHUNK_LINES):
            return NO_CHUNK, size, 0
        head = CHUNK_LINES[size] + self._head
        found = self._chunk_heads[size] = (head, len(head) + len(self._chunk_tail), len(CHUNK_LINES[size]))
        return found


def learn(block: bytes, frame: bytes, path: tuple[str | int, ...], counts: Counts) -> Template | None:
    """A template from a block, the frame made of it, and the path of the string that will change.

    None if the string cannot be found beyond doubt in either.
    """
    before = _split(block, path)
    after = before if frame == block else _split(frame, path)
    return Template(before, after, counts) if before and after else None


def _split(frame: bytes, path: tuple[str | int, ...]) -> tuple[bytes, bytes] | None:
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


def _holds(frame: bytes, probed: bytes, path: tuple[str | int, ...]) -> bool:
    try:
        expected, found = orjson.loads(frame[6:]), orjson.loads(probed[6:])
        parent: Any = expected
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = _PROBE
        return bool(expected == found)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
