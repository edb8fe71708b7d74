"""Each repair of a lax upstream's events alone, judged by the model of a strict client."""

import copy
from collections.abc import Callable
from typing import Any

import hypothesis
import orjson
import pytest
from auriko.models.chat import ChatCompletion
from hypothesis import strategies as st

from gateway.dialects.chat.repair import (
    Identity,
    has_content,
    plain_text,
    repair_completion,
    repair_event,
)
from gateway.wire import json_text
from tests.dialects.chat.conforming import block, conforming, event, reader

HELLO = {"role": "assistant", "content": "hello"}


def repaired(given: Any) -> dict[str, Any]:
    """The repaired object of an event that is the first of its completion."""
    return conforming(reader().read(block(given)).frame)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in event(HELLO).items() if name != key}


def first_choice(given: Any) -> dict[str, Any]:
    choice: dict[str, Any] = repaired(given)["choices"][0]
    return choice


def test_a_missing_created_is_the_time_of_the_request() -> None:
    assert repaired(without("created"))["created"] == 1_700_000_000


@pytest.mark.parametrize("created", [None, "1750000000", True, []])
def test_a_created_that_is_no_number_is_the_time_of_the_request(created: Any) -> None:
    assert repaired({**event(HELLO), "created": created})["created"] == 1_700_000_000


def test_a_created_with_a_fraction_becomes_a_whole_number_on_every_event() -> None:
    chat = reader()
    for _ in range(2):
        assert conforming(chat.read(block({**event(HELLO), "created": 1750000000.5})).frame)["created"] == 1750000000


@pytest.mark.parametrize("model", [None, 4, {}])
def test_a_missing_model_is_the_one_asked_for(model: Any) -> None:
    assert repaired(without("model"))["model"] == "public-model"
    assert repaired({**event(HELLO), "model": model})["model"] == "public-model"


@pytest.mark.parametrize("given", [None, "", 7])
def test_a_missing_id_is_our_own(given: Any) -> None:
    assert repaired(without("id"))["id"] == "chatcmpl-own"
    assert repaired({**event(HELLO), "id": given})["id"] == "chatcmpl-own"


def test_what_later_events_lack_is_as_the_first_event_had_it() -> None:
    chat = reader()
    first = conforming(chat.read(block(event(HELLO))).frame)
    later = conforming(chat.read(block({"choices": [{"delta": {"content": "x"}}]})).frame)
    assert [later[key] for key in ("id", "created", "model")] == [first[key] for key in ("id", "created", "model")]


def test_an_id_that_changes_under_way_stays_the_first_one() -> None:
    chat = reader()
    chat.read(block(event(HELLO)))
    assert conforming(chat.read(block({**event(HELLO), "id": "another"})).frame)["id"] == "chatcmpl-1"


@pytest.mark.parametrize("kind", [None, "", "text_completion", "chat.completion"])
def test_another_object_name_is_put_right(kind: Any) -> None:
    assert repaired({**event(HELLO), "object": kind})["object"] == "chat.completion.chunk"
    assert repaired(without("object"))["object"] == "chat.completion.chunk"


@pytest.mark.parametrize("index", [None, "0", True, 0.0])
def test_a_missing_index_is_the_place_in_the_list(index: Any) -> None:
    choices = [{"delta": HELLO, "finish_reason": None}, {"delta": HELLO, "finish_reason": None, "index": index}]
    assert [choice["index"] for choice in repaired({**event(), "choices": choices})["choices"]] == [0, 1]


@pytest.mark.parametrize("finish", [None, "", 0, {}])
def test_a_missing_or_empty_finish_reason_is_null(finish: Any) -> None:
    assert first_choice({**event(), "choices": [{"index": 0, "delta": HELLO}]})["finish_reason"] is None
    given = {**event(), "choices": [{"index": 0, "delta": HELLO, "finish_reason": finish}]}
    assert first_choice(given)["finish_reason"] is None


def test_a_finish_reason_inside_the_delta_is_moved_beside_it() -> None:
    choice = first_choice({**event(), "choices": [{"index": 0, "delta": {**HELLO, "finish_reason": "stop"}}]})
    assert choice["finish_reason"] == "stop"
    assert choice["delta"] == HELLO


def test_a_null_finish_reason_inside_the_delta_does_not_hide_the_true_one() -> None:
    given = {"index": 0, "delta": {**HELLO, "finish_reason": None}, "finish_reason": "length"}
    assert first_choice({**event(), "choices": [given]})["finish_reason"] == "length"


def test_a_finish_reason_at_the_top_is_moved_into_the_choice() -> None:
    out = repaired({**event(), "choices": [{"index": 0, "delta": HELLO}], "finish_reason": "stop"})
    assert out["choices"][0]["finish_reason"] == "stop"
    assert "finish_reason" not in out


@pytest.mark.parametrize(
    "delta", [{"content": "hello"}, {"role": None, "content": "hello"}, {"role": ""}, {"role": 3}]
)
def test_the_first_event_of_a_choice_gets_a_role(delta: dict[str, Any]) -> None:
    assert first_choice(event(delta))["delta"]["role"] == "assistant"


