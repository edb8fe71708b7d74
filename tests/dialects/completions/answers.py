"""Events and readings of text completions for the tests of this package."""

from typing import Any

import orjson

from gateway.dialects.completions.dialect import COMPLETIONS
from gateway.dialects.completions.reader import CompletionsReader
from gateway.dialects.dialect import AnswerIdentity, Meaning
from gateway.dialects.learned_shape import AnswerMemory
from gateway.upstream.bodies import StreamBody
from gateway.wire import json_text
from tests.upstream.body_owner import Owner

IDENTITY = AnswerIdentity("own", 1_700_000_000, "public-model")
DONE = b"data: [DONE]\n\n"
RAW_LINE_ENDS = (b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9")


def reader(memory: AnswerMemory | None = None) -> CompletionsReader:
    return COMPLETIONS.reader(IDENTITY, memory)


def event(
    text: Any, *, index: int = 0, finish: str | None = None, answer_id: str = "cmpl-1", **more: Any
) -> dict[str, Any]:
    """An event that needs no repair."""
    choice = {"index": index, "text": text, "logprobs": None, "finish_reason": finish}
    top = {"id": answer_id, "object": "text_completion", "created": 1_750_000_000, "model": "davinci"}
    return {**top, "choices": [choice], **more}


def block(value: Any) -> bytes:
    return b"data: " + json_text.dumps(value) + b"\n\n"


def word(text: str, **more: Any) -> bytes:
    return block(event(text, **more))


def answer(answer_id: str = "cmpl-1", words: tuple[str, ...] = ("one", " two", " three")) -> list[bytes]:
    """The events of a whole answer, with its usage."""
    used = {"prompt_tokens": 4, "completion_tokens": len(words), "total_tokens": 4 + len(words)}
    usage = {**event(""), "id": answer_id, "choices": [], "usage": used}
    texts = [word(text, answer_id=answer_id) for text in words]
    return [*texts, word("", finish="stop", answer_id=answer_id), block(usage), DONE]


def in_steps(reader: CompletionsReader, block: bytes) -> Meaning:
    """The meaning of a long block."""
    reading = reader.read_in_steps(block)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            meaning: Meaning = end.value
            return meaning


class Played:
    """A body that was fed with an answer, and what came of it."""

    def __init__(self, *pieces: bytes, memory: AnswerMemory | None = None, ends: bool = False) -> None:
        self.reader = reader(memory)
        self.owner = Owner(flows=True)
        self.owner.body = self.body = StreamBody(self.owner, self.reader)
        for piece in pieces:
            for _ in self.body.feed(piece) or ():
                pass
        if ends:
            for _ in self.body.finish() or ():
                pass

    @property
    def frames(self) -> list[bytes]:
        return self.owner.frames


def conforming(frame: bytes | None) -> dict[str, Any]:
    """The object in a frame, after every check that a strict client or a simple one makes."""
    assert frame is not None
    assert frame.startswith(b"data: {")
    assert frame.endswith(b"}\n\n")
    assert frame.find(b"\n") == len(frame) - 2
    assert not any(raw in frame for raw in RAW_LINE_ENDS)
    value: dict[str, Any] = orjson.loads(frame[6:])
    assert value["object"] == "text_completion"
    assert isinstance(value["id"], str)
    assert isinstance(value["model"], str)
    assert type(value["created"]) is int
    assert not value.keys() & {"error", "usage"}
    for choice in value["choices"]:
        assert {"index", "text", "finish_reason"} <= choice.keys()
        assert type(choice["index"]) is int
        assert isinstance(choice["text"], str)
        assert choice["finish_reason"] is None or isinstance(choice["finish_reason"], str)
    return value
