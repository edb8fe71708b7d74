"""Pure: the tokens of a request's prompt, estimated before any provider has counted them.

In: the body, its value and its bytes. Out: a count of tokens that is reserved, and that is billed where no provider
tells a better one. The invariant: every byte that goes upstream counts, but for the short values of the usual
parameters and the JSON around texts.

- Texts of `input` and `instructions` count by their bytes, four a token; each item counts as four tokens more.
- Tools, calls and every member that is not known here count by the bytes of their JSON.
- An image in the body counts by the rule of its model's provider (`gateway/dialects/images.py`), one that is
  elsewhere by the most that an image costs, and a file that is elsewhere by a ceiling.
- A body of more than `LARGE_BYTES` or `MANY_OBJECTS`, or one in which a name stands twice, counts by its own length,
  but for its images.
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway.dialects.image_size import HEAD_CHARACTERS
from gateway.dialects.images import MAX_IMAGE_TOKENS, ImageTokens, image_tokens
from gateway.dialects.request_body import RequestBody
from gateway.dialects.request_fields import repeats_names
from gateway.dialects.usage import text_tokens
from gateway.wire import json_text
from gateway.wire.json_members import Buffer

ITEM_TOKENS = 4  # what a provider adds to an item for its role and its bounds
LARGE_BYTES = 65_536  # above this size nothing is serialised again to be counted
MANY_OBJECTS = 2000  # above this number nothing is serialised again either: each object takes 2 us
# What a file that is only referred to costs: the whole context of most models.
REFERENCED_TOKENS = 131_072
MAX_MEASURED = 64  # the images whose size is looked up: each takes 0.1 ms at most

_PARAMETERS = frozenset(
    (
        *("model", "stream", "store", "background", "max_output_tokens", "max_tool_calls", "temperature", "top_p"),
        *("top_logprobs", "truncation", "tool_choice", "parallel_tool_calls", "service_tier", "user"),
        *("previous_response_id", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
    )
)
_SHORT_CHARACTERS = 128  # a text that is the value of a parameter, and is longer, is counted
_OF_MESSAGE = frozenset(("type", "role", "id", "status"))  # members of a message that are no part of the prompt
_NUMBERS = frozenset((int, float, bool, type(None)))
_TEXT_PARTS = ("input_text", "output_text", "text")
_SHORT_NAME = 16  # bytes, quotes included
_IMAGE = re.compile(rb'"data:image/[^"\\]*+"', re.IGNORECASE)
_IMAGE_BEGINS = b"data:image/"
_ELSEWHERE = re.compile(rb'"image_url"[ \t\n\r]{0,64}+:[ \t\n\r]{0,64}+"(?!data:)', re.IGNORECASE)
_DETAIL_BEHIND = re.compile(
    rb'[ \t\n\r]{0,64}+,[ \t\n\r]{0,64}+"detail"[ \t\n\r]{0,64}+:[ \t\n\r]{0,64}+"([a-z_]{1,16}+)"'
)
_LOOK_BACK = 128  # bytes
_DOUBT = "unknown"  # the detail of an image whose detail is not surely understood, which is taken for the dearest
_REFERENCE = re.compile(rb'"(?:file_id|file_url)"[ \t\n\r]{0,64}+:[ \t\n\r]{0,64}+"', re.IGNORECASE)


class MediaOfInput:
    """The images and files of one body. Of a body that is read in steps it sees each string (`StringObserver`)."""

    __slots__ = ("_images", "_measured", "covered", "references")

    def __init__(self) -> None:
        self._images = ImageTokens()
        self._measured = 0
        self.covered = 0  # the bytes of images, which their tokens stand for
        self.references = 0  # tokens

    @classmethod
    def of(cls, content: Buffer) -> "MediaOfInput":
        """The images and files of a short body."""
        media = cls()
        if _IMAGE_BEGINS in content.lower():
            for found in _IMAGE.finditer(content):
                media.on_string(content, found.start(), found.end(), "input", b"")
        if b'"image_url"' in content:
            media._images = media._images.plus(MAX_IMAGE_TOKENS, len(_ELSEWHERE.findall(content)))
        if b'"file_' in content:
            media.references = REFERENCED_TOKENS * len(_REFERENCE.findall(content))
        return media

    def on_string(self, data: Buffer, start: int, end: int, member: str, brackets: bytes | bytearray) -> None:
        """Look at the string from `start` to `end`, its quotes included."""
        if member != "input":
            return
        if end - start <= _SHORT_NAME:
            if _REFERENCE.match(data, start):
                self.references += REFERENCED_TOKENS
            elif _ELSEWHERE.match(data, start):
                self._images = self._images.plus(MAX_IMAGE_TOKENS)
        elif data[start + 1 : start + 1 + len(_IMAGE_BEGINS)].lower() == _IMAGE_BEGINS:
            self.covered += end - start - 2
            self._measured += 1
            head = data[start + 1 : min(end - 1, start + 257 + HEAD_CHARACTERS)].decode("latin-1")
            is_measured = self._measured <= MAX_MEASURED
            url = head.replace("\\/", "/") if is_measured else ""
            self._images = self._images.plus(image_tokens(url, _detail(data, start, end)))

    def tokens(self, body: Mapping[str, Any]) -> int:
        """The tokens of all of it, if the model that the body names answers."""
        model = body.get("model")
        return self._images.of([model] if isinstance(model, str) else []) + self.references


def _detail(data: Buffer, start: int, end: int) -> str | None:
    """The detail of the image whose URL stands from `start` to `end`; None: it has none."""
    if (behind := _DETAIL_BEHIND.match(data, end)) is not None:
        return behind[1].decode()
    return _DOUBT if b'"detail"' in data[max(start - _LOOK_BACK, 0) : start] else None


def estimate(source: RequestBody, own: frozenset[str]) -> int:
    """The tokens of the prompt; `own`: the names of members that do not go upstream."""
    body, content = source.document, source.content
    if source.outline is not None:
        media = source.observer if isinstance(source.observer, MediaOfInput) else MediaOfInput()
        return _by_size(source, own, media)
    media = MediaOfInput.of(content)
    if len(content) > LARGE_BYTES or content.count(b"{") > MANY_OBJECTS or repeats_names(source):
        return _by_size(source, own, media)
    size, items = _of_input(body.get("input"))
    for name, value in body.items():
        if name == "instructions" and isinstance(value, str):
            size += len(value.encode("utf-8", "surrogatepass"))
        elif name != "input" and name not in own and not _is_parameter(name, value):
            size += _json_bytes({name: value})
    return text_tokens(max(size - media.covered, 0)) + ITEM_TOKENS * items + media.tokens(body)


def _by_size(source: RequestBody, own: frozenset[str], media: MediaOfInput) -> int:
    """The tokens of a body by its length, with those of its media, which stand for some bytes of it."""
    size = len(source.content) - media.covered
    if source.outline is not None or not source.document.keys().isdisjoint(own):
        size -= sum(member.end - member.at for member in source.members() if member.name in own)
    return text_tokens(max(size, 0)) + media.tokens(source.document)


def _is_parameter(name: str, value: Any) -> bool:
    """Whether a member is a parameter of the usual size, which is no part of the prompt."""
    kind = type(value)
    return name in _PARAMETERS and (kind in _NUMBERS or (kind is str and len(value) <= _SHORT_CHARACTERS))


def _of_input(value: Any) -> tuple[int, int]:
    """The bytes and the number of the items of an input, which is a text or a list of items."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass")), 1
    if not isinstance(value, list):
        return (0, 0) if value is None else (_json_bytes(value), 1)
    return sum(map(_of_item, value)), len(value)


def _of_item(item: Any) -> int:
    """The bytes of an item: of a message its text, of anything else its JSON."""
    if not isinstance(item, dict) or not all(_is_of_message(*member) for member in item.items()):
        return _json_bytes(item)
    content = item.get("content")
    if isinstance(content, str):
        return len(content.encode("utf-8", "surrogatepass"))
    return sum(map(_of_part, content)) if isinstance(content, list) else _json_bytes(item)


def _is_of_message(name: str, value: Any) -> bool:
    """Whether a member of an item is the content of a message, or another one that is short, as it should be."""
    return name == "content" or (name in _OF_MESSAGE and type(value) is str and len(value) <= _SHORT_CHARACTERS)


def _of_part(part: Any) -> int:
    text = part.get("text") if isinstance(part, dict) and part.get("type") in _TEXT_PARTS else None
    return (
        len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) and len(part) == 2 else _json_bytes(part)
    )


def _json_bytes(value: Any) -> int:
    """The bytes of the JSON of a value; the most that is counted so where no JSON can hold it."""
    try:
        return len(json_text.dumps(value))
    except ValueError:
        return LARGE_BYTES