def test_each_choice_gets_its_own_first_role_and_later_events_get_none() -> None:
    chat = reader()
    deltas = [
        conforming(chat.read(block(event({"content": "a"}, index=index))).frame)["choices"][0]["delta"]
        for index in (0, 1, 0, 1)
    ]
    assert deltas == [{"content": "a", "role": "assistant"}] * 2 + [{"content": "a"}] * 2


@pytest.mark.parametrize("delta", [None, [], "x"])
def test_a_delta_that_is_no_object_becomes_an_empty_one(delta: Any) -> None:
    given = {**event(), "choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]}
    assert first_choice(given)["delta"] == {"role": "assistant"}


def test_a_message_in_place_of_a_delta_is_the_delta() -> None:
    choice = first_choice({**event(), "choices": [{"index": 0, "message": HELLO}]})
    assert choice["delta"] == HELLO
    assert "message" not in choice


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, {}])
def test_usage_is_taken_out_of_every_event(usage: Any) -> None:
    assert "usage" not in repaired({**event(HELLO), "usage": usage})


def test_the_routing_metadata_of_another_gateway_is_taken_out() -> None:
    assert "routing_metadata" not in repaired({**event(HELLO), "routing_metadata": {}})


@pytest.mark.parametrize("error", [None, False, "", {}])
def test_an_empty_error_key_is_taken_out_of_a_good_event(error: Any) -> None:
    assert "error" not in repaired({**event(HELLO), "error": error})


@pytest.mark.parametrize("kind", [None, "", "function"])
def test_a_tool_call_type_is_function_or_absent(kind: Any) -> None:
    call = {"index": 0, "id": "call_1", "type": kind, "function": {"name": "f", "arguments": ""}}
    out = first_choice(event({"role": "assistant", "tool_calls": [call]}))["delta"]["tool_calls"][0]
    assert out.get("type", "function") == "function"
    assert out["id"] == "call_1"


def test_nulls_of_a_tool_call_fragment_are_left_out() -> None:
    call = {"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": '{"a'}}
    out = first_choice(event({"role": "assistant", "tool_calls": [call]}))["delta"]["tool_calls"]
    assert out == [{"index": 0, "function": {"arguments": '{"a'}}]


def test_tool_calls_without_an_index_are_counted() -> None:
    calls = [{"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in "ab"]
    out = first_choice(event({"role": "assistant", "tool_calls": calls}))["delta"]["tool_calls"]
    assert [call["index"] for call in out] == [0, 1]


def test_tool_arguments_that_came_as_an_object_become_a_string() -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": "\u2028é"}}}
    out = first_choice(event({"role": "assistant", "tool_calls": [call]}))["delta"]["tool_calls"][0]
    assert out["function"]["arguments"] == '{"a":"\u2028é"}'


def test_tool_arguments_with_a_lone_surrogate_become_a_string_too() -> None:
    frame = block(event({"role": "assistant", "tool_calls": [{"index": 0, "function": {"arguments": {"a": "?"}}}]}))
    out = conforming(reader().read(frame.replace(b"?", b"\\ud800")).frame)
    assert out["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == '{"a":"\\ud800"}'


def test_tool_calls_that_are_no_list_are_left_out() -> None:
    assert "tool_calls" not in first_choice(event({**HELLO, "tool_calls": {}}))["delta"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "he"}, {"type": "text", "text": "llo"}], "hello"),
        (["he", "llo"], "hello"),
        ([], ""),
        ({"type": "text", "text": "hello"}, "hello"),
        ([[["x"]], None, {"text": None}, {"text": {}}, {}], ""),
        (42, "42"),
    ],
)
def test_content_that_is_not_a_string_becomes_one(content: Any, text: str) -> None:
    assert first_choice(event({"role": "assistant", "content": content}))["delta"]["content"] == text


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}},
        {"type": "reference", "reference_ids": [1]},
        {"type": "file", "file_id": "a"},
        {"image_url": "https://x/y"},
    ],
)
def test_content_with_other_parts_than_text_stays_as_it_came(part: dict[str, Any]) -> None:
    content = ["he", {"type": "text", "text": "llo"}, part]
    chat = reader()
    read = chat.read(block(event({"role": "assistant", "content": content})))
    assert read.content
    assert read.frame is not None
    assert orjson.loads(read.frame[6:])["choices"][0]["delta"]["content"] == content
    assert (chat.counts.events, chat.counts.text_bytes) == (1, 5)


