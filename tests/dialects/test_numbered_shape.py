"""A numbered shape only ever saves work: with it and without it, every event means the same, and none is lost."""

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.chat.reader import ChatReader
from gateway.dialects.chat.repair import Identity
from gateway.dialects.learned_shape import Counts, Sample
from gateway.dialects.numbered_shape import NumberedShape, learn_numbered
from gateway.dialects.responses.reader import ResponsesReader
from gateway.wire.http1 import encode_chunk
from tests.dialects.chat import conforming as chat

from .responses.events import IDENTITY, created, payload

TEXTS = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.text('"\\/\b\f\n\r\t\x00\x1f\x7f{}[]:,u', max_size=6),
        st.sampled_from(["\x85", "\u2028", "\U0001f600", '"', '","delta":"', '"sequence_number":9', "\\u2028"]),
    ),
    max_size=4,
).map("".join)
PADDINGS = st.one_of(st.just(""), st.text("abcXYZ019+/=", max_size=16), st.just("a\u00e9"), st.just('a"b'))
KIND = "response.output_text.delta"
# The orders in which servers write the members of an event: OpenAI; vLLM and others that sort them; llama.cpp.
ORDERS = {
    "OpenAI": ("type", "sequence_number", "item_id", "output_index", "delta", "logprobs", "obfuscation"),
    "without padding": ("type", "sequence_number", "item_id", "output_index", "content_index", "delta", "logprobs"),
    "sorted": ("content_index", "delta", "item_id", "logprobs", "output_index", "sequence_number", "type"),
    "sorted, with padding": ("delta", "item_id", "logprobs", "obfuscation", "sequence_number", "type"),
    "number last": ("type", "delta", "sequence_number"),
    "without numbers": ("type", "item_id", "delta"),
    "padding before": ("type", "obfuscation", "delta", "sequence_number"),
    "number between": ("type", "delta", "sequence_number", "obfuscation"),
}
SAME = (
    "OpenAI",
    "without padding",
    "sorted",
    "sorted, with padding",
    "number last",
)  # those that are taken as chunks
NAMED = st.booleans()


def written(
    order: str, number: int, text: str, padding: str = "", *, named: bool = True, spaced: bool = False
) -> bytes:
    """The event of a text delta, as a server of this order writes it."""
    values: dict[str, Any] = {"type": KIND, "sequence_number": number, "item_id": "msg_1", "output_index": 0}
    values |= {"content_index": 0, "delta": text, "logprobs": [], "obfuscation": padding}
    value = {name: values[name] for name in ORDERS[order]}
    data = json.dumps(value, ensure_ascii=False, separators=(", ", ": ") if spaced else (",", ":"))
    return (f"event: {KIND}\n" if named else "").encode() + b"data: " + data.encode() + b"\n\n"


def reader() -> ResponsesReader:
    found = ResponsesReader(IDENTITY)
    found.read(created(0))
    return found


def relayed(responses: ResponsesReader, block: bytes) -> bytes | None:
    frame = responses.shape.fit(block)
    return responses.read(block).frame if frame is None else frame


@given(
    st.lists(st.tuples(TEXTS.filter(bool), PADDINGS, st.integers(0, 9)), min_size=1, max_size=12),
    st.sampled_from(sorted(ORDERS)),
    NAMED,
    NAMED,
)
def test_any_text_is_relayed_with_its_meaning_and_any_number_with_its_value(
    events: list[tuple[str, str, int]], order: str, named: bool, spaced: bool
) -> None:
    by_shape, without = reader(), reader()
    number = 0
    for text, padding, skipped in [("warm", "a", 0), ("up", "bc", 0), *events]:
        number += 1 + (skipped if skipped > 7 else 0)
        given = written(order, number, text, padding, named=named, spaced=spaced)
        frame, expected = relayed(by_shape, given), without.read(given).frame
        assert payload(frame) == payload(expected)
        assert payload(frame)["delta"] == text
        assert by_shape.shape.next_number == without.shape.next_number
    assert by_shape.counts.events == without.counts.events == len(events) + 2
    assert by_shape.counts.text_bytes >= without.counts.text_bytes


@given(
    st.lists(st.tuples(TEXTS.filter(bool), PADDINGS), min_size=1, max_size=14), st.sampled_from(SAME), st.booleans()
)
def test_a_transfer_chunk_is_taken_exactly_when_its_block_would_go_out_as_it_came(
    events: list[tuple[str, str]], order: str, spaced: bool
) -> None:
    by_block, by_chunk = reader(), reader()
    sent: list[bytes] = []
    by_chunk.shape.send_to(lambda frame, _: sent.append(frame))
    by_chunk.shape.on_boundary(is_open=True)
    for number, (text, padding) in enumerate([("warm", "a"), ("up", "b"), *events], 1):
        given = written(order, number, text, padding, spaced=spaced)
        expected, framed = by_block.shape.fit(given), encode_chunk(given)
        for other in (b"0" + framed, framed + b"\n", framed[:-1], framed[1:], framed * 2):
            assert not by_chunk.shape.take(other)
        taken = by_chunk.shape.take(framed)
        assert sent == ([given] if taken else [])
        assert expected == given or not taken
        sent.clear()
        if expected is None:
            by_block.read(given)
        if not taken:
            relayed(by_chunk, given)
    assert by_chunk.counts.events == by_block.counts.events
    assert by_chunk.counts.text_bytes == by_block.counts.text_bytes


