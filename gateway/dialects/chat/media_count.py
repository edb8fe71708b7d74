"""Pure: counts the images and files of a long request while its body is read in steps.

In: the strings of the body, one by one, with their places. Out: the tokens of the images and files, and the bytes of
the body for which these tokens stand. The invariant: what is not surely an image counts by its bytes, and an image
whose size is not known by the most that an image costs.
"""

import re
from collections.abc import Callable

from gateway.dialects.images import BASE_TOKENS, HEAD_CHARACTERS, MAX_IMAGE_TOKENS, image_tokens
from gateway.wire import json_text
from gateway.wire.json_members import Buffer

# What a file, a sound or a film costs that is only referred to: the whole context of most models.
REFERENCED_TOKENS = 131_072
MAX_MEASURED = 64  # the images whose size is looked up: each takes 0.1 ms at most

_LONGEST_NAME = 80  # bytes, quotes and escapes included
_IMAGE_NAMES = frozenset(("image", "image_url", "input_image"))
_REFERENCE_NAMES = frozenset(("file_id", "file_uri", "file_url", "uri", "audio_url", "document_url", "video_url"))
_FIRST_LETTERS = frozenset(b"iufadv\\")  # of these names, and of `data:`


def _json(pattern: bytes) -> re.Pattern[bytes]:
    """The pattern, each blank of which stands for the white space that JSON allows there."""
    return re.compile(pattern.replace(b" ", rb"[ \t\n\r]{0,64}+"))


_COLON = _json(rb" :")
_DATA_FOLLOWS = _json(rb' : (?:{ "url" : )?"data:')
# What stands before the bytes of an image, and before or behind them if it is to be looked at in low detail.
_BEFORE_URL = _json(rb'"(?:url|image_url)" : \Z')
_BEFORE_BYTES = _json(rb'"media_type" : "image/[a-z]{1,16}+" , "data" : \Z')
_LOW_BEFORE = _json(rb'"detail" : "low" , "url"')
_LOW_BEHIND = _json(rb' , "detail" : "low"')
_LOOK_BACK = 512  # bytes
_IN_A_PART = tuple(b"{[{[{" + rest for rest in (b"", b"{"))  # the brackets around a member of a part of a message


class MediaCount:
    """Watches one body (`StringObserver` of wire/json_outline.py)."""

    __slots__ = ("_image_keys", "_image_values", "_measured", "_references", "_tokens", "covered")

    def __init__(self) -> None:
        self.covered = 0  # the bytes of images, which their tokens stand for
        self._tokens = 0  # of the images that the body holds
        self._measured = 0  # the number of these images
        self._image_keys = 0  # names of members that say "image"
        self._image_values = 0  # the same as values, such as the type of a part
        self._references = 0

    @property
    def tokens(self) -> int:
        """The tokens of all images, and of the files that are elsewhere."""
        elsewhere = max(self._image_keys, self._image_values) - self._measured
        return self._tokens + max(elsewhere, 0) * MAX_IMAGE_TOKENS + self._references * REFERENCED_TOKENS

    def on_string(self, data: Buffer, start: int, end: int, member: str, brackets: bytes | bytearray) -> None:
        """Look at the string from `start` to `end`, its quotes included, in this member and inside these brackets."""
        if member != "messages" or brackets not in _IN_A_PART:
            return
        if end - start <= _LONGEST_NAME:
            if data[start + 1] in _FIRST_LETTERS:
                self._on_short(data, start, end)
        else:
            self._on_long(data, start, end)

    def _on_short(self, data: Buffer, start: int, end: int) -> None:
        text = data[start:end]
        try:
            name = json_text.loads(text) if b"\\" in text else text[1:-1].decode()
        except ValueError:
            return  # half a surrogate pair
        if name in _IMAGE_NAMES:
            if _COLON.match(data, end):
                self._image_keys += 1
            else:
                self._image_values += 1
        elif name in _REFERENCE_NAMES and _COLON.match(data, end) and not _DATA_FOLLOWS.match(data, end):
            self._references += 1

    def _on_long(self, data: Buffer, start: int, end: int) -> None:
        before = bytes(data[max(start - _LOOK_BACK, 0) : start])
        if data[start + 1 : start + 12].lower() == b"data:image/" and _BEFORE_URL.search(before):
            is_low = _LOW_BEFORE.search(before) or _LOW_BEHIND.match(data, end)
            self._add(
                end - start, lambda: data[start + 1 : min(end - 1, start + 257 + HEAD_CHARACTERS)], low=bool(is_low)
            )
        elif _BEFORE_BYTES.search(before):
            self._add(end - start, lambda: b"data:;base64," + data[start + 1 : min(end - 1, start + HEAD_CHARACTERS)])

    def _add(self, size: int, url: Callable[[], Buffer], *, low: bool = False) -> None:
        self.covered += size - 2  # without the quotes
        self._measured += 1
        if low:
            self._tokens += BASE_TOKENS
        elif self._measured > MAX_MEASURED:
            self._tokens += MAX_IMAGE_TOKENS
        else:
            self._tokens += image_tokens(url().decode("latin-1").replace("\\/", "/"))
