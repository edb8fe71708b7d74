"""Pure: recognises the chunks of one completion that differ only in their text, without parsing them.

A provider's content chunks are equal but for one JSON string. A template remembers the bytes before and after
that string, as they come in and as they go out; a later chunk that fits needs two comparisons and one regular
expression instead of a parse (0.5 us against 3 us for 220 bytes, bench/micro.py). It is learned from a chunk
that went through the full reader, and proven by parsing it once more with other text in the hole.
"""

import re
from typing import Any

import orjson

# The inside of a JSON string (RFC 8259 section 7), non-empty: ASCII first, the rest only if ASCII does not fit.
_ASCII_TEXT = re.compile(rb'[ !#-\[\]-\x7f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[ !#-\[\]-\x7f]*+)*+').fullmatch
# U+0085, U+2028 and U+2029 are legal JSON but cut lines in clients that split on Unicode line ends.
_UNICODE_TEXT = re.compile(r'(?:[^"\\\x00-\x1f\x85\u2028\u2029]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+').fullmatch
_UNUSUAL = re.compile(rb"[^ !#-\[\]-\x7f]").search  # anything but plain ASCII: most tokens have none
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


class Template:
    """The bytes around the one string that changes; `match` gives the frame to relay or None."""

    __slots__ = (
        "_head",
        "_head_length",
        "_out_head",
        "_out_tail",
        "_same",
        "_tail",
        "_tail_length",
        "hits",
        "text_bytes",
    )

    def __init__(self, block: tuple[bytes, bytes], frame: tuple[bytes, bytes]) -> None:
        self._head, self._tail = block
        self._out_head, self._out_tail = frame
        self._head_length = len(self._head)
        self._tail_length = len(self._tail)
        self._same = block == frame
        self.hits = 0  # blocks that fitted
        self.text_bytes = 0  # of the text in them

    def match(self, block: bytes) -> bytes | None:
        """The frame for a block of this shape (the very block if nothing needs repair), else None."""
        if not (block.startswith(self._head) and block.endswith(self._tail)):
            return None
        text = block[self._head_length : -self._tail_length]
        if not text or (_UNUSUAL(text) is not None and not is_safe_text(text)):
            return None
        self.hits += 1
        self.text_bytes += len(text)
        return block if self._same else self._out_head + text + self._out_tail


def learn(block: bytes, frame: bytes, path: tuple[str | int, ...]) -> Template | None:
    """A template from a block, the frame made of it, and the path of the string that will change.

    None if the string cannot be found beyond doubt in either.
    """
    before, after = _split(block, path), _split(frame, path)
    return Template(before, after) if before and after else None


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
