"""Streams of the Responses API (responses.toml): what the attempt hears of them, and what a client gets."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.dialects.responses.reader import ResponsesReader
from gateway.upstream.bodies import StreamBody
from tests.dialects.responses.events import IDENTITY, answer, completed, created, delta, event, payload, response
from tests.upstream.body_owner import Owner

CASES: list[Mapping[str, Any]] = tomllib.loads((Path(__file__).parent / "responses.toml").read_text())["case"]
PROMPT_TOKENS = 50
ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}


def usual(name: str, number: int) -> bytes:
    """One of the events that most cases have."""
    whole = answer("a")
    return {
        "created": created(number),
        "in_progress": event("response.in_progress", number, response=response()),
        "item": event("response.output_item.added", number, output_index=0, item=ITEM),
        "part": event("response.content_part.added", number, part={"type": "output_text", "text": ""}),
        "text_done": event("response.output_text.done", number, text="a"),
        "item_done": event("response.output_item.done", number, output_index=0, item={**ITEM, "content": []}),
        "completed": completed(number),
        "": whole[0],
    }[name]


def body_of(case: Mapping[str, Any]) -> bytes:
    """The bytes of the body of a case."""
    body, number = b"", 0
    for text in case["events"]:
        if text.startswith("+"):
            body += delta(number, text[1:])
        elif text.startswith("@"):
            body += usual(text[1:], number)
        elif text.startswith("raw:"):
            body += text.removeprefix("raw:").encode()
        else:
            body += (f"data: {text}" if text.startswith("{") else text).encode() + b"\n\n"
        number += not text.startswith((":", "raw:"))
    body = body[: len(body) - case.get("cut", 0)]
    return body.replace(b"\n", case.get("line_end", "\n").encode())


class Played:
    """A body that was fed with a stream, in pieces of this size, and what came of it."""

    def __init__(self, body: bytes, size: int, *, ends: bool) -> None:
        self.owner = Owner()
        self.owner.body = self.body = StreamBody(self.owner, ResponsesReader(IDENTITY))
        for at in range(0, len(body), size):
            for _ in self.body.feed(body[at : at + size]) or ():
                pass
        if ends:
            for _ in self.body.finish() or ():
                pass
        self.frames = list(self.owner.frames)
        if "complete" in self.owner.calls:
            self.frames += self.body.closing_frames(None)

    @property
    def text(self) -> str:
        events = [payload(frame) for frame in self.frames]
        return "".join(told["delta"] for told in events if told["type"] == "response.output_text.delta")


@pytest.mark.parametrize("size", [1 << 20, 1, 7])
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_stream_means_what_it_says(case: Mapping[str, Any], size: int) -> None:
    played, expect = Played(body_of(case), size, ends="cutoff" not in case), case["expect"]
    owner = played.owner
    assert owner.calls == expect["calls"], owner.error
    numbers = [payload(frame)["sequence_number"] for frame in played.frames]
    assert numbers == expect.get("numbers", list(range(len(numbers))))
    assert played.text == expect.get("text", played.text)
    assert len(played.frames) == expect.get("frames", len(played.frames))
    if "error" in expect:
        assert owner.error is not None
        assert expect["error"] in owner.error.message
        assert owner.error.code == expect.get("code", owner.error.code)
        assert_broken(played)
    if "usage" in expect:
        usage = played.body.usage(PROMPT_TOKENS)
        assert [usage.prompt_tokens, usage.completion_tokens] == expect["usage"]
        assert usage.estimated is expect.get("estimated", False)


def assert_broken(played: Played) -> None:
    """Check the two frames by which a client is told of the break."""
    error = played.owner.error
    assert error is not None
    first, last = map(payload, played.body.break_frames(error))
    number = payload(played.frames[-1])["sequence_number"] if played.frames else -1
    assert (first["type"], last["type"]) == ("error", "response.failed")
    assert number < first["sequence_number"] == last["sequence_number"] - 1
    told = {"code": error.code, "message": error.message, "param": error.param}
    assert {name: first[name] for name in told} == told
    assert first["error"] == {**first["error"], **told, "type": error.type}
    assert last["response"]["error"] == {"code": error.code, "message": error.message}
    assert last["response"]["status"] == "failed"
    named = [payload(frame)["response"]["id"] for frame in played.frames if b'"response":' in frame]
    assert set(named) <= {last["response"]["id"]}
