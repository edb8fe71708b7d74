"""Pure: counts the images and files of a long request while its body is read in steps.

In: the strings of the body, one by one, with their places. Out: the tokens of the images and files, and the bytes of
the body for which these tokens stand. The invariant: what is not surely an image counts by its bytes, and an image
whose size is not known by the most that an image costs.
"""

import re
from collections.abc import Callable, Collection
from typing import NamedTuple

from gateway.dialects.image_size import HEAD_CHARACTERS
from gateway.dialects.images import MAX_IMAGE_TOKENS, ImageTokens, image_tokens
from gateway.wire import json_text
from gateway.wire.json_members import Buffer

# What a file, a sound or a film costs that is only referred to: the whole context of most models.
REFERENCED_TOKENS = 131_072
MAX_MEASURED = 64  # the images whose size is looked up: each takes 0.1 ms at most
# The members of a message that hold an image or name one, and those that name a file which is elsewhere.
IMAGE_NAMES = frozenset(("image", "image_url", "input_image"))
REFERENCE_NAMES = frozenset(
    (
        *("url", "uri", "file_id", "file_uri", "file_url", "audio_url", "document_url", "video_url", "pdf_url"),
        *("fileId", "fileUri", "fileUrl", "video"),
    )
)

_LONGEST_NAME = 80  # bytes, quotes and escapes included
_FIRST_LETTERS = frozenset({ord(name[0]) for name in IMAGE_NAMES | REFERENCE_NAMES} | {ord("\\")})
_IN_A_MESSAGE = b"{[{"  # the brackets around a member of a message
_LOOK_BACK = 512  # bytes


def _json(pattern: bytes) -> re.Pattern[bytes]:
    """The pattern, each blank of which stands for the white space that JSON allows there."""
    return re.compile(pattern.replace(b" ", rb"[ \t\n\r]{0,64}+"))


_COLON = _json(rb" :")
_REFERENCE_FOLLOWS = _json(rb' : (?:"(?!data:)|\[)')
# What stands between the name of an image's member and its URL, or the name `url`.
_TO_THE_NAME = _json(rb' : { (?:"detail" : "[a-z_]{1,16}+" , )?')
_TO_THE_URL = _json(rb' : (?:{ (?:"detail" : "([a-z_]{1,16}+)" , )?"url" : )?')
_DETAIL_BEHIND = _json(rb' (?:, "detail" : "([a-z_]{1,16}+)" )?}')
_DOUBT = "unknown"  # the detail of an image whose detail is not surely understood, which is taken for the dearest
_SOURCE_BEFORE = _json(rb'"type" : "image" , "source" : { (?:"type" : "url" , )?\Z')
_BEFORE_BYTES = _json(rb'"media_type" : "image/[a-z]{1,16}+" , "data" : \Z')


class Media(NamedTuple):
    """What was found: the tokens of images and of what is elsewhere, and the bytes that the images take."""

    images: ImageTokens = ImageTokens()
    references: int = 0  # tokens
    covered: int = 0

    def plus(self, other: "Media") -> "Media":
        """The sum of both."""
        return Media(self.images.plus(other.images), self.references + other.references, self.covered + other.covered)

    def tokens(self, models: Collection[str]) -> int:
        """The tokens of all of it, if one of these models answers."""
        return self.images.of(models) + self.references


class MediaCount:
    """Watches one body (`StringObserver` of wire/json_outline.py)."""

    __slots__ = ("_covered", "_elsewhere", "_image_end", "_images", "_measured", "_references")

    def __init__(self) -> None:
        self._covered = 0  # the bytes of images, which their tokens stand for
        self._images = ImageTokens()  # of the images that the body holds
        self._measured = 0  # the number of these images
        self._elsewhere = 0  # images that the body does not hold, or not in a way that is surely understood
        self._image_end: int | None = None  # where the name of the last member ends that names an image
        self._references = 0

    @property
    def found(self) -> Media:
        """All images, and the files that are elsewhere."""
        images = self._images.plus(MAX_IMAGE_TOKENS, self._elsewhere)
        return Media(images, self._references * REFERENCED_TOKENS, self._covered)

    def on_string(self, data: Buffer, start: int, end: int, member: str, brackets: bytes | bytearray) -> None:
        """Look at the string from `start` to `end`, its quotes included, in this member and inside these brackets."""
        if member != "messages" or brackets[:3] != _IN_A_MESSAGE:
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
        if name in IMAGE_NAMES:
            if _COLON.match(data, end):
                self._elsewhere += 1
                self._image_end = end
        elif name in REFERENCE_NAMES and _REFERENCE_FOLLOWS.match(data, end):
            if _SOURCE_BEFORE.search(bytes(data[max(start - _LOOK_BACK, 0) : start])):
                self._elsewhere += 1
            elif self._image_end is None or not _TO_THE_NAME.fullmatch(data, self._image_end, start):
                self._references += 1

    def _on_long(self, data: Buffer, start: int, end: int) -> None:
        image_end, self._image_end = self._image_end, None
        if image_end is not None and data[start + 1 : start + 12].lower() == b"data:image/":
            if (between := _TO_THE_URL.fullmatch(data, image_end, start)) is None:
                return
            self._elsewhere -= 1
            detail = _detail(between[1], _DETAIL_BEHIND.match(data, end))
            self._add(end - start, lambda: data[start + 1 : min(end - 1, start + 257 + HEAD_CHARACTERS)], detail)
        elif _BEFORE_BYTES.search(bytes(data[max(start - _LOOK_BACK, 0) : start])):
            self._add(end - start, lambda: b"data:;base64," + data[start + 1 : min(end - 1, start + HEAD_CHARACTERS)])

    def _add(self, size: int, url: Callable[[], Buffer], detail: str | None = None) -> None:
        self._covered += size - 2  # without the quotes
        self._measured += 1
        is_measured = self._measured <= MAX_MEASURED
        head = url().decode("latin-1").replace("\\/", "/") if is_measured else ""
        self._images = self._images.plus(image_tokens(head, detail))


def _detail(before: bytes | None, behind: re.Match[bytes] | None) -> str | None:
    """The detail that stands before or behind the URL of an image; None: it has none."""
    if behind is None or (before is not None and behind[1] is not None):
        return _DOUBT
    detail = before or behind[1]
    return None if detail is None else detail.decode()
