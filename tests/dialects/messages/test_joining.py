"""The events of a message, joined: the document is what a client would have joined itself."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.dialect import AnswerReport
from gateway.dialects.event_joining import MAX_MEMBERS
from gateway.dialects.messages.dialect import MESSAGES
from gateway.dialects.messages.joining import MAX_INPUT_BYTES
from gateway.dialects.usage import Usage
from tests.dialects.messages.events import (
    ANSWER,
    PING,
    START,
    STOP,
    TEXT,
    begun,
    delta,
    ended,
    event,
    started,
    stopping,
)

USED = Usage(3, 2, estimated=False)


def joined(*frames: bytes, in_steps: bool = False) -> dict[str, Any]:
    """The message that the events tell."""
    joiner = MESSAGES.joiner()
    for frame in frames:
        if in_steps:
            for _ in joiner.add_in_steps(frame):
                pass
        else:
            joiner.add(frame)
    document = joiner.document(lambda prompt_tokens: USED)
    assert document.usage(0) == USED
    message: dict[str, Any] = orjson.loads(bytes(document.encode(AnswerReport(USED, {"provider": "x"}))))
    return message


@pytest.mark.parametrize("in_steps", [False, True])
def test_a_text_is_joined(in_steps: bool) -> None:
    assert joined(*ANSWER, in_steps=in_steps) == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [{"type": "text", "text": "Hello!"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 25, "output_tokens": 15},
    }


@pytest.mark.parametrize("in_steps", [False, True])
def test_thoughts_citations_and_tools_are_joined(in_steps: bool) -> None:
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    citations = [{"type": "char_location", "cited_text": letter} for letter in "ab"]
    frames = (
        START,
        begun({"type": "thinking", "thinking": "", "signature": ""}),
        delta("h", kind="thinking_delta", member="thinking"),
        PING,
        delta("m", kind="thinking_delta", member="thinking"),
        delta("c2ln", kind="signature_delta", member="signature"),
        ended(),
        begun({"type": "text", "text": "", "citations": []}, index=1),
        *(event("content_block_delta", index=1, delta={"type": "citations_delta", "citation": c}) for c in citations),
        delta("é", index=1),
        ended(index=1),
        begun(tool, index=2),
        *(delta(p, kind="input_json_delta", member="partial_json", index=2) for p in ("", '{"a":', ' "\\u00e9"}')),
        ended(index=2),
        begun({**tool, "id": "u"}, index=3),
        ended(index=3),
        begun({"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "x"}]}, index=4),
        ended(index=4),
        stopping("tool_use"),
        STOP,
    )
    assert joined(*frames, in_steps=in_steps)["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "text", "text": "é", "citations": citations},
        {**tool, "input": {"a": "é"}},
        {**tool, "id": "u"},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "x"}]},
    ]


def test_usage_is_cumulative_and_what_was_not_told_is_the_readers() -> None:
    frames = (started(input_tokens=5, cache_read_input_tokens=9, output_tokens=1), TEXT, delta("a"))
    end = stopping(None, output_tokens=7), stopping("end_turn", input_tokens=None, output_tokens=15), STOP
    assert joined(*frames, *end)["usage"] == {"input_tokens": 5, "cache_read_input_tokens": 9, "output_tokens": 15}
    assert joined(started(x=1), TEXT, delta("a"), event("message_delta", delta={"stop_reason": "x"}))["usage"] == {
        "x": 1,
        "input_tokens": 3,
        "output_tokens": 2,
    }


def test_what_stands_beside_the_delta_of_a_message_is_kept() -> None:
    end = event(
        "message_delta", delta={"stop_reason": "end_turn"}, usage={}, context_management={"applied_edits": []}
    )
    message = joined(START, TEXT, delta("a"), end, STOP)
    assert (message["context_management"], message["stop_reason"], message["type"]) == (
        {"applied_edits": []},
        "end_turn",
        "message",
    )


@given(st.lists(st.text(max_size=5), min_size=1), st.booleans())
def test_a_text_in_pieces_is_the_text(pieces: list[str], in_steps: bool) -> None:
    texts = [delta(piece) for piece in pieces]
    thoughts = [delta(piece, kind="thinking_delta", member="thinking", index=1) for piece in pieces]
    frames = (START, TEXT, begun({"type": "thinking", "thinking": ""}, index=1), *texts, *thoughts, stopping(), STOP)
    content = joined(*frames, in_steps=in_steps)["content"]
    assert (content[0]["text"], content[1]["thinking"]) == ("".join(pieces), "".join(pieces))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3), lambda inner: st.lists(inner), max_leaves=6
)


@given(st.dictionaries(st.text(max_size=4), VALUES), st.integers(1, 9))
def test_the_input_of_a_tool_in_pieces_is_the_input(given_input: dict[str, Any], size: int) -> None:
    text = orjson.dumps(given_input).decode()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    deltas = [delta(piece, kind="input_json_delta", member="partial_json") for piece in pieces]
    frames = (START, begun({"type": "tool_use", "id": "t", "name": "f", "input": {}}), *deltas, stopping(), STOP)
    assert joined(*frames)["content"][0]["input"] == given_input


@pytest.mark.parametrize("text", ["A", '"\\', "é\u2028", "😀"])
def test_what_is_left_out_of_long_events_comes_back(text: str) -> None:
    text *= 9000
    tool = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    image = {"type": "image", "source": {"data": text}, text: [text]}
    part = delta(orjson.dumps({"a": text}).decode(), kind="input_json_delta", member="partial_json", index=1)
    frames = (START, TEXT, delta(text), delta(text), begun(tool, index=1), part, begun(image, index=2))
    end = event(
        "message_delta", delta={"stop_reason": "end_turn", "x": text}, usage={"output_tokens": 1, "y": [text]}
    )
    message = joined(*frames, end, STOP, in_steps=True)
    assert message["content"] == [{"type": "text", "text": text * 2}, {**tool, "input": {"a": text}}, image]
    assert (message["x"], message["usage"]["y"]) == (text, [text])


def test_a_long_answer_is_written_in_parts() -> None:
    joiner = MESSAGES.joiner()
    for frame in (START, TEXT, *[delta("a" * 9000)] * 100, stopping(), STOP):
        joiner.add(frame)
    text = joiner.document(lambda prompt_tokens: USED).encode(AnswerReport(USED, {}))
    assert not isinstance(text, bytes)
    parts = list(text.parts())
    assert max(map(len, parts)) < 150_000
    assert orjson.loads(b"".join(parts))["content"] == [{"type": "text", "text": "a" * 900_000}]


TOOL = begun({"type": "tool_use", "id": "t", "name": "f", "input": {}})


@pytest.mark.parametrize(
    ("frames", "fault"),
    [
        ((START, delta("a")), "has not begun"),
        ((START, event("content_block_start", content_block={})), "no index"),
        (
            (START, TOOL, delta("{", kind="input_json_delta", member="partial_json"), STOP),
            "JSON|unexpected|Expecting",
        ),
        (
            (START, TOOL, *[delta("1" * 60_000, kind="input_json_delta", member="partial_json")] * 20),
            f"more than {MAX_INPUT_BYTES} bytes",
        ),
        (
            (START, TOOL, delta("[" + "1," * 60_001 + "1]", kind="input_json_delta", member="partial_json"), ended()),
            "more than 60000 values",
        ),
        (
            (START, *(begun({"type": "text", "text": ""}, index=index) for index in range(MAX_MEMBERS // 2 + 1))),
            f"more than {MAX_MEMBERS} members",
        ),
    ],
)
def test_events_that_do_not_fit_or_are_too_much_are_refused(frames: tuple[bytes, ...], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        joined(*frames)


def test_a_long_input_of_a_tool_is_refused_beyond_its_limit() -> None:
    with pytest.raises(ValueError, match="the input of a tool"):
        joined(
            START,
            TOOL,
            delta("1" * MAX_INPUT_BYTES, kind="input_json_delta", member="partial_json"),
            in_steps=True,
        )
