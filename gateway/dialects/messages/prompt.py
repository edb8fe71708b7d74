"""Pure: the tokens of the prompt of a message, estimated before any provider has counted them.

In: the body, its value and its bytes. Out: a count of tokens that is reserved, and that is billed where no provider
tells a better one. The invariant: all bytes that go upstream count, but for the short values of usual parameters.

- Text counts by its bytes, four a token, and each message by four tokens beside its text.
- Tools, their uses and results, documents and every member that is not known here count by the bytes of their JSON.
- Images, and what is only referred to, count as `sources.py` says.
- A body of more than `LARGE_BYTES` or `MANY_OBJECTS`, or one in which a name stands twice, counts by its own length,
  but for its images and references.
"""

from collections.abc import Collection
from typing import Any

from gateway.dialects.messages.sources import SourceCount, Sources, sources_of
from gateway.dialects.request_body import RequestBody
from gateway.dialects.request_fields import repeats_names
from gateway.dialects.usage import text_tokens
from gateway.wire import json_text

MESSAGE_TOKENS = 4  # what a provider adds to a message for its role and its bounds
LARGE_BYTES = 65_536  # above this size nothing is serialised again to be counted
MANY_OBJECTS = 2000  # above this number nothing is serialised again either: each object takes 2 us
_PARAMETERS = frozenset(
    ("model", "stream", "max_tokens", "temperature", "top_p", "top_k", "service_tier", "inference_geo", "container")
)
_SHORT_CHARACTERS = 64  # a text that is the value of a parameter, and is longer, is counted
_NUMBERS = frozenset((int, float, bool, type(None)))


def estimate(source: RequestBody, own: Collection[str]) -> int:
    """The tokens of the prompt; `own`: the names of members that do not go upstream."""
    body, content = source.document, source.content
    if source.outline is not None:
        observer = source.observer
        return _by_size(source, own, observer.found if isinstance(observer, SourceCount) else Sources())
    if len(content) > LARGE_BYTES or content.count(b"{") > MANY_OBJECTS or repeats_names(source):
        return _by_size(source, own, sources_of([body.get("messages"), body.get("system")]))
    size, sources = 0, Sources()
    messages = body.get("messages")
    messages = messages if isinstance(messages, list) else []
    for message in messages:
        for name, value in message.items() if isinstance(message, dict) else ():
            if name == "content":
                size += _content_bytes(value)
                sources = sources.plus(sources_of(value))
            elif name != "role" or type(value) is not str or len(value) > _SHORT_CHARACTERS:
                size += len(_dumps({name: value}))
    for name, value in body.items():
        kind = type(value)
        if name == "system":
            size += _content_bytes(value)
            sources = sources.plus(sources_of(value))
        elif name in _PARAMETERS and (kind in _NUMBERS or (kind is str and len(value) <= _SHORT_CHARACTERS)):
            continue
        elif name != "messages" and name not in own:
            size += len(_dumps({name: value}))
    return text_tokens(max(size - sources.covered, 0)) + MESSAGE_TOKENS * len(messages) + sources.tokens


def _content_bytes(content: Any) -> int:
    """The bytes of a text, or of a list of blocks, of which those with nothing but a text count by that."""
    if isinstance(content, str):
        return _size(content)
    if not isinstance(content, list):
        return len(_dumps(content))
    size, others = 0, list[Any]()
    for block in content:
        text = block.get("text") if isinstance(block, dict) and len(block) == 2 else None
        if isinstance(text, str) and block.get("type") == "text":
            size += _size(text)
        else:
            others.append(block)
    return size + len(_dumps(others)) - len(others) - 1 if others else size  # without brackets and commas


def _by_size(source: RequestBody, own: Collection[str], sources: Sources) -> int:
    """The tokens of a body by its length, with those of its sources, which stand for some bytes of it."""
    size = len(source.content) - sources.covered
    if source.outline is not None or not source.document.keys().isdisjoint(own):
        size -= sum(member.end - member.at for member in source.members() if member.name in own)
    return text_tokens(max(size, 0)) + sources.tokens


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _dumps(value: Any) -> bytes:
    """The JSON of a value; as many bytes as a large body has where no JSON can hold it."""
    try:
        return json_text.dumps(value)
    except ValueError:
        return bytes(LARGE_BYTES)
