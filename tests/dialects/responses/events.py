"""Events of the Responses API for tests, as OpenAI writes them and as other servers do."""

import json
from typing import Any

import orjson

from gateway.dialects.dialect import AnswerIdentity
from gateway.dialects.responses.reader import ResponsesReader
from gateway.wire import sse

IDENTITY = AnswerIdentity("req1", 1_750_000_000, "public-model")
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 12,
}


def reader() -> ResponsesReader:
    return ResponsesReader(IDENTITY)


def response(status: str = "in_progress", **more: Any) -> dict[str, Any]:
    base = {"id": "resp_1", "object": "response", "created_at": 7, "status": status, "error": None, "model": "gpt-x"}
    return {**base, "output": [], "usage": None, **more}


def event(kind: str, number: int | None, **members: Any) -> bytes:
    """The block of an event; without a number it has none."""
    numbered = {} if number is None else {"sequence_number": number}
    return sse.frame(orjson.dumps({"type": kind, **numbered, **members}), kind.encode())


def created(number: int | None = 0, **more: Any) -> bytes:
    return event("response.created", number, response=response(**more))


def delta(number: int | None, text: str, **more: Any) -> bytes:
    return event("response.output_text.delta", number, **PLACE, delta=text, logprobs=[], **more)


def completed(number: int | None, **more: Any) -> bytes:
    return event("response.completed", number, response=response("completed", **{"usage": USAGE, **more}))


def payload(frame: bytes | None) -> dict[str, Any]:
    """The object in a frame, after the checks that every client makes."""
    assert frame is not None
    assert frame.endswith(b"}\n\n")
    assert not any(raw in frame for raw in (b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9"))
    lines = frame[:-2].split(b"\n")
    name = lines.pop(0) if len(lines) == 2 else None
    assert len(lines) == 1
    assert lines[0].startswith(b"data: {")
    value: dict[str, Any] = json.loads(lines[0][6:].decode())
    assert name in (None, b"event: " + value["type"].encode())
    return value


def answer(*texts: str, first: int = 0, **more: Any) -> list[bytes]:
    """All events of a response that says these texts."""
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    part = {"type": "output_text", "text": "".join(texts), "annotations": []}
    whole = {**item, "content": [part]}
    begin: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": response()}),
        ("response.in_progress", {"response": response()}),
        ("response.output_item.added", {"output_index": 0, "item": {**item, "content": []}}),
        ("response.content_part.added", {**PLACE, "part": {**part, "text": ""}}),
    ]
    end: list[tuple[str, dict[str, Any]]] = [
        ("response.output_text.done", {**PLACE, "text": "".join(texts)}),
        ("response.content_part.done", {**PLACE, "part": part}),
        ("response.output_item.done", {"output_index": 0, "item": whole}),
        ("response.completed", {"response": response("completed", output=[whole], usage=USAGE, **more)}),
    ]
    deltas: list[tuple[str, dict[str, Any]]] = [
        ("response.output_text.delta", {**PLACE, "delta": text, "logprobs": []}) for text in texts
    ]
    return [event(kind, first + n, **members) for n, (kind, members) in enumerate([*begin, *deltas, *end])]