def learned(order: str) -> ResponsesReader:
    """A reader that has read the events 0 to 2, and knows the shape."""
    found = reader()
    found.shape.on_boundary(is_open=True)
    for number, text in enumerate(("warm", "up"), 1):
        found.read(written(order, number, text, "xyz"))
    return found


@pytest.mark.parametrize("order", SAME)
def test_only_the_event_with_the_next_number_fits(order: str) -> None:
    found = learned(order)
    for number in (0, 1, 2, 4, 33):
        assert found.shape.fit(written(order, number, "a", "p")) is None
        assert not found.shape.take(encode_chunk(written(order, number, "a", "p")))
    given = written(order, 3, "a", "p")
    assert found.shape.take(encode_chunk(given))
    assert found.shape.fit(given) is None, "it has come before"
    assert found.shape.fit(written(order, 4, "a", "p")) is not None
    assert found.shape.take(encode_chunk(written(order, 5, "a", "p")))


@pytest.mark.parametrize("order", SAME)
@pytest.mark.parametrize("lengths", [1, 7])
def test_a_number_with_one_more_digit_costs_no_parse(order: str, lengths: int) -> None:
    found, taken = learned(order), 0
    for number in range(3, 1203):
        block = written(order, number, "token"[: 1 + number % lengths], "p")
        if found.shape.take(encode_chunk(block)):
            taken += 1
        else:
            assert found.shape.fit(block) is not None, "the longer number is written anew"
    assert taken >= 1197


def test_events_without_numbers_are_numbered_without_being_parsed() -> None:
    found = learned("without numbers")
    frame = found.shape.fit(written("without numbers", 0, "a"))
    assert payload(frame) == {"type": KIND, "item_id": "msg_1", "delta": "a", "sequence_number": 3}
    assert payload(found.shape.fit(written("without numbers", 0, "b")))["sequence_number"] == 4
    assert not found.shape.take(encode_chunk(written("without numbers", 0, "c")))


@pytest.mark.parametrize("order", ["padding before", "number between"])
def test_an_order_that_no_server_has_is_not_learned(order: str) -> None:
    found = learned(order)
    assert found.shape.fit(written(order, 3, "a", "p")) is None


def test_an_event_with_probabilities_does_not_fit() -> None:
    found = learned("OpenAI")
    given = written("OpenAI", 3, "a").replace(b'"logprobs":[]', b'"logprobs":[{"token":"a","logprob":-1}]')
    assert found.shape.fit(given) is None
    assert payload(found.read(given).frame)["delta"] == "a"
    assert found.shape.fit(written("OpenAI", 4, "b", "p")) is None, "the last event taught another shape"


def test_an_event_of_another_item_does_not_fit() -> None:
    found = learned("OpenAI")
    assert found.shape.fit(written("OpenAI", 3, "a").replace(b"msg_1", b"msg_2")) is None
    assert found.shape.fit(written("OpenAI", 3, "")) is None
    assert found.shape.fit(b"") is None


def test_a_forgotten_shape_fits_nothing() -> None:
    found = learned("sorted")
    found.shape.forget()
    assert found.shape.fit(written("sorted", 3, "a")) is None
    assert not found.shape.take(encode_chunk(written("sorted", 3, "a")))


@pytest.mark.parametrize(
    "data",
    [
        '{"type":"x","sequence_number":1,"delta":"a","more":{"delta":"b"}}',
        '{"type":"x","sequence_number":1,"delta":"a","more":{"sequence_number":1}}',
        '{"type":"x","sequence_number":01,"delta":"a"}',
        '{"type":"x","sequence_number":1.0,"delta":"a"}',
        '{"type":"x","sequence_number":"1","delta":"a"}',
        '{"type":"x","sequence_number":1,"delta":["a"]}',
        '{"type":"x","sequence_number":1,"text":"a"}',
        '{"type":"x","sequence_number":1,"delta":"a","obfuscation":"\\u00e9"}',
        '["sequence_number","delta"]',
        "no JSON",
    ],
)
def test_a_doubt_about_what_changes_teaches_nothing(data: str) -> None:
    block = f"data: {data}\n\n".encode()
    assert learn_numbered(Sample(block, block, ("delta",), 0, "sequence_number", "obfuscation")) is None
    shape = NumberedShape(Counts())
    shape.learn_from(lambda: Sample(block, block, ("delta",), 0, "sequence_number", "obfuscation"))
    assert shape.fit(block) is None


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


def chat_bytecodes() -> int:
    """How many bytecodes a chunk of chat completions takes."""
    found = ChatReader(Identity("chatcmpl-own", 1, "m"))
    found.shape.on_boundary(is_open=True)
    for text in ("warm", "up"):
        found.read(chat.block(chat.event({"content": text})))
    given = encode_chunk(chat.block(chat.event({"content": "token"})))
    found.shape.take(given)  # learns which chunks have this size
    return bytecodes_of(found.shape.take, given)


@pytest.mark.parametrize("order", SAME)
def test_an_event_costs_little_more_than_one_of_chat_completions(order: str) -> None:
    found = learned(order)
    found.shape.take(encode_chunk(written(order, 3, "token", "p")))
    given = encode_chunk(written(order, 4, "token", "p"))
    assert found.shape.is_open
    assert bytecodes_of(found.shape.take, given) <= 1.75 * chat_bytecodes()
    assert found.shape.next_number == 5
