"""Pure: the texts of a delta, and the samples of events with one text, from which shapes and memories are learned."""

from collections.abc import Callable
from typing import Any

from gateway.dialects.chat.beginning import learn_beginning
from gateway.dialects.chat.content_parts import text_of
from gateway.dialects.learned_shape import AnswerMemory, Sample, learn
from gateway.wire.media_text import spoken_bytes

_TEXT_KEYS = ("content", "reasoning_content", "reasoning", "refusal")


def text_bytes(body: dict[str, Any]) -> int:
    """The bytes of the text in a delta or a message, reasoning and the arguments of tool calls included.

    An image in base64 that stands in the text is none.
    """
    size = 0
    for _, text in _texts(body):
        size += spoken_bytes(text)
    if isinstance(content := body.get("content"), list):
        size += spoken_bytes(text_of(content))
    return size


def sample_of(payload: dict[str, Any], block: bytes, frame: bytes, hits: int) -> Sample | None:
    """The sample that a shape learns from; None if this event has not exactly one string that may change."""
    texts = _texts(payload["choices"][0]["delta"])
    return Sample(block, frame, ("choices", 0, "delta", *texts[0][0]), hits) if len(texts) == 1 else None


def remembered(memory: AnswerMemory, first: bytes, give: Callable[[], Sample | None]) -> Sample | None:
    """The sample of the first text of an answer; the memory learns from it, and from the event with the role."""
    sample = give()
    shape = None if sample is None or sample.frame != sample.block else learn(sample)
    memory.learn(None if shape is None else learn_beginning(first, shape[0]))
    return sample


def _texts(delta: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """The strings of a delta, with their paths, that may change from one event to the next; empty ones left out."""
    found: list[tuple[tuple[str | int, ...], str]] = [
        ((key,), text) for key in _TEXT_KEYS if isinstance(text := delta.get(key), str) and text
    ]
    for position, call in enumerate(delta.get("tool_calls") or ()):
        found += _texts_of_call(("tool_calls", position), call)
    if "function_call" in delta:  # the call of the older API
        found += _texts_of_call((), delta, "function_call")
    return found


def _texts_of_call(
    path: tuple[str | int, ...], call: dict[str, Any], function: str = "function"
) -> list[tuple[tuple[str | int, ...], str]]:
    """The arguments of a call of a function, or the input of a custom tool."""
    for kind, member in ((function, "arguments"), ("custom", "input")):
        called = call.get(kind)
        if isinstance(called, dict) and isinstance(text := called.get(member), str) and text:
            return [((*path, kind, member), text)]
    return []