@pytest.mark.parametrize(
    "beyond",
    [
        {**event(), "choices": ["text"]},
        {**event(), "choices": [None], "finish_reason": "stop"},
        event({"role": "assistant", "tool_calls": ["call"]}),
    ],
)
def test_what_is_beyond_repair_is_refused(beyond: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not an object"):
        repair_event(beyond, Identity("x", 1, "m"))
    assert reader().read(block(beyond)).error is not None


def test_a_conforming_event_needs_no_change() -> None:
    assert not repair_event(event(HELLO), Identity("x", 1, "m"))


@pytest.mark.parametrize("key", ["content", "reasoning_content", "reasoning", "refusal"])
def test_non_empty_text_of_any_kind_is_content(key: str) -> None:
    assert has_content({"role": "assistant", key: "x"})
    assert not has_content({"role": "assistant", key: ""})
    assert not has_content({"role": "assistant", key: None})


@pytest.mark.parametrize("key", ["tool_calls", "images", "reasoning_details"])
def test_a_non_empty_list_of_calls_or_images_is_content(key: str) -> None:
    assert has_content({key: [{}]})
    assert not has_content({key: []})


def test_a_whole_completion_is_made_acceptable() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    completion: dict[str, Any] = {
        "error": None,
        "choices": [{"message": {"content": [{"type": "text", "text": "hi"}], "tool_calls": [call]}}],
    }
    assert repair_completion(completion, Identity("x", 1, "m"))
    parsed = ChatCompletion.model_validate(completion)
    assert (parsed.id, parsed.created, parsed.model) == ("x", 1, "m")
    assert completion["choices"][0]["index"] == 0
    assert completion["choices"][0]["message"]["role"] == "assistant"
    assert completion["choices"][0]["message"]["content"] == "hi"
    assert "error" not in completion


def test_a_conforming_completion_is_left_alone() -> None:
    message = {"role": "assistant", "content": "hi"}
    completion = {
        "id": "a",
        "object": "chat.completion",
        "created": 2,
        "model": "b",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    assert not repair_completion(completion, Identity("x", 1, "m"))


@pytest.mark.parametrize("completion", [{}, {"choices": None}, {"choices": ["x"]}])
def test_a_completion_without_choices_is_refused(completion: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"choices"):
        repair_completion(completion, Identity("x", 1, "m"))


def test_json_that_orjson_cannot_write_is_written_all_the_same() -> None:
    assert json_text.dumps({"a": "\ud800", "n": 1 << 70}) == b'{"a":"\\ud800","n":%d}' % (1 << 70)


def test_json_that_nobody_could_read_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        json_text.dumps(deep)


ODD: st.SearchStrategy[object] = st.sampled_from(
    [None, "", "x", 0, 1, True, 1.5, [], {}, [{}], "bench", "chat.completion.chunk", "error"]
)
TEXTS = st.sampled_from(["", "hello", "\u2028", None])
DELTAS = st.fixed_dictionaries(
    {},
    optional={"role": st.sampled_from(["assistant", "", None, 1]), "content": TEXTS | ODD, "refusal": TEXTS}
    | {"tool_calls": ODD, "finish_reason": ODD},
)
CHOICES = st.fixed_dictionaries(
    {"delta": DELTAS | ODD},
    optional={"index": st.sampled_from([0, 1]) | ODD, "finish_reason": st.sampled_from([None, None, "stop", ""])}
    | {"logprobs": ODD, "message": ODD},
)
CHUNKS = st.fixed_dictionaries(
    {"choices": st.lists(CHOICES, min_size=1, max_size=2)},
    optional={
        "id": st.sampled_from(["chatcmpl-1", "chatcmpl-1", "", None, 1]),
        "created": st.sampled_from([1_700_000_001, 1_700_000_001, True, 1.5]),
        "model": st.sampled_from(["bench", "bench", "", None]),
        "object": st.sampled_from(["chat.completion.chunk", "chat.completion.chunk", "x"]),
    }
    | dict.fromkeys(["usage", "error", "finish_reason", "system_fingerprint"], ODD),
)


@hypothesis.given(CHUNKS, st.booleans())
def test_an_event_that_is_taken_for_plain_is_one_that_the_repair_leaves_as_it_is(given: Any, first: bool) -> None:
    identities = [Identity("own", 1_700_000_000, "own") for _ in range(2)]
    if not first:
        for identity in identities:
            repair_event({**event(HELLO), "id": "chatcmpl-1"}, identity)
    seen, kept = copy.deepcopy(given), copy.deepcopy(given)
    text = plain_text(seen, identities[0])
    assert seen == given  # the object is unchanged, even if it is no event
    if text is None:
        assert identities[0] == identities[1]
        return
    assert not repair_event(kept, identities[1])
    assert kept == given
    assert identities[0] == identities[1]
    assert has_content(given["choices"][0]["delta"]) == bool(text)


def test_what_nearly_all_events_are_is_plain() -> None:
    identity = Identity("own", 1_700_000_000, "own")
    assert plain_text(event({"role": "assistant", "content": ""}), identity) == ""
    assert plain_text(event({"content": " river"}), identity) == " river"
    assert plain_text({**event({"content": "x"}), "usage": None}, identity) is None
    assert plain_text({**event({"content": "x"}), "id": "another"}, identity) is None


@pytest.mark.parametrize("repair", [repair_event, repair_completion])
def test_a_choice_of_a_text_completion_is_refused(repair: Callable[[dict[str, Any], Identity], bool]) -> None:
    with pytest.raises(ValueError, match="it is of a text completion"):
        repair({"choices": [{"index": 0, "text": "hi", "finish_reason": None}]}, Identity("x", 1, "m"))
    choice = {"index": 0, "text": "hi", "message": {"content": "hi"}, "finish_reason": None}
    repair({"choices": [choice]}, Identity("x", 1, "m"))
