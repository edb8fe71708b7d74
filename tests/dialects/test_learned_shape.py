"""A learned shape only ever saves work: with it and without it, every event means the same."""

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.dialects.chat.reader import ChatReader
from gateway.dialects.choices.frames import DONE
from gateway.dialects.learned_shape import Counts, LearnedShape, Sample, is_safe_text, learn
from gateway.wire import sse
from gateway.wire.http1 import CHUNK_LINES, encode_chunk
from tests.dialects.chat.conforming import RAW_LINE_ENDS, block, event, reader

SURROGATES = st.integers(0xD800, 0xDFFF).map(chr)
TEXTS = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.text('"\\/\b\f\n\r\t\x00\x1f\x7f{}[]:,u', max_size=6),
        st.sampled_from(["\x85", "\u2028", "\u2029", "\ufeff", "\U0001f600", "\\", '"', '","content":"', "\\u2028"]),
        SURROGATES,
    ),
    max_size=4,
).map("".join)
PATH = ("choices", 0, "delta", "content")


def written(value: Any, *, ascii_only: bool, spaced: bool) -> bytes:
    """JSON as one provider or another writes it; lone surrogates only as escapes."""
    separators = (", ", ": ") if spaced else (",", ":")
    text = json.dumps(value, ensure_ascii=ascii_only, separators=separators)
    safe = "".join(f"\\u{ord(mark):04x}" if "\ud800" <= mark <= "\udfff" else mark for mark in text)
    return b"data: " + safe.encode() + b"\n\n"


STYLES = st.fixed_dictionaries({"ascii_only": st.booleans(), "spaced": st.booleans()})


def relayed(chat: ChatReader, given: bytes) -> bytes | None:
    frame = chat.shape.fit(given)
    return chat.read(given).frame if frame is None else frame


def content_of(frame: bytes | None) -> str:
    assert frame is not None
    assert sse.is_frame(frame)
    assert not any(raw in frame for raw in RAW_LINE_ENDS)
    text: str = json.loads(frame[6:].decode())["choices"][0]["delta"]["content"]
    return text


