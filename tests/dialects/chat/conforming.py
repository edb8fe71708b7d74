"""Checks that every frame of a chat completion must pass, by the model of a strict client and of a simple one."""

from typing import Any

import orjson
from auriko.models.chat import ChatCompletionChunk

from gateway.dialects.chat.reader import ChatReader
from gateway.dialects.chat.repair import Identity

RAW_LINE_ENDS = (b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9")


def reader() -> ChatReader:
    return ChatReader(Identity("chatcmpl-own", 1_700_000_000, "public-model"))


def event(
    delta: dict[str, Any] | None = None, *, finish: str | None = None, index: int = 0, **more: Any
) -> dict[str, Any]:
    """An event that needs no repair, except that the first event of a choice needs a role."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_750_000_000,
        "model": "gpt-x",
        "choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}],
        **more,
    }


def block(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def conforming(frame: bytes | None) -> dict[str, Any]:
    """The object in a frame, after every check that a strict client or a simple one makes."""
    assert frame is not None
    assert frame.startswith(b"data: {")
    assert frame.endswith(b"}\n\n")
    assert frame.find(b"\n") == len(frame) - 2
    assert not any(raw in frame for raw in RAW_LINE_ENDS)
    value: dict[str, Any] = orjson.loads(frame[6:])
    assert "error" not in value
    assert "usage" not in value
    assert value["object"] == "chat.completion.chunk"
    for choice in value["choices"]:
        assert {"index", "delta", "finish_reason"} <= choice.keys()
    ChatCompletionChunk.model_validate(value)
    return value
