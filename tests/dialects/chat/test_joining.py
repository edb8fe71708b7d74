"""The events of a chat completion, joined: the document is what a client would have joined itself."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import AnswerReport
from gateway.dialects.event_joining import MAX_MEMBERS
from gateway.dialects.usage import Usage
from gateway.wire import sse

USED = Usage(3, 2, estimated=False)


def joined(*choices: dict[str, Any], in_steps: bool = False, **members: Any) -> dict[str, Any]:
    """The document of events with one choice each, whose index is 0 unless it has another."""
    joiner = CHAT.joiner()
    for choice in choices:
        event = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, **choice}]}
        frame = sse.frame(orjson.dumps({**event, **members}))
        if in_steps:
            for _ in joiner.add_in_steps(frame):
                pass
        else:
            joiner.add(frame)
    document = joiner.document(lambda prompt_tokens: USED)
    assert document.usage(0) == USED
    answer: dict[str, Any] = orjson.loads(bytes(document.encode(AnswerReport(USED, {"provider": "x"}))))
    assert (answer["object"], answer["routing_metadata"]) == ("chat.completion", {"provider": "x"})
    assert answer["usage"] == USED.as_json()
    return answer


def message(*deltas: dict[str, Any], in_steps: bool = False) -> dict[str, Any]:
    answer = joined(*({"delta": delta} for delta in deltas), in_steps=in_steps)
    found: dict[str, Any] = answer["choices"][0]["message"]
    return found


@given(st.lists(st.text(max_size=5), min_size=1))
def test_a_text_in_pieces_is_the_text(pieces: list[str]) -> None:
    text = "".join(pieces)
    deltas = [{"content": piece, "reasoning_content": piece, "refusal": piece} for piece in pieces]
    assert message({"role": "assistant"}, *deltas) == {
        "role": "assistant", "content": text, "reasoning_content": text, "refusal": text,
    }  # fmt: skip


@pytest.mark.parametrize("in_steps", [False, True])
def test_a_text_beside_the_deltas_and_the_input_of_a_custom_tool_are_joined(in_steps: bool) -> None:
    def piece(text: str) -> dict[str, Any]:
        return {"text": text, "delta": {"tool_calls": [{"index": 0, "custom": {"input": text}}]}}

    long = "x" * 100_000
    [choice] = joined(piece("a"), piece(long), piece(""), in_steps=in_steps)["choices"]
    assert choice["text"] == f"a{long}"
    assert choice["message"]["tool_calls"] == [{"custom": {"input": f"a{long}"}}]


def test_a_message_without_text_has_none() -> None:
    assert message({"role": "assistant", "content": None}) == {"role": "assistant", "content": None}
    assert joined({"finish_reason": "stop"})["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": None}, "finish_reason": "stop"}
    ]


def test_tool_calls_are_told_apart_by_their_index_and_lose_it() -> None:
    def fragment(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
        return {"tool_calls": [{"index": index, "function": function, **more}]}

    assert message(
        fragment(0, "", id="a", type="function", name="f"),
        fragment(0, '{"x"'),
        fragment(1, "{}", id="b", type="function", name="g"),
        fragment(0, ":1}"),
    )["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_choices_stand_in_their_order_with_their_own_finish() -> None:
    choices = joined(
        {"index": 1, "delta": {"content": "b"}},
        {"delta": {"content": "a"}},
        {"index": 1, "finish_reason": "length"},
        {"finish_reason": "stop"},
    )["choices"]
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in choices] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]


def test_probabilities_images_and_unknown_members_are_kept() -> None:
    first, second = {"token": "a"}, {"token": "b"}
    choice = joined(
        {"delta": {"content": "a", "images": [1]}, "logprobs": {"content": [first]}, "filter": {"hate": "safe"}},
        {"delta": {"content": "b", "images": [2], "citation": "x"}, "logprobs": {"content": [second]}},
        {"delta": {}, "logprobs": None},
        system_fingerprint="fp",
    )
    assert choice["system_fingerprint"] == "fp"
    assert choice["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": "ab", "images": [1, 2], "citation": "x"},
        "finish_reason": None,
        "logprobs": {"content": [first, second]},
        "filter": {"hate": "safe"},
    }


def test_a_sound_is_joined_and_content_of_parts_grows() -> None:
    assert message({"audio": {"id": "s", "data": "AA"}}, {"audio": {"data": "BB", "transcript": "x"}})["audio"] == {
        "id": "s", "data": "AABB", "transcript": "x",
    }  # fmt: skip
    parts = [{"type": "text", "text": "a"}], [{"type": "image_url", "image_url": {"url": "u"}}]
    assert message(*({"content": part} for part in parts))["content"] == [*parts[0], *parts[1]]


def test_a_text_before_or_behind_parts_becomes_a_part() -> None:
    image = {"type": "image_url", "image_url": {"url": "u"}}
    assert message({"content": "a"}, {"content": "b"}, {"content": [image]}, {"content": "c"})["content"] == [
        {"type": "text", "text": "ab"},
        image,
        {"type": "text", "text": "c"},
    ]


SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
NAMES = st.sampled_from(["content", "refusal", "audio", "data", "x"])
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=6)


@given(st.lists(st.dictionaries(NAMES, VALUES), min_size=1))
def test_whatever_deltas_hold_they_are_joined(deltas: list[dict[str, Any]]) -> None:
    assert message(*deltas)["role"] == "assistant"


@pytest.mark.parametrize("name", ["audio", "x", "function_call"])
@pytest.mark.parametrize("levels", [5, 200])
def test_what_is_nested_deeply_is_kept_as_it_came(name: str, levels: int) -> None:
    deep: Any = "a"
    for _ in range(levels):
        deep = {"data": deep, "tool_calls": [1]}
    found = message({"content": "a"}, {name: deep})[name]
    for _ in range(levels):
        assert found["tool_calls"] == [1]
        found = found["data"]
    assert found == "a"


@given(st.lists(st.dictionaries(NAMES, VALUES), min_size=1))
def test_long_events_are_joined_as_short_ones_are(deltas: list[dict[str, Any]]) -> None:
    assert message(*deltas, in_steps=True) == message(*deltas)


@pytest.mark.parametrize("text", ["A", '"\\', "é\u2028", "😀"])
def test_what_is_left_out_of_long_events_comes_back(text: str) -> None:
    text *= 9000
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": text}}
    delta = {
        "content": text,
        "audio": {"data": text},
        "images": [{"url": text}],
        "x": {"y": [text, {"z": text}]},
        text: text,
        "tool_calls": [call],
    }
    choices = [{"delta": delta, "logprobs": {"content": [{"token": text}] * 2}}] * 3
    answer = joined(*choices, in_steps=True, system_fingerprint=text)
    choice = answer["choices"][0]
    message = choice["message"]
    assert answer["system_fingerprint"] == text
    assert (message["content"], message["audio"], message[text]) == (text * 3, {"data": text * 3}, text)
    assert message["images"] == [{"url": text}] * 3
    assert message["x"] == {"y": [text, {"z": text}]}
    assert message["tool_calls"][0]["function"]["arguments"] == text * 3
    assert choice["logprobs"] == {"content": [{"token": text}] * 6}


def test_a_long_answer_is_written_in_parts() -> None:
    joiner, frame = (
        CHAT.joiner(),
        sse.frame(b'{"choices":[{"index":0,"delta":{"content":"%b","x":[1]}}]}' % (b"a" * 9000)),
    )
    for _ in range(100):
        joiner.add(frame)
    text = joiner.document(lambda prompt_tokens: USED).encode(AnswerReport(USED, {}))
    assert not isinstance(text, bytes)
    parts = list(text.parts())
    assert max(map(len, parts)) < 150_000
    message = orjson.loads(b"".join(parts))["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "a" * 900_000, "x": [1] * 100}


def test_too_many_members_are_refused() -> None:
    names = (str(number) for number in range(MAX_MEMBERS))
    with pytest.raises(ValueError, match=f"more than {MAX_MEMBERS} members"):
        message(dict.fromkeys(names, 0))


def test_too_many_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="members"):
        joined(*({"index": number} for number in range(MAX_MEMBERS // 8 + 1)))


def test_what_says_nothing_replaces_nothing_and_a_name_that_is_repeated_is_one() -> None:
    first = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
    again = {"id": "", "type": None, "function": {"name": "f", "arguments": "1}"}}
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": "a", "tool_calls": [{"index": 0, **first}]},
        {"role": "", "content": "b", "tool_calls": [{"index": 0, **again}]},
    ]
    told = message(*deltas)
    assert (told["role"], told["content"]) == ("assistant", "ab")
    [call] = told["tool_calls"]
    assert call == {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
