"""Pure: the texts of a choice, and the samples of events with one text, from which shapes are learned."""

from collections.abc import Callable
from typing import Any

from gateway.dialects.completions.beginning import learn_beginning
from gateway.dialects.completions.repair import TEXTS
from gateway.dialects.learned_shape import AnswerMemory, Sample, learn
from gateway.wire.media_text import spoken_bytes


def text_bytes(choice: dict[str, Any]) -> int:
    """The bytes of the text of a choice, reasoning included."""
    size = 0
    for name in TEXTS:
        if isinstance(text := choice.get(name), str):
            size += spoken_bytes(text)
    return size


def sample_of(payload: dict[str, Any], block: bytes, frame: bytes, hits: int) -> Sample | None:
    """The sample that a shape learns from; None if this event has not exactly one string that may change."""
    choice = payload["choices"][0]
    names = [name for name in TEXTS if choice.get(name)]
    if len(names) != 1 or not isinstance(choice[names[0]], str):
        return None
    return Sample(block, frame, ("choices", 0, names[0]), hits)


def remembered(memory: AnswerMemory, first: bytes, give: Callable[[], Sample | None]) -> Sample | None:
    """The sample of the first event of an answer, which is its first text; the memory learns from it."""
    sample = give()
    shape = None if sample is None or sample.frame != first else learn(sample)
    memory.learn(None if shape is None else learn_beginning(shape[0]))
    return sample
