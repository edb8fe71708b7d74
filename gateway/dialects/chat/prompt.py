"""Pure: the tokens of a chat request's prompt, estimated before any provider has counted them.

In: the parsed body, without the members that do not go upstream, and the bytes in which it came. Out: a count of
tokens that is reserved, and that is billed where no provider tells a better one. The invariant: every byte that goes
upstream counts, but for the short values of the usual parameters.

- Text counts by its bytes, four a token, and each message by four tokens beside its text.
- Tools, tool calls, names, formats and every member that is not known here count by the bytes of their JSON.
- An image counts by OpenAI's rule (`gateway/dialects/images.py`).
- Audio and files count by their bytes as they are sent; what is only referred to, by a ceiling.
- A body of more than `LARGE_BYTES` counts by its own length; then only its images and references are looked for.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.dialects.images import MAX_IMAGE_TOKENS, image_tokens
from gateway.dialects.usage import text_tokens
from gateway.wire import json_text

MESSAGE_TOKENS = 4  # what a provider adds to a message for its role and its bounds
# What a file, a sound or a film costs that is only referred to: the whole context of most models.
REFERENCED_TOKENS = 131_072
LARGE_BYTES = 65_536  # above this size nothing is serialised again to be counted
MAX_LOOKED_AT = 10_000  # the messages and parts of a large body that are looked at one by one: about 3 ms

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
# What every image and every file has in its JSON; letters of a name may be escaped.
_MEDIA_MARKS = (b'"image', b'"input_image', b'"file', b"\\u006")
_DATA_IMAGE = b'"data:image/'
_REFERENCES = ("url", "file_id", "file_url", "file_uri", "uri")
_CONTENTS = ("data", "file_data", "bytes")


def estimate(body: Mapping[str, Any], content: bytes | bytearray, own: Mapping[str, Any]) -> int:
    """The tokens of the prompt in `body`, which came as `content`; `own`: members that do not go upstream.

    The long strings of a large body may be cut: their length is taken from `content`.
    """
    messages = body.get("messages")
    if not isinstance(messages, list):
        messages = []
    if len(content) > LARGE_BYTES:
        return _estimate_large(messages, content, len(_dumps(own, len(content))) if own else 0)
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
        if name != "messages" and not (name == "stream_options" and value in _USAGE_OPTIONS):
            count.add({name: value})
    return text_tokens(text_bytes + count.bytes) + count.tokens + MESSAGE_TOKENS * len(messages)


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


def _estimate_large(messages: list[Any], content: bytes | bytearray, own_bytes: int) -> int:
    """The tokens of a large body by its length, its images and references by their own rule."""
    tokens = covered = data_images = 0
    for place, part in enumerate(_parts(messages)):
        if place >= MAX_LOOKED_AT:
            # Too many to look at each: whatever may be an image or a file counts as a large image.
            tokens += MAX_IMAGE_TOKENS * sum(map(content.count, _MEDIA_MARKS))
            break
        more, bytes_of_media = _media(part)
        tokens += more
        covered += bytes_of_media
        data_images += bytes_of_media > 0
    found, found_bytes = _data_images(content)
    if found == data_images:
        covered = found_bytes
    return text_tokens(max(len(content) - own_bytes - covered, 0)) + tokens


def _parts(messages: list[Any]) -> Iterator[Any]:
    """The messages and the parts of their contents, one by one."""
    for message in messages:
        yield None
        parts = message.get("content") if isinstance(message, dict) else None
        if isinstance(parts, list):
            yield from parts


def _data_images(content: bytes | bytearray) -> tuple[int, int]:
    """How many strings of a JSON text are images as data URLs, and their bytes."""
    count = size = 0
    start = content.find(_DATA_IMAGE)
    while start >= 0:
        end = content.find(b'"', start + 1)
        count += 1
        size += max(end, start) - start
        start = content.find(_DATA_IMAGE, start + 1)
    return count, size


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
