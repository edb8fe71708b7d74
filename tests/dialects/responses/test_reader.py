"""Each event goes on as the very bytes that came, unless a client could not use it; long ones are read in steps."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.dialect import AnswerReport, Meaning
from gateway.dialects.responses.reader import MAX_LINES, ResponsesReader
from gateway.errors import UpstreamError, UpstreamStalled
from gateway.wire import sse

from .events import answer, completed, created, delta, event, payload, reader, response

IMAGE = "iVBORw0KGgo" + "A" * 3_000_000
LONG = "word " * 30_000


def in_steps(found: ResponsesReader, block: bytes) -> Meaning:
    reading = found.read_in_steps(block)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            meaning: Meaning = end.value
            return meaning


def test_every_event_of_a_usual_answer_is_the_very_block() -> None:
    found = reader()
    for block in answer("Hel", "lo"):
        assert found.read(block).frame is block
    assert found.response_id == "resp_1"


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("style", [(",", ":"), (", ", ": ")])
def test_what_is_missing_is_put_behind_all_other_bytes(named: bool, style: tuple[str, str]) -> None:
    value = {"type": "response.output_text.delta", "delta": "é\\/", "n": 10**30, "f": 1.0}
    data = json.dumps(value, ensure_ascii=False, separators=style).encode()
    frame = reader().read(sse.frame(data, b"response.output_text.delta" if named else None)).frame
    assert frame is not None
    assert frame.endswith(data[:-1] + b',"sequence_number":0}\n\n')
    assert frame.startswith(b"event: ") is named


@given(st.lists(st.one_of(st.none(), st.integers(-2, 12), st.sampled_from(["1", 1.5, True, 10**30])), max_size=12))
def test_the_numbers_of_the_frames_always_go_up(numbers: list[Any]) -> None:
    found, before = reader(), -1
    for given_number in numbers:
        value = {"type": "response.output_text.delta", "sequence_number": given_number, "delta": "a"}
        block = b"data: " + json.dumps(value).encode() + b"\n\n"
        told = payload(found.shape.fit(block) or found.read(block).frame)
        if type(given_number) is int and before < given_number < 10**18:
            assert told["sequence_number"] == given_number
        assert told["sequence_number"] > before
        before = told["sequence_number"]
    first, last = map(payload, found.break_frames(UpstreamError("gone")))
    assert before < first["sequence_number"] < last["sequence_number"]


def test_a_break_tells_the_response_that_was_begun() -> None:
    found = reader()
    found.read(created(0, instructions="be brief", model="gpt-x"))
    found.read(delta(1, "a"))
    error = UpstreamStalled("silence")
    error.blame("alpha")
    error.add_details({"routing_metadata": {"attempts": []}})
    first, last = map(payload, found.break_frames(error))
    assert first == {
        "type": "error",
        "sequence_number": 2,
        "code": "upstream_stalled",
        "message": "alpha: silence",
        "param": None,
        "error": {"message": "alpha: silence", "type": "api_error", "code": "upstream_stalled", "param": None},
        "routing_metadata": {"attempts": []},
    }
    told = last["response"]
    assert (told["id"], told["model"], told["instructions"]) == ("resp_1", "gpt-x", "be brief")
    assert (told["status"], told["error"]) == ("failed", {"code": "upstream_stalled", "message": "alpha: silence"})
    assert last["sequence_number"] == 3


def test_a_break_before_any_event_is_a_response_of_the_gateways_own() -> None:
    first, last = map(payload, reader().break_frames(UpstreamError("nobody answers")))
    assert (first["sequence_number"], last["sequence_number"]) == (0, 1)
    told = last["response"]
    assert (told["id"], told["created_at"], told["model"]) == ("resp_req1", 1_750_000_000, "public-model")
    assert (told["object"], told["output"], told["tools"]) == ("response", [], [])


def test_a_break_of_a_long_response_repeats_what_identifies_it() -> None:
    found = reader()
    assert in_steps(found, created(0, instructions=LONG, tools=[{"name": "f", "text": LONG}])).frame is not None
    _, last = map(payload, found.break_frames(UpstreamError("gone")))
    assert (last["response"]["id"], last["response"]["model"], last["response"]["created_at"]) == (
        "resp_1",
        "gpt-x",
        7,
    )
    assert len(orjson.dumps(last)) < 1000


def test_a_response_that_no_encoder_could_repeat_is_repeated_in_part() -> None:
    found, nested = reader(), "[" * 253 + "]" * 253
    block = created(0, metadata="@").replace(b'"@"', nested.encode())
    assert found.read(block).frame is block
    _, last = map(payload, found.break_frames(UpstreamError("gone")))
    assert last["response"]["id"] == "resp_1"


def test_a_partial_image_of_megabytes_goes_on_as_the_very_block() -> None:
    found = reader()
    found.read(created(0))
    block = event("response.image_generation_call.partial_image", 1, output_index=0, partial_image_b64=IMAGE)
    meaning = in_steps(found, block)
    assert meaning.frame is block
    assert meaning.content
    assert (found.counts.events, found.counts.text_bytes) == (0, 0)
    assert found.shape.next_number == 2


def test_a_long_text_counts_by_its_length() -> None:
    found = reader()
    assert in_steps(found, delta(0, LONG)).content
    assert (found.counts.events, found.counts.text_bytes) == (1, len(LONG))


@pytest.mark.parametrize("usage", [True, False])
def test_a_long_terminal_event_is_the_end_and_has_the_usage(usage: bool) -> None:
    found = reader()
    output = [{"type": "message", "content": [{"type": "output_text", "text": LONG}]}]
    block = completed(0, output=output, usage={"input_tokens": 9, "output_tokens": 30_000} if usage else None)
    meaning = in_steps(found, block)
    assert meaning == Meaning(block, content=True, finish=True, done=True)
    used = found.usage(50)
    assert used.estimated is not usage
    assert used.completion_tokens == 30_000 if usage else len(LONG) // 4 < used.completion_tokens < len(LONG) // 3
    assert found.closing_frames(AnswerReport(used, {}), None) == []
    assert found.closing_frames(AnswerReport(used, {}), block) == [block]


@pytest.mark.parametrize(
    "block",
    [
        delta(3, LONG),
        delta(None, LONG),
        delta(3, LONG).replace(b"event: response.output_text.delta\n", b""),
        delta(3, LONG).replace(b"\n", b"\nid: 7\n", 1),
        delta(3, LONG).replace(b"\ndata: ", b"\ndata:"),
        delta(3, LONG + "\u2028"),
        delta(3, LONG).replace(b'"logprobs":[]', b'"logprobs":[NaN]'),
        event("response.output_text.done", 3, text=LONG),
        event("response.output_item.done", 3, item={"type": "function_call", "arguments": LONG}),
        event("response.output_item.added", 3, item={"type": "message", "content": [LONG]}),
        created(3, instructions=LONG),
        completed(3, output=[{"type": "message", "content": [{"type": "output_text", "text": LONG}]}]),
        event("response.failed", 3, response=response("failed", instructions=LONG, error={"message": "out of ink"})),
        event("error", 3, message="out of ink", more=LONG),
        event("response.web_search_call.completed", 3, action={"query": LONG}),
        b'data: {"error":{"message":"out of ink","long":"' + LONG.encode() + b'"}}\n\n',
        b'data: {"choices":[],"long":"' + LONG.encode() + b'"}\n\n',
        b'data: ["' + LONG.encode() + b'"]\n\n',
        b'{"object":"response","output":["' + LONG.encode() + b'"]}\n\n',
        b"data: " + LONG.encode() + b"\n\n",
    ],
)
def test_a_long_event_means_in_steps_what_it_means_at_once(block: bytes) -> None:
    once, steps = reader(), reader()
    for found in (once, steps):
        found.read(created(0))
        found.read(delta(1, "a"))
    expected, meaning = once.read(block), in_steps(steps, block)
    assert meaning._replace(frame=None, told=None) == expected._replace(frame=None, told=None)
    assert (meaning.told is None) == (expected.told is None)
    if expected.told is not None and meaning.told is not None:
        assert meaning.told.text[:100] == expected.told.text[:100]
    if expected.frame is not None:
        assert payload(meaning.frame) == payload(expected.frame)
    assert steps.shape.next_number == once.shape.next_number
    assert (steps.counts.events, steps.counts.text_bytes) == (once.counts.events, once.counts.text_bytes)
    assert steps.usage(9) == once.usage(9)


def test_an_image_of_any_size_is_no_text() -> None:
    image = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": LONG}
    found = reader()
    for block in (event("response.output_item.done", 1, item=image), completed(2, output=[image], usage=None)):
        assert in_steps(found, block).content
    assert found.counts.text_bytes == 0
    assert found.usage(9).completion_tokens <= 1


def test_an_event_of_very_many_lines_is_refused() -> None:
    block = b"data: 1\n" * (MAX_LINES + 1) + b"\n"
    assert "lines" in str(reader().read(block).error)
    assert "lines" in str(in_steps(reader(), block).error)


@given(st.binary(max_size=60))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    found = reader()
    for block in (data + b"\n\n", b"data: " + data + b"\n\n", b"event: response.created\ndata: {" + data + b"}\n\n"):
        meaning = found.read(block.replace(b"\r", b""))
        assert isinstance(meaning, Meaning)
        if meaning.frame is not None:
            orjson.loads(meaning.frame.partition(b"data: ")[2])


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)
KINDS = st.sampled_from(
    [
        *(
            "response.created",
            "response.output_text.delta",
            "response.output_text.done",
            "response.output_item.added",
        ),
        *("response.output_item.done", "response.completed", "response.failed", "error", "x", ""),
    ]
)
MEMBERS = st.sampled_from(
    ["response", "delta", "text", "item", "error", "message", "code", "sequence_number", "type"]
)


@given(st.lists(st.tuples(KINDS, st.dictionaries(MEMBERS, JSON, max_size=4)), max_size=5))
def test_members_of_any_type_are_understood_or_refused(events: list[tuple[str, dict[str, Any]]]) -> None:
    found = reader()
    for kind, members in events:
        block = b"data: " + json.dumps({"type": kind, **members}).encode() + b"\n\n"
        meaning = found.read(block)
        assert (meaning.frame is None) or (meaning.error is None)
        if meaning.frame is not None:
            payload(meaning.frame)
    found.usage(3)
    assert len(found.break_frames(UpstreamError("gone"))) == 2
