"""Pure: the tokens of a chat request's prompt, estimated before any provider has counted them.

In: the body, its value and its bytes. Out: a count of tokens that is reserved, and that is billed where no provider
tells a better one. The invariant: every byte that goes
upstream counts, but for the short values of the usual parameters.

- Text counts by its bytes, four a token, and each message by four tokens beside its text.
- Tools, tool calls, names, formats and every member that is not known here count by the bytes of their JSON.
- An image counts by OpenAI's rule (`gateway/dialects/images.py`).
- Audio and files count by their bytes as they are sent; what is only referred to, by a ceiling.
- A body of more than `LARGE_BYTES`, or one in which a name stands twice, counts by its own length, but for its images
  and references. Those of a body that was read in steps are counted by then (media_count.py).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import orjson

from gateway.dialects.chat.media_count import REFERENCED_TOKENS, MediaCount
from gateway.dialects.images import MAX_IMAGE_TOKENS, image_tokens
from gateway.dialects.request_body import RequestBody
from gateway.dialects.usage import text_tokens
from gateway.wire import json_text

MESSAGE_TOKENS = 4  # what a provider adds to a message for its role and its bounds
LARGE_BYTES = 65_536  # above this size nothing is serialised again to be counted

_ROLES = ("user", "assistant", "system", "developer", "tool", "function")
_PARAMETERS = frozenset(
    (
        *("model", "stream", "n", "max_tokens", "max_completion_tokens", "seed", "user", "store", "service_tier"),
        *("temperature", "top_p", "top_k", "min_p", "logprobs", "top_logprobs", "tool_choice", "parallel_tool_calls"),
        *("frequency_penalty", "presence_penalty", "repetition_penalty", "reasoning_effort", "verbosity"),
        *("safety_identifier", "prompt_cache_key"),
    )
)
_SHORT_CHARACTERS = 64  # a text that is the value of a parameter, and is longer, is counted
_NUMBERS = (int, float, bool, type(None))
_USAGE_OPTIONS = ({"include_usage": True}, {"include_usage": False})
_REFERENCES = ("url", "file_id", "file_url", "file_uri", "uri")
_CONTENTS = ("data", "file_data", "bytes")


def estimate(source: RequestBody, own: Collection[str]) -> int:
    """The tokens of the prompt; `own`: the names of members that do not go upstream."""
    body, content = source.document, source.content
    if source.outline is not None:
        own_bytes = sum(member.end - member.at for member in source.outline.members if member.name in own)
        media = source.observer
        tokens, covered = (media.tokens, media.covered) if isinstance(media, MediaCount) else (0, 0)
        return text_tokens(max(len(content) - own_bytes - covered, 0)) + tokens
    messages = body.get("messages")
    if not isinstance(messages, list):
        messages = []
    if len(content) > LARGE_BYTES or _repeats_names(body, content):
        own_bytes = sum(len(_dumps(body[name], len(content))) for name in own if name in body)
        return _estimate_large(messages, len(content) - own_bytes)
    count, text_bytes = _Count(), 0
    for message in messages:
        text = message.get("content") if isinstance(message, dict) else None
        if isinstance(text, str) and len(message) == 2 and message.get("role") in _ROLES:
            text_bytes += len(text.encode("utf-8", "surrogatepass"))
        else:
            count.add_message(message)
    for name, value in body.items():
        if name in _PARAMETERS and (type(value) in _NUMBERS or _is_short(value)):
            continue
        if name != "messages" and name not in own and not (name == "stream_options" and value in _USAGE_OPTIONS):
            count.add({name: value})
    return text_tokens(text_bytes + count.bytes) + count.tokens + MESSAGE_TOKENS * len(messages)


def _repeats_names(body: Mapping[str, Any], content: bytes | bytearray) -> bool:
    """Whether an object may have a name twice: what goes upstream then holds more than the value that was read.

    A member that was lost to another one of its name takes its quotes along, unless they were written as escapes.
    """
    try:
        quotes = orjson.dumps(body).count(b'"')
    except TypeError:
        return True  # half a surrogate pair, or a number beyond 64 bits
    return content.count(b'"') + content.count(b"\\u0022") != quotes


class _Count:
    """What has been counted: bytes of text and JSON, and the tokens of what is not counted by its bytes."""

    __slots__ = ("bytes", "tokens")

    def __init__(self) -> None:
        self.bytes = 0
        self.tokens = 0

    def add(self, value: Any) -> None:
        """Count a value by its JSON."""
        self.bytes += len(_dumps(value, LARGE_BYTES))

    def add_message(self, message: Any) -> None:
        """Count a message that is more than a role and a text."""
        if not isinstance(message, dict):
            self.add(message)
            return
        for name, value in message.items():
            if name == "content" and isinstance(value, str):
                self.bytes += len(value.encode("utf-8", "surrogatepass"))
            elif name == "content" and isinstance(value, list):
                for part in value:
                    self.add_part(part)
            elif value is not None and not (name == "role" and value in _ROLES):
                self.add({name: value})

    def add_part(self, part: Any) -> None:
        """Count a part of a message: its text by its bytes, an image or a reference by its tokens."""
        text = part.get("text") if isinstance(part, dict) else None
        if isinstance(text, str) and len(part) == 2 and part.get("type") == "text":
            self.bytes += len(text.encode("utf-8", "surrogatepass"))
            return
        tokens, covered = _media(part)
        self.tokens += tokens
        self.add(part)
        self.bytes -= covered


def _estimate_large(messages: Sequence[Any], size: int) -> int:
    """The tokens of a body by its size in bytes, its images and references by their own rule."""
    tokens = covered = 0
    for part in _parts(messages):
        more, bytes_of_media = _media(part)
        tokens += more
        covered += bytes_of_media
    return text_tokens(max(size - covered, 0)) + tokens


def _parts(messages: Sequence[Any]) -> Iterator[Any]:
    """The parts of the contents of the messages, one by one."""
    for message in messages:
        parts = message.get("content") if isinstance(message, dict) else None
        if isinstance(parts, list):
            yield from parts


def _media(part: Any) -> tuple[int, int]:
    """The tokens of the image or the reference in a part, and how many bytes of the part they stand for."""
    if not isinstance(part, dict):
        return 0, 0
    kind = part.get("type")
    if "image_url" in part or (isinstance(kind, str) and "image" in kind):
        return _image(part)
    holders = [part, *(value for value in part.values() if isinstance(value, dict))]
    return (0 if kind == "text" else REFERENCED_TOKENS * any(map(_refers, holders))), 0


def _refers(holder: Mapping[str, Any]) -> bool:
    """Whether an object names a file that is elsewhere, and does not hold it."""
    if any(name in holder for name in _CONTENTS):
        return False
    names = (holder.get(name) for name in _REFERENCES)
    return any(isinstance(name, str) and name[:5].lower() != "data:" for name in names)


def _image(part: Mapping[str, Any]) -> tuple[int, int]:
    """The tokens of an image part: `image_url` as an object or a URL, or a `source` with bytes in base64."""
    image = part.get("image_url", part.get("source", part.get("image")))
    image = image if isinstance(image, dict) else {"url": image, "detail": part.get("detail")}
    if isinstance(data := image.get("data"), str):
        return image_tokens(f"data:;base64,{data[:LARGE_BYTES]}"), len(data)
    if isinstance(url := image.get("url"), str):
        return image_tokens(url, image.get("detail")), len(url) if url[:5].lower() == "data:" else 0
    return MAX_IMAGE_TOKENS, 0


def _is_short(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _SHORT_CHARACTERS


def _dumps(value: Any, limit: int) -> bytes:
    """The JSON of a value; as many bytes as `limit` says where no JSON can hold it."""
    try:
        return json_text.dumps(value)
    except ValueError:
        return bytes(limit)
