"""Pure: the tokens of a chat request's prompt, estimated before any provider has counted them.

In: the body, its value and its bytes. Out: a count of tokens that is reserved, and that is billed where no provider
tells a better one. The invariant: every byte that goes
upstream counts, but for the short values of the usual parameters.

- Text counts by its bytes, four a token, and each message by four tokens beside its text.
- Tools, tool calls, names, formats and every member that is not known here count by the bytes of their JSON.
- An image counts by the rule of its model's provider (`gateway/dialects/images.py`).
- Audio and files count by their bytes as they are sent; what is only referred to, by a ceiling.
- A body of more than `LARGE_BYTES` or `MANY_OBJECTS`, or one in which a name stands twice, counts by its own length,
  but for its images and references, those in members that stand twice included. Those of a body that was read in
  steps are counted by then (media_count.py).
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from gateway.dialects.chat.media_count import (
    IMAGE_NAMES,
    MAX_MEASURED,
    REFERENCE_NAMES,
    REFERENCED_TOKENS,
    Media,
    MediaCount,
)
from gateway.dialects.image_size import HEAD_CHARACTERS
from gateway.dialects.images import MAX_IMAGE_TOKENS, ImageTokens, image_tokens
from gateway.dialects.request_body import RequestBody
from gateway.dialects.request_fields import repeats_names
from gateway.dialects.usage import text_tokens
from gateway.errors import ClientError
from gateway.wire import json_text

MESSAGE_TOKENS = 4  # what a provider adds to a message for its role and its bounds
LARGE_BYTES = 65_536  # above this size nothing is serialised again to be counted
MANY_OBJECTS = 2000  # above this number nothing is serialised again either: each object takes 2 us
MANY_VALUES = 1000  # values that are serialised for themselves, which takes 7 us each; more count by their bytes
MAX_LOST = 1000  # members that stand beside another one of their name; nobody but an attacker sends more

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
_NUMBERS = frozenset((int, float, bool, type(None)))
_USAGE_OPTIONS = ({"include_usage": True}, {"include_usage": False})
_CALLS = ("tool_calls", "function_call")  # members of a message that hold no media
_SHORT_NAME = 32  # characters; the name of a member that is null, and is longer, is counted
_NO_MEDIA = Media()
_LOW_IMAGE_TOKENS = image_tokens("", "low")
_LOST = "\0"  # the member that holds what other members of the same names have replaced


def estimate(source: RequestBody, own: Collection[str]) -> int:
    """The tokens of the prompt; `own`: the names of members that do not go upstream. Raises `ClientError`."""
    body, content = source.document, source.content
    if source.outline is not None:
        media = source.observer
        return _by_size(source, own, media.found if isinstance(media, MediaCount) else Media())
    messages = body.get("messages")
    if not isinstance(messages, list):
        messages = []
    if repeats_names(source):
        return _by_size(source, own, media_of(_with_every_member(content)))
    if len(content) > LARGE_BYTES or content.count(b"{") > MANY_OBJECTS:
        return _by_size(source, own, media_of(messages))
    try:
        return _by_values(body, messages, own)
    except _TooManyValues:
        return _by_size(source, own, media_of(messages))


def _by_values(body: Mapping[str, Any], messages: list[Any], own: Collection[str]) -> int:
    """The tokens of a short body, value by value. Raises `_TooManyValues`."""
    count, text_bytes = _Count(), 0
    for message in messages:
        text = message.get("content") if isinstance(message, dict) else None
        if type(text) is str and len(message) == 2 and message.get("role") in _ROLES:
            text_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        else:
            count.add_message(message)
    for name, value in body.items():
        kind = type(value)
        if name in _PARAMETERS and (kind in _NUMBERS or (kind is str and len(value) <= _SHORT_CHARACTERS)):
            continue
        if name != "messages" and name not in own and not (name == "stream_options" and value in _USAGE_OPTIONS):
            count.add({name: value})
    tokens = text_tokens(text_bytes + count.bytes) + MESSAGE_TOKENS * len(messages)
    return tokens + count.media.tokens(_models(body)) if count.media is not _NO_MEDIA else tokens


def _models(body: Mapping[str, Any]) -> list[str]:
    """The names of all models that the request asks for."""
    extension = body.get("gateway")
    lists = [body.get("models"), extension.get("models") if isinstance(extension, dict) else None]
    listed = [name for names in lists if isinstance(names, list) for name in names]
    return [name for name in [body.get("model"), *listed] if isinstance(name, str)]


def _by_size(source: RequestBody, own: Collection[str], media: Media) -> int:
    """The tokens of a body by its length, with those of its media, which stand for some bytes of it."""
    size, tokens = len(source.content) - media.covered, media.tokens(_models(source.document))
    if source.outline is not None or not source.document.keys().isdisjoint(own):
        size -= sum(member.end - member.at for member in source.members() if member.name in own)
    return text_tokens(max(size, 0)) + tokens


class _TooManyValues(ValueError):
    """The error for more values than are serialised for themselves."""


class _Count:
    """What has been counted: bytes of text and JSON, and the media that are not counted by their bytes."""

    __slots__ = ("_values", "bytes", "media")

    def __init__(self) -> None:
        self.bytes = 0
        self.media = _NO_MEDIA
        self._values = 0

    def add(self, value: Any) -> None:
        """Count a value by its JSON. Raises `_TooManyValues`."""
        self._values += 1
        if self._values > MANY_VALUES:
            raise _TooManyValues
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
            elif isinstance(value, dict | list) and name not in _CALLS:
                self._add_with_media({name: value})
            elif not (value is None and len(name) <= _SHORT_NAME) and not (name == "role" and value in _ROLES):
                self.add({name: value})

    def add_part(self, part: Any) -> None:
        """Count a part of a message: its text by its bytes, an image or a reference by its tokens."""
        text = part.get("text") if isinstance(part, dict) else None
        if isinstance(text, str) and len(part) == 2 and part.get("type") == "text":
            self.bytes += len(text.encode("utf-8", "surrogatepass"))
        else:
            self._add_with_media(part)

    def _add_with_media(self, value: Any) -> None:
        found = media_of(value)
        self.add(value)
        self.media = self.media.plus(found)
        self.bytes -= found.covered


def media_of(value: Any) -> Media:
    """The images and references anywhere in a value."""
    tokens, references, covered, measured = ImageTokens(), 0, 0, 0
    unmeasured = {MAX_IMAGE_TOKENS: 0, _LOW_IMAGE_TOKENS: 0}
    waiting = [value] if isinstance(value, (dict, list)) else []
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += [inner for inner in found if inner and isinstance(inner, (dict, list))]
            continue
        images = _image_names(found)
        for name in images:
            measured += 1
            more, bytes_of_image = _image(found[name], found.get("detail"), is_measured=measured <= MAX_MEASURED)
            covered += bytes_of_image
            if more in unmeasured:
                unmeasured[more] += 1
            else:
                tokens = tokens.plus(more)
        if not REFERENCE_NAMES.isdisjoint(found):
            names = REFERENCE_NAMES.intersection(found)
            references += REFERENCED_TOKENS * any(_refers(found[name]) for name in names)
        for name, inner in found.items():
            if inner and isinstance(inner, (dict, list)) and name not in images:
                waiting.append(inner)
    for more, number in unmeasured.items():
        tokens = tokens.plus(more, number)
    return Media(tokens, references, covered)


def _image_names(part: Mapping[str, Any]) -> Collection[str]:
    """The names of the members of a part that hold an image or its URL."""
    if not IMAGE_NAMES.isdisjoint(part):
        return IMAGE_NAMES.intersection(part)
    is_image = "source" in part and part.get("type") == "image" and isinstance(part["source"], dict)
    return ("source",) if is_image else ()


def _image(image: Any, detail: Any, *, is_measured: bool) -> tuple[ImageTokens, int]:
    """The tokens of an image: an object with its URL, the URL itself, or a `source` with bytes in base64.

    `is_measured`: its size is looked up; else it counts by the ceiling.
    """
    image = image if isinstance(image, dict) else {"url": image, "detail": detail}
    data, url = image.get("data"), image.get("url")
    found, covered = ImageTokens(), 0
    if isinstance(data, str) and str(image.get("media_type", "image/"))[:6].lower() == "image/":
        found, covered = image_tokens(f"data:;base64,{data[:HEAD_CHARACTERS]}" if is_measured else ""), len(data)
    if isinstance(url, str):  # beside data, too: which of them an upstream takes is not known
        of_url = image_tokens(url, image.get("detail")) if is_measured else _unmeasured(image.get("detail"))
        found = found.plus(of_url) if isinstance(data, str) else of_url
        # A data URL of another type is a file, which some upstreams take in the place of an image.
        covered += len(url) if url[:11].lower() == "data:image/" else 0
    return (found, covered) if isinstance(data, str) or isinstance(url, str) else (MAX_IMAGE_TOKENS, 0)


def _unmeasured(detail: Any) -> ImageTokens:
    """The tokens of an image whose size is not looked up."""
    return _LOW_IMAGE_TOKENS if detail == "low" else MAX_IMAGE_TOKENS


def _refers(value: Any) -> bool:
    """Whether the value of a member names a file that is elsewhere, or several, and does not hold it."""
    if isinstance(value, list):
        return any(isinstance(inner, str) for inner in value)
    return isinstance(value, str) and value[:5].lower() != "data:"


def _with_every_member(content: bytes | bytearray) -> Any:
    """The messages of a body in which names stand twice, with the members that other readers lose."""
    body = json.loads(content.decode(), object_pairs_hook=_EveryMember(), parse_int=str)
    return [value for name, value in body.items() if name in ("messages", _LOST)]


class _EveryMember:
    """Makes the objects of one body, and keeps beside each the members that other readers lose."""

    def __init__(self) -> None:
        self._lost = 0

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """The object of these members. Raises `ClientError` if too many of the body's are lost."""
        found = dict(pairs)
        if len(found) != len(pairs):
            self._lost += len(pairs) - len(found)
            if self._lost > MAX_LOST:
                raise ClientError(f"the body has more than {MAX_LOST} members whose names stand twice in an object")
            found[_LOST] = [{name: value} for name, value in pairs if value is not found[name]]
        return found


def _dumps(value: Any, limit: int) -> bytes:
    """The JSON of a value; as many bytes as `limit` says where no JSON can hold it."""
    try:
        return json_text.dumps(value)
    except ValueError:
        return bytes(limit)