def same_meaning(ours: bytes | None, theirs: bytes | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return bool(json.loads(ours[6:].decode()) == json.loads(theirs[6:].decode()))


@given(
    st.lists(TEXTS.filter(bool), min_size=1, max_size=8),
    STYLES,
    st.sampled_from([{}, {"usage": None}, {"x": "\u2028"}]),
)
def test_any_text_is_relayed_with_its_meaning_on_one_line(
    texts: list[str], style: dict[str, bool], more: dict[str, Any]
) -> None:
    by_shape, without = reader(), reader()
    for text in ["warm", "up", *texts]:
        given = written(event({"content": text}, **more), **style)
        frame = relayed(by_shape, given)
        assert content_of(frame) == json.loads(json.dumps(text))
        assert same_meaning(frame, without.read(given).frame)
    assert by_shape.counts.events == without.counts.events == len(texts) + 2


CALL = {"tool_calls": [{"index": 0, "function": {"arguments": "?"}}]}
SHAPES = st.sampled_from(
    [
        {"content": "?"},
        {"content": "?"},
        {"role": "assistant", "content": "?"},
        {"reasoning_content": "?"},
        {"reasoning_content": "?", "content": "?"},
        {"content": "", "reasoning": "?"},
        {"refusal": "?"},
        CALL,
        {"content": "?", **CALL},
        {"tool_calls": [CALL["tool_calls"][0], {"index": 1, "function": {"arguments": "?"}}]},
        {"tool_calls": [{"index": 0, "id": "c", "type": None, "function": {"name": "f", "arguments": "?"}}]},
        {"content": [{"type": "text", "text": "?"}]},
        {"content": None, "finish_reason": None},
    ]
)


def filled(shape: Any, text: str) -> Any:
    if isinstance(shape, dict):
        return {key: filled(value, text) for key, value in shape.items()}
    if isinstance(shape, list):
        return [filled(value, text) for value in shape]
    return text if shape == "?" else shape


STEPS = st.tuples(SHAPES, TEXTS, st.integers(0, 1), st.sampled_from([None, None, None, None, "stop"]))


@given(st.lists(STEPS, min_size=2, max_size=30), STYLES, st.booleans())
def test_shapes_and_choices_in_any_order_keep_their_meaning(
    steps: list[tuple[Any, str, int, str | None]], style: dict[str, bool], lax: bool
) -> None:
    by_shape, without = reader(), reader()
    for shape, text, index, finish in steps:
        value = event(filled(shape, text), finish=finish, index=index)
        if lax:
            del value["created"]
        given = written(value, **style)
        assert same_meaning(relayed(by_shape, given), without.read(given).frame)
        assert by_shape.counts.events == without.counts.events
        assert by_shape.finished == without.finished


@given(st.lists(st.tuples(st.booleans(), TEXTS.filter(bool)), min_size=4, max_size=30), STYLES)
def test_tool_arguments_that_alternate_with_text_keep_their_meaning(
    steps: list[tuple[bool, str]], style: dict[str, bool]
) -> None:
    by_shape, without = reader(), reader()
    for call, text in steps:
        given = written(event(filled(CALL if call else {"content": "?"}, text)), **style)
        assert same_meaning(relayed(by_shape, given), without.read(given).frame)


@given(st.binary(max_size=12))
def test_bytes_that_fit_are_bytes_that_a_parser_takes(text: bytes) -> None:
    if is_safe_text(text):
        json.loads(b'"' + text.decode().encode() + b'"')
        assert b"\n" not in text
        assert b"\r" not in text


@given(TEXTS)
def test_every_escaped_text_is_safe_unless_it_holds_raw_line_ends(text: str) -> None:
    escaped = json.dumps(text)[1:-1].encode()
    assert is_safe_text(escaped)
    try:
        raw = orjson.dumps(text)[1:-1]
    except TypeError:
        return
    assert is_safe_text(raw) == (not any(end in raw for end in RAW_LINE_ENDS))


@pytest.mark.parametrize(
    "text",
    [
        b'"',
        b"\\",
        b"\\x",
        b"\\u12",
        b"\\u12g4",
        b"\x00",
        b"\x1f",
        b"\n",
        b"\xff",
        b"\xed\xa0\x80",
        b'a","b":"c',
        b"\\\\\\",
    ],
)
def test_text_that_would_end_or_break_the_string_is_not_safe(text: bytes) -> None:
    assert not is_safe_text(text)


@pytest.mark.parametrize("text", [b'\\"', b"\\\\", b"\\u00e9", b"\\ud800", b"\xc3\xa9", b"\x7f", b"\xf0\x9f\x98\x80"])
def test_text_that_stays_inside_the_string_is_safe(text: bytes) -> None:
    assert is_safe_text(text)


def sample(given: bytes) -> Sample:
    return Sample(given, given, PATH, 0)


def learned(value: dict[str, Any], counts: Counts | None = None) -> LearnedShape:
    shape = LearnedShape(counts or Counts())
    shape.learn_from(lambda: sample(block(value)))
    return shape


def test_an_event_of_another_shape_does_not_fit() -> None:
    shape = learned(event({"content": "a"}))
    for other in (
        event({"content": ""}),
        event({"content": None}),
        event({"content": "a"}, index=1),
        event({"content": "a"}, finish="stop"),
        event({"content": "a", "role": "assistant"}),
        {**event({"content": "a"}), "id": "other"},
    ):
        assert shape.fit(block(other)) is None
    assert shape.fit(b"") is None
    assert shape.fit(DONE) is None


def test_a_block_shorter_than_its_own_frame_does_not_fit() -> None:
    given = block(event({"content": "a"}))
    shape = learned(event({"content": "a"}))
    for end in range(len(given)):
        assert shape.fit(given[:end]) is None
        assert shape.fit(given[end + 1 :]) is None
    around, _ = learn(sample(given)) or ((b"", b""), None)
    assert around[0].endswith(b'"')
    assert around[1].startswith(b'"')
    assert shape.fit(around[0] + around[1][1:]) is None  # one quote stands for the first and the last


def test_events_that_fit_and_the_bytes_of_their_text_are_counted() -> None:
    shape = learned(event({"content": "a"}), counts := Counts())
    for text in ("four", "", "three", "\n"):
        shape.fit(block(event({"content": text})))
    assert (counts.events, counts.text_bytes) == (3, 11)


def test_an_event_that_teaches_nothing_leaves_the_shape_as_it_was() -> None:
    shape = learned(event({"content": "a"}), Counts())
    given = block(event({"content": "b"}))
    assert shape.fit(given) is given
    shape.learn_from(lambda: None)
    assert shape.fit(given) is given


@given(TEXTS)
def test_a_text_that_looks_like_the_key_is_not_taken_for_it(text: str) -> None:
    value = event({"content": text + '"content":"'})
    given = written(value, ascii_only=True, spaced=False)
    assume(learn(sample(given)) is not None)
    shape = LearnedShape(Counts())
    shape.learn_from(lambda: sample(given))
    assert shape.fit(given) is given


@pytest.mark.parametrize(
    "value",
    [
        {**event({"content": "a"}), "content": "b"},
        {"content": "b", **event({"content": "a"})},
        event({"content": "a", "extra": {"content": "a"}}),
        event({"text": "a"}),
    ],
)
def test_a_key_that_stands_twice_or_not_at_all_is_not_learned(value: dict[str, Any]) -> None:
    assert learn(sample(block(value))) is None


def test_a_doubled_key_is_not_learned_from_its_first_place() -> None:
    given = block(event({"content": "a"})).replace(b'"content":"a"', b'"content":"a","content": "b"')
    assert learn(sample(given)) is None


def test_an_upstream_whose_events_have_no_common_shape_is_no_longer_learned_from() -> None:
    chat = reader()
    for count in range(40):
        given = block({**event({"content": "a"}), "obfuscation": str(count)})
        assert chat.shape.fit(given) is None
        chat.read(given)
    assert chat.shape.fit(block({**event({"content": "b"}), "obfuscation": "39"})) is None


def test_repairs_are_applied_to_events_that_fit() -> None:
    chat = reader()
    lax = {"choices": [{"delta": {"content": "a"}}]}
    first, second, third = (chat.read(block(lax)).frame for _ in range(3))
    assert first != second == third
    assert chat.shape.fit(block(lax)) == second


@given(st.lists(TEXTS.filter(bool), min_size=1, max_size=6), STYLES, st.binary(max_size=3))
def test_a_transfer_chunk_is_taken_exactly_when_its_block_would_go_out_as_it_came(
    texts: list[str], style: dict[str, bool], junk: bytes
) -> None:
    by_block, by_chunk = reader(), reader()
    sent: list[bytes] = []
    by_chunk.shape.send_to(lambda frame, _: sent.append(frame))
    by_chunk.shape.on_boundary(is_open=True)
    for text in ["warm", "up", *texts]:
        given = written(event({"content": text}), **style)
        expected = by_block.shape.fit(given)
        framed = encode_chunk(given)
        taken = by_chunk.shape.take(framed)
        assert sent == ([given] if taken else [])
        assert taken is (expected == given)
        sent.clear()
        for other in (junk + framed, framed + junk, framed[:-1], framed[1:], b"0" + framed, framed * 2):
            assert other == framed or not by_chunk.shape.take(other)
        if expected is None:
            by_block.read(given)
        if not taken:
            relayed(by_chunk, given)
    assert by_chunk.counts.events == by_block.counts.events
    assert by_chunk.counts.text_bytes == by_block.counts.text_bytes


def test_a_shape_takes_nothing_while_a_block_is_under_way_or_after_it_was_closed() -> None:
    given = block(event({"content": "a"}))
    shape, sent = learned(event({"content": "a"})), []
    shape.send_to(lambda frame, _: sent.append(frame))
    assert not shape.take(encode_chunk(given))
    shape.on_boundary(is_open=True)
    assert shape.take(encode_chunk(given))
    shape.close()
    shape.take(encode_chunk(given))
    assert sent == [given]


@pytest.mark.parametrize("size", [1, 15, 16, 255, 256, 2047])
def test_every_size_line_is_found_by_the_size_of_its_chunk(size: int) -> None:
    framed = encode_chunk(b"x" * size)
    assert framed.startswith(CHUNK_LINES[len(framed)])
    assert CHUNK_LINES[len(framed)] == b"%x\r\n" % size


def bytecodes_of(step: Callable[[bytes], object], data: bytes) -> int:
    """How many bytecodes a call runs, including the functions that it calls."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        step(data)
    finally:
        sys.settrace(before)
    return count


def test_an_event_that_fits_costs_a_fraction_of_its_full_reading() -> None:
    chat = reader()
    chat.shape.on_boundary(is_open=True)
    for text in ("warm", "up"):
        relayed(chat, block(event({"content": text})))
    given = block(event({"content": "token"}))
    chat.shape.take(encode_chunk(given))  # learns which chunks have this size
    short = [bytecodes_of(chat.shape.fit, given), bytecodes_of(chat.shape.take, encode_chunk(given))]
    assert chat.counts.events == 5
    assert max(short) < bytecodes_of(chat.read, given) / 4
