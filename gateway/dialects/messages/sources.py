"""Pure: the images and documents of a prompt: what those cost that do not count by their bytes.

In: the value of a body; or, of a long body that is read in steps, its strings one by one (`StringObserver` of
wire/json_outline.py). Out: `Sources`. Blocks `image` and `document` hold a `source`, which is base64, a text, a URL
or the id of a file. An image counts by Anthropic's rule (`gateway/dialects/images.py`), a document by its bytes, and
what is elsewhere by a ceiling. The invariant: what is not surely an image counts by its bytes.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gateway.dialects.image_size import HEAD_CHARACTERS
from gateway.dialects.images import ANTHROPIC_TOKENS, image_tokens
from gateway.wire.json_members import Buffer

# What a document costs that is only referred to: the whole context of most models.
REFERENCED_TOKENS = 131_072
MAX_MEASURED = 64  # the images whose size is looked up: each takes 0.1 ms at most
_ELSEWHERE = ("url", "file")  # the types of sources that hold no bytes
_SHORT = 80  # bytes of a string that is no image
_LOOK_BACK = 512  # bytes before a string, in which the names stand that tell what it is


def _json(pattern: bytes) -> re.Pattern[bytes]:
    """The pattern, each blank of which stands for the white space that JSON allows there."""
    return re.compile(pattern.replace(b" ", rb"[ \t\n\r]{0,64}+"))


_TO_THE_BYTES = _json(rb'"media_type" : "image/[a-z]{1,16}+" , "data" : ')
_BEHIND_BYTES = _json(rb' , (?:"type" : "base64" , )?"media_type" : "image/[a-z]{1,16}+"')
_TO_THE_TYPE = _json(rb'"source" : { "type" : ')
_TO_THE_SOURCE = _json(rb'"type" : "(image|document)" , ')


class Sources(NamedTuple):
    """The tokens of images and of what is elsewhere, and the bytes of a body for which these tokens stand."""

    tokens: int = 0
    covered: int = 0

    def plus(self, other: "Sources") -> "Sources":
        """The sum of both."""
        return Sources(self.tokens + other.tokens, self.covered + other.covered)


class SourceCount:
    """Watches the strings of one long body."""

    __slots__ = ("_measured", "found")

    def __init__(self) -> None:
        self.found = Sources()
        self._measured = 0  # the number of images so far

    def on_string(self, data: Buffer, start: int, end: int, member: str, brackets: bytes | bytearray) -> None:
        """Look at the string from `start` to `end`, its quotes included, in this member of the body."""
        if member not in ("messages", "system"):
            return
        if end - start > _SHORT:
            at = data.rfind(b'"media_type"', max(start - _LOOK_BACK, 0), start)
            if (at >= 0 and _TO_THE_BYTES.fullmatch(data, at, start)) or _BEHIND_BYTES.match(data, end):
                self._add_image(data, start, end)
        elif data[start + 1 : end - 1] in (b"url", b"file"):
            at = data.rfind(b'"source"', max(start - _LOOK_BACK, 0), start)
            if at >= 0 and _TO_THE_TYPE.fullmatch(data, at, start):
                self.found = self.found.plus(_elsewhere(_kind_before(data, at)))

    def _add_image(self, data: Buffer, start: int, end: int) -> None:
        self._measured += 1
        head = data[start + 1 : min(end - 1, start + HEAD_CHARACTERS)]
        is_measured = self._measured <= MAX_MEASURED
        self.found = self.found.plus(_image(lambda: head.decode("latin-1"), end - start - 2, is_measured=is_measured))


def _kind_before(data: Buffer, at: int) -> str:
    """The type of the block whose source stands here, if it is told before that; else ""."""
    start = data.rfind(b'"type"', max(at - _LOOK_BACK, 0), at)
    found = _TO_THE_SOURCE.fullmatch(data, start, at) if start >= 0 else None
    return "" if found is None else found[1].decode()


def sources_of(value: Any) -> Sources:
    """The images and documents anywhere in a value."""
    found, measured = Sources(), 0
    waiting = [value] if isinstance(value, dict | list) else []
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, list):
            waiting += [entry for entry in inner if isinstance(entry, dict | list)]
            continue
        kind, source = inner.get("type"), inner.get("source")
        if kind in ("image", "document") and isinstance(source, dict):
            measured += kind == "image"
            found = found.plus(_source(kind, source, is_measured=measured <= MAX_MEASURED))
        waiting += [entry for entry in inner.values() if isinstance(entry, dict | list)]
    return found


def _source(kind: str, source: Mapping[str, Any], *, is_measured: bool) -> Sources:
    if source.get("type") in _ELSEWHERE:
        return _elsewhere(kind)
    data = source.get("data")
    if kind != "image" or not isinstance(data, str):
        return Sources()
    return _image(lambda: data[:HEAD_CHARACTERS], len(data), is_measured=is_measured)


def _elsewhere(kind: str) -> Sources:
    """A source that the body does not hold. Where its kind is not known, it is a document."""
    return Sources(ANTHROPIC_TOKENS if kind == "image" else REFERENCED_TOKENS)


def _image(head: Callable[[], str], size: int, *, is_measured: bool) -> Sources:
    """The image with this many characters of base64, of which `head` gives the first."""
    tokens = image_tokens(f"data:;base64,{head()}").anthropic if is_measured else ANTHROPIC_TOKENS
    return Sources(tokens, size)
