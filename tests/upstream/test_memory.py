"""Any answers, read with a memory of any earlier ones and without: frames, counts, usage and ends are the same."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.learned_shape import AnswerMemory

from .read_answer import DONE, Way, Whole, answer, cut, event, role, word

USAGES: list[Any] = [
    None,
    {},
    "",
    7,
    {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6},
    {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    {"prompt_tokens": 9, "completion_tokens": -3, "total_tokens": 6},
    {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12.0},
    {"prompt_tokens": 9, "completion_tokens": True, "total_tokens": 10},
    {"prompt_tokens": 1 << 40, "completion_tokens": 3, "total_tokens": (1 << 40) + 3},
    {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 20},
    {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "cost": 0.5},
    {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "prompt_tokens_details": None},
    {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 9}},
    {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
]
CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
DELTAS: list[dict[str, Any]] = [
    {},
    {"role": "assistant"},
    {"role": "assistant", "content": ""},
    {"role": "assistant", "content": None},
    {"role": "assistant", "content": "", "reasoning_content": None},
    {"role": "assistant", "content": "at once"},
    *(
        {"content": text}
        for text in ("a", "b c", "", '"', "\\", "\n", "\u00e9", "\u2028", "\x00", "\x7f", "data: [DONE]")
    ),
    {"reasoning_content": "r"},
    {"reasoning": "r"},
    {"content": "", "reasoning": "r"},
    {"content": "a", "reasoning": "r"},
    {"refusal": "no"},
    {"function_call": {"name": "f", "arguments": "{}"}},
    {"tool_calls": [CALL]},
    {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
    {"content": None, "tool_calls": [{"index": 1, "function": {"name": "g", "arguments": "1"}}]},
]
MORE: list[dict[str, Any]] = [
    *({} for _ in range(6)),
    {"system_fingerprint": "fp_1"},
    {"service_tier": "default"},
    {"service_tier": "flex"},
    {"usage": None},
    {"provider": "p"},
    {"obfuscation": "xy"},
    {"eval_count": 3, "prompt_eval_count": 7},
    {"timings": {"predicted_n": 5, "prompt_n": 4, "cache_n": 1}},
    {"x_groq": {"id": "r", "usage": USAGES[4]}},
    {"error": None},
    {"error": "e"},
    {"model": ""},
    {"model": "other"},
    {"created": 2},
    {"created": 1.5},
    {"object": "x"},
]
CHOICE_MORE: list[dict[str, Any]] = [
    *({} for _ in range(6)),
    {"logprobs": None},
    {"logprobs": {"content": [{"token": "a"}]}},
    {"usage": USAGES[4]},
    {"error": {"message": "m"}},
    {"message": {"role": "assistant", "content": "whole", "reasoning_content": "all"}},
]
FINISHES = [*(None for _ in range(8)), "stop", "length", "error", "content_filter", "tool_calls", ""]
ODD = [
    *(DONE, b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", b": comment\n\n", b"\n", b"data: {}\n\n", b"data: null\n\n"),
    *(
        b"data: []\n\n",
        b'data: "x"\n\n',
        b"data: \xff\n\n",
        b"\xef\xbb\xbf",
        b'data: {"error": {"message": "x"}}\n\n',
    ),
    *(
        b"event: error\n",
        b"event: message\n",
        b"id: 7\n",
        b"\r",
        b'{"error": "bare"}\n\n',
        b'data: [{"id":"x","created":1,"a":2}]\n\n',
    ),
]


@st.composite
def chunk(draw: st.DrawFn, ids: list[str]) -> bytes:
    """An event with one choice, with members that it may have or not."""
    more = draw(st.sampled_from(MORE))
    data = event(
        draw(st.sampled_from(DELTAS)),
        **{"answer_id": draw(st.sampled_from(ids)), "created": 5, "finish": draw(st.sampled_from(FINISHES)), **more},
    )
    index, choice_more = draw(st.sampled_from([0, 0, 0, 0, 1])), draw(st.sampled_from(CHOICE_MORE))
    added = orjson.dumps(choice_more)[1:-1]
    return data.replace(b'"index":0,"delta"', b'"index":%d,%b"delta"' % (index, added + b"," if added else b""))


@st.composite
def told_usage(draw: st.DrawFn, ids: list[str]) -> bytes:
    """An event without choices that tells the usage."""
    payload = {"id": draw(st.sampled_from(ids)), "object": "chat.completion.chunk", "created": 5, "model": "gpt"}
    for key, values in (("choices", ([], [], None)), ("usage", USAGES), ("note", ("n",)), ("service_tier", ("x",))):
        if (key in ("choices", "usage") and draw(st.integers(0, 9))) or draw(st.integers(0, 9)) == 0:
            payload[key] = draw(st.sampled_from(values))
    return b"data: " + orjson.dumps(payload) + b"\n\n"


@st.composite
def likely(draw: st.DrawFn) -> list[bytes]:
    """The events of an answer as upstreams send it, with one or two odd ones among them."""
    ids = [draw(st.sampled_from(["chatcmpl-1", "gen-2"]))] * 5 + ["x", 'a"b', ""]
    own: dict[str, Any] = {"answer_id": ids[0], "created": draw(st.sampled_from([5, 6]))}
    extra = draw(st.sampled_from([*MORE[:8], MORE[12], MORE[13]]))
    text = draw(st.sampled_from(["content", "content", "content", "reasoning_content", "refusal"]))
    texts = draw(st.lists(st.sampled_from(["one", " two", "\u00e9", '"', "\u2028", "@1", "@2"]), max_size=4))
    events = [role(**{**own, **draw(st.sampled_from([{}, extra]))})]
    for each in texts:
        told = event({text: each}, **{**own, **extra})
        events.append(told.replace(b"@1", rb"\ud83d\ude00").replace(b"@2", rb"\ud83d"))
    events.append(event({}, finish=draw(st.sampled_from(["stop", "stop", "length"])), **own))
    events += draw(st.lists(told_usage(ids), max_size=1))
    events.append(DONE)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        place = draw(st.integers(0, len(events)))
        kind = draw(st.sampled_from(["put", "drop", "twice", "byte", "ends"]))
        if kind == "put":
            events.insert(place, draw(chunk(ids) | told_usage(ids) | st.sampled_from(ODD)))
        elif place < len(events) and kind == "byte":
            data = bytearray(events[place])
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
            events[place] = bytes(data)
        elif place < len(events) and kind == "ends":
            events[place] = events[place].replace(b"\n", draw(st.sampled_from([b"\r\n", b"\r"])))
        elif place < len(events):
            events[place : place + 1] = [events[place]] * 2 if kind == "twice" else []
    return events


@st.composite
def wild(draw: st.DrawFn) -> list[bytes]:
    """Any events in any order."""
    ids = ["chatcmpl-1", "chatcmpl-1", "chatcmpl-1", "x"]
    return draw(st.lists(chunk(ids) | chunk(ids) | told_usage(ids) | st.sampled_from(ODD), min_size=1, max_size=7))


ANSWERS = likely() | likely() | wild()
WAYS = st.builds(Way, *(st.booleans() for _ in Way._fields))


@st.composite
def reads(draw: st.DrawFn, events: list[bytes]) -> list[bytes]:
    """These events as reads: each alone, or all behind a place or from the finish on in one, or cut anywhere."""
    how = draw(st.sampled_from(["alone", "rest", "rest", "end", "all", "cut"]))
    if how in ("rest", "end"):
        finishes = [place for place, data in enumerate(events) if b'"finish_reason":"' in data]
        at = finishes[0] if finishes and how == "rest" else draw(st.integers(0, len(events)))
        return [*events[:at], *filter(None, [b"".join(events[at:])])]
    if how == "alone" or not (data := b"".join(events)):
        return events
    return [data] if how == "all" else cut(data, draw(st.lists(st.integers(0, 3000), max_size=6)))


@given(st.data(), st.lists(ANSWERS, min_size=1, max_size=3), WAYS)
def test_any_answers_mean_the_same_with_a_memory_of_earlier_ones(data: st.DataObject, answers: Any, way: Way) -> None:
    memory = AnswerMemory()
    for events in (*answers, answers[0]):
        pieces = data.draw(reads(events))
        assert Whole(pieces, memory, way).seen == Whole(pieces, None, way).seen


REASONED = {"role": "assistant", "content": "hello", "reasoning_content": "hm"}
WHOLE_MESSAGE = event({}, finish="stop").replace(b'"delta":{}', b'"message":' + orjson.dumps(REASONED))
TIMED = word("a", timings={"predicted_n": 50, "prompt_n": 5, "cache_n": 0})
OTHER_ROLE = role().replace(b'"index":0', b'"index":1')
NO_CHOICES = b'data: {"id":"x","created":1,"usage":%b}\n\n' % orjson.dumps(USAGES[4])


@pytest.mark.parametrize(
    ("learned", "events"),
    [
        pytest.param([*answer()[:4], NO_CHOICES, DONE], answer(), id="usage without choices behind the finish"),
        pytest.param(
            [role(), *(event({"reasoning_content": text}) for text in ("a", "b"))],
            [role(), event({"reasoning_content": "hm"}), WHOLE_MESSAGE, DONE],
            id="reasoning, and then the whole message",
        ),
        pytest.param([role(), TIMED, TIMED], [role(), TIMED, TIMED, answer()[3], DONE], id="counts beside the text"),
        pytest.param(
            [role(), OTHER_ROLE, word("a"), word("b")],
            [OTHER_ROLE, word("a"), word("b"), answer()[3], DONE],
            id="the role of one choice, and the text of another",
        ),
    ],
)
def test_what_an_answer_teaches_changes_no_other_answer(learned: list[bytes], events: list[bytes]) -> None:
    memory = AnswerMemory()
    assert Whole(learned, memory).seen == Whole(learned, None).seen
    assert Whole(events, memory).seen == Whole(events, None).seen


def test_a_beginning_with_reasoning_is_learned_too() -> None:
    memory = AnswerMemory()
    Whole([role(), *(event({"reasoning_content": text}) for text in ("a", "b")), DONE], memory)
    assert memory.beginning.spoken == (0, "reasoning")
