"""Answers that begin as an earlier one did, read with a memory of that answer and without: there is no difference."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.learned_shape import MAX_USELESS, AnswerMemory
from gateway.dialects.usage import Usage
from gateway.upstream.bodies import StreamBody

from .body_owner import Owner
from .read_answer import DONE, IDENTITY, Whole, answer, cut, event, role, warm, word


def test_a_second_answer_is_found_by_the_bytes_of_the_first() -> None:
    memory = warm()
    reader = CHAT.reader(IDENTITY, memory)
    first, second, *_ = answer("gen-2", 1_760_000_000)
    assert reader.read_beginning(first + second + b"data:") == ([first, second], len(first + second))
    assert (reader.counts.events, reader.counts.text_bytes) == (1, 3)
    assert reader.shape.fit(word("x", answer_id="gen-2", created=1_760_000_000)) is not None


def test_the_role_may_come_in_a_read_of_its_own() -> None:
    reader = CHAT.reader(IDENTITY, warm())
    first, second, *_ = answer("gen-2")
    assert reader.read_beginning(first) == ([first], len(first))
    assert reader.read_beginning(second) == ([second], len(second))


NESTED_ID = role().replace(b'"finish_reason"', b'"logprobs":{"id":"x"},"finish_reason"')
EVENTS = [
    NESTED_ID,
    *(role(), role(answer_id="other"), role(created=0), role(created=1.5), role(created="1"), role(answer_id="")),
    *(role(answer_id='a"b'), role(answer_id="\u00e9"), role(model="other"), role(usage=None), role(id2="x")),
    *(word("one"), word("two", answer_id="other"), word(""), word('"'), word("\\"), word("\u00e9"), word("\u2028")),
    *(word("a\nb"), word("x" * 300), word("one", created=2), word("one", created=True), word("one", model="other")),
    event({"role": "assistant", "content": "at once"}),
    event({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}),
    event({"reasoning_content": "hm"}),
    event({}, finish="stop"),
    *(
        DONE,
        b": comment\n\n",
        b"\n",
        b"data: {}\n\n",
        b"data: \xff\n\n",
        b"\xef\xbb\xbf",
        b'data: {"error": "x"}\n\n',
    ),
    *(role().replace(b"\n\n", b"\r\n\r\n"), word("x").replace(b":", b": ")),
    word("one").replace(b'"finish_reason":null', b'"finish_reason":null,"finish_reason":"stop"'),
    role().replace(b'"created":1750000000', b'"created":01750000000'),
]


OTHER_FINISHES = [
    *(event({}, finish=reason) for reason in ("stop", "length", "error", "tool_calls", "", 7)),
    *(
        event({}, finish="stop", **more)
        for more in ({"answer_id": "x"}, {"created": 2}, {"created": True}, {"model": 1})
    ),
    *(event(delta, finish="stop") for delta in ({"content": "."}, {"content": ""}, {"role": "assistant"}, {"x": 1})),
    *(event({}, finish="stop", **more) for more in ({"usage": {"prompt_tokens": 3}}, {"usage": None}, {"note": "n"})),
    event({}, finish="stop").replace(b'"index":0', b'"index":1'),
    event({}, finish="stop").replace(b'"choices":[', b'"choices":[{"index":1,"delta":{},"finish_reason":"stop"},'),
    event({}, usage={"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}),
    *(word("late"), DONE),
]
ENDS = st.lists(st.sampled_from(OTHER_FINISHES), min_size=1, max_size=5)


@given(st.sampled_from(OTHER_FINISHES), ENDS, st.sampled_from(["chatcmpl-1", "chatcmpl-2"]))
@example(event({}, finish="stop"), [event({}, finish="stop"), DONE], "chatcmpl-2")
def test_any_end_of_an_answer_means_the_same_with_a_memory_of_any_other(
    learned: bytes, ends: list[bytes], answer_id: str
) -> None:
    memory = warm([*answer()[:3], learned, DONE])
    own = {"answer_id": answer_id, "created": 1_760_000_000}
    events = [role(**own), word("one", **own), *(end.replace(b"chatcmpl-1", answer_id.encode()) for end in ends)]
    assert Whole(events, memory).seen == Whole(events, None).seen
    for reads in ([b"".join(events)], [*events[:2], b"".join(events[2:])]):
        assert Whole(reads, memory).seen == Whole(reads, None).seen


USAGES: list[dict[str, Any]] = [
    {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12},
    {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 20},
    {"prompt_tokens": 9_999_999, "completion_tokens": 99_999_999, "total_tokens": 109_999_998},
    {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
    {
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "completion_tokens_details": {"reasoning_tokens": 5},
    },
    {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 4}},
    {"completion_tokens": 3, "prompt_tokens": 9, "total_tokens": 12},
    {"input_tokens": 9, "output_tokens": 3},
]


def rest_of(usage: dict[str, Any] | None, finish: str = "stop", answer_id: str = "chatcmpl-1") -> bytes:
    told = event({}, answer_id=answer_id, usage=usage)
    told = told.replace(b'[{"index":0,"delta":{},"finish_reason":null}]', b"[]") if usage is not None else b""
    return event({}, answer_id=answer_id, finish=finish) + told + DONE


@pytest.mark.parametrize("learned", [None, *USAGES])
@pytest.mark.parametrize("usage", [None, *USAGES])
@pytest.mark.parametrize("singly", [False, True])
def test_a_rest_in_one_read_means_the_same_with_a_memory_of_any_other(
    learned: dict[str, Any] | None, usage: dict[str, Any] | None, singly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Owner, "singly", singly)
    memory = warm([*answer()[:3], rest_of(learned)])
    for finish, answer_id in (("stop", "chatcmpl-1"), ("length", "chatcmpl-1"), ("stop", "other")):
        reads = [*answer()[:3], rest_of(usage, finish, answer_id)]
        assert Whole(reads, memory).seen == Whole(reads, None).seen


@pytest.mark.parametrize("usage", [None, USAGES[0], USAGES[4]])
def test_the_rest_of_an_answer_is_found_by_the_bytes_of_an_earlier_rest(usage: dict[str, Any] | None) -> None:
    memory = warm([*answer()[:3], rest_of(usage)])
    reader = CHAT.reader(IDENTITY, memory)
    first, second, *_ = answer("gen-2")
    reader.read_beginning(first + second)
    more = usage and {**usage, "prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    assert reader.read_rest(rest_of(more, answer_id="gen-2")) == event({}, answer_id="gen-2", finish="stop")
    assert reader.finished
    if more is not None:
        assert reader.usage(7) == Usage(100, 50, estimated=False, reported=more)


@given(st.integers(0, len(rest_of(USAGES[0])) - 1), st.integers(0, 255))
def test_a_wrong_byte_in_the_rest_means_the_same_with_a_memory(place: int, byte: int) -> None:
    rest = bytearray(rest_of(USAGES[0]))
    rest[place] = byte
    reads = [*answer()[:3], bytes(rest)]
    assert Whole(reads, warm([*answer()[:3], rest_of(USAGES[0])])).seen == Whole(reads, None).seen


def test_an_end_that_leaves_a_doubt_is_not_learned_from_again_and_again() -> None:
    memory = AnswerMemory()
    for _ in range(2 * MAX_USELESS):
        Whole([*answer()[:4], b": comment\n\n", DONE], memory)
    assert memory.rest is None
    assert not memory.wants_rest


@given(st.integers(0, len(answer()[3]) - 1), st.integers(0, 255))
def test_a_wrong_byte_in_the_finish_means_the_same_with_a_memory(place: int, byte: int) -> None:
    *first, finish, done = answer()
    data = bytearray(finish)
    data[place] = byte
    assert Whole([*first, bytes(data), done], warm()).seen == Whole([*first, bytes(data), done], None).seen


def test_a_finish_is_found_by_the_bytes_of_an_earlier_one_and_no_more_learned_where_each_is_another() -> None:
    memory = warm()
    known = memory.finish
    Whole(answer("gen-2", 1_760_000_000), memory)
    assert known is not None
    assert memory.finish is known
    assert known.answer_id(event({}, answer_id="gen-3", finish="stop")) == "gen-3"
    assert known.answer_id(event({}, answer_id="gen-3", finish="length")) is None
    for number in range(2 * MAX_USELESS):
        Whole([*answer()[:3], event({}, finish=f"reason-{number}"), DONE], memory)
    assert memory.finish.reason == f"reason-{MAX_USELESS - 1}"
    assert not memory.wants_finish


@given(st.lists(st.sampled_from(EVENTS), min_size=1, max_size=6), st.lists(st.integers(0, 2000), max_size=6))
@example(answer(), [])
def test_any_answer_means_the_same_with_a_memory(events: list[bytes], cuts: list[int]) -> None:
    reads = cut(b"".join(events), cuts)
    assert Whole(reads, warm()).seen == Whole(reads, None).seen


@given(st.integers(0, len(role() + word("one")) - 1), st.integers(0, 255))
def test_a_byte_that_is_wrong_means_the_same_with_a_memory(place: int, byte: int) -> None:
    data = bytearray(b"".join(answer()))
    data[place] = byte
    assert Whole([bytes(data)], warm()).seen == Whole([bytes(data)], None).seen


@given(st.lists(st.sampled_from(EVENTS), min_size=1, max_size=5))
def test_whatever_an_answer_teaches_the_next_answers_mean_the_same(events: list[bytes]) -> None:
    memory = AnswerMemory()
    for events_of_next in ([*events, word("a"), word("b"), DONE], answer(), [*events, DONE], answer("gen-3")):
        reads = [b"".join(events_of_next)]
        assert Whole(reads, memory).seen == Whole(reads, None).seen


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param([role(system_fingerprint="chatcmpl-1", id2=1)], id="a member that is not plain"),
        pytest.param([role(answer_id="a b"), word("one", answer_id="a b")], id="an id with a blank"),
        pytest.param([NESTED_ID, word("one")], id="two ids"),
        pytest.param([role(service_tier="\u00e9"), word("one"), word("two")], id="beyond ASCII"),
    ],
)
def test_nothing_is_learned_from_an_answer_that_leaves_a_doubt(odd: list[bytes]) -> None:
    memory = AnswerMemory()
    for _ in range(2):
        Whole([*odd, word("a"), word("b")], memory)
    assert memory.beginning is None


def test_a_beginning_that_does_not_come_again_is_forgotten_and_another_is_learned() -> None:
    memory = warm()
    other = [piece.replace(b'"gpt"', b'"gpt-5"') for piece in answer()]
    for _ in range(MAX_USELESS):
        assert memory.beginning.model == "gpt"
        Whole(other, memory)
    Whole(other, memory)
    assert memory.beginning.model == "gpt-5"


def test_beginnings_that_never_come_again_are_not_learned_for_ever() -> None:
    memory = AnswerMemory()
    for _ in range(MAX_USELESS * (MAX_USELESS + 1)):
        Whole([b": comment\n\n" + b"".join(answer())], memory)
    assert memory.beginning is None
    assert not memory.wants_beginning


def test_an_event_over_the_limit_is_refused_with_a_memory_too() -> None:
    long = word("x" * 5000)
    owner = Owner()
    owner.body = body = StreamBody(owner, CHAT.reader(IDENTITY, warm()), max_event_bytes=4096)
    body.feed(role() + long)
    assert owner.calls == ["broken"]
