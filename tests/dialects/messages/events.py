"""The events of a message as Anthropic sends them, and a reader for them."""

from collections.abc import Iterable
from typing import Any

import orjson

from gateway.dialects.dialect import AnswerIdentity, Meaning
from gateway.dialects.messages.reader import MessagesReader
from gateway.wire import sse

IDENTITY = AnswerIdentity("r1", 1_750_000_000, "claude-x")


def event(kind: str, **members: Any) -> bytes:
    """The frame of an event."""
    return sse.frame(orjson.dumps({"type": kind, **members}), kind.encode())


def delta(text: str, *, kind: str = "text_delta", member: str = "text", index: int = 0) -> bytes:
    """An event that adds a text to a block."""
    return event("content_block_delta", index=index, delta={"type": kind, member: text})


def begun(block: dict[str, Any], *, index: int = 0) -> bytes:
    """An event that begins a block."""
    return event("content_block_start", index=index, content_block=block)


def ended(*, index: int = 0) -> bytes:
    """An event that ends a block."""
    return event("content_block_stop", index=index)


def started(**usage: Any) -> bytes:
    """The event that begins a message."""
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage or {"input_tokens": 25, "output_tokens": 1},
    }
    return event("message_start", message=message)


def stopping(reason: str | None = "end_turn", **usage: Any) -> bytes:
    """The event that says why a message stops."""
    told = usage or {"output_tokens": 15}
    return event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage=told)


START = started()
PING = event("ping")
TEXT = begun({"type": "text", "text": ""})
STOP = event("message_stop")
ANSWER = (START, TEXT, PING, delta("Hello"), delta("!"), ended(), stopping(), STOP)


def reader() -> MessagesReader:
    """A reader that has seen nothing."""
    return MessagesReader(IDENTITY)


def read(reader: MessagesReader, blocks: Iterable[bytes]) -> list[Meaning]:
    """What each block means."""
    return [reader.read(block) for block in blocks]


def in_steps(reader: MessagesReader, block: bytes) -> Meaning:
    """What a long block means."""
    reading = reader.read_in_steps(block)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            meaning: Meaning = end.value
            return meaning


def payload(frame: bytes | None) -> dict[str, Any]:
    """The object of a frame that every client takes for one event of its type."""
    assert frame is not None
    assert sse.is_named_frame(frame)
    assert not any(line_end in frame for line_end in (b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9"))
    decoded = sse.decode(frame)
    value: dict[str, Any] = orjson.loads(decoded.data or b"")
    assert value["type"].encode() == decoded.name
    return value
