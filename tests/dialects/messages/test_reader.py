"""The reader relays what official clients accept as it came, says what each event means, and never raises."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.dialect import AnswerReport, Meaning
from gateway.dialects.messages.reader import MAX_EVENT_VALUES, MAX_LINES, MAX_SILENT
from gateway.dialects.usage import Usage
from gateway.errors import UpstreamStalled
from gateway.upstream.bodies import StreamBody
from gateway.wire.http1 import encode_chunk
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
    in_steps,
    payload,
    read,
    reader,
    started,
    stopping,
)
from tests.upstream.body_owner import Owner

REPORT = AnswerReport(Usage(3, 4, estimated=True), {"provider": "alpha"})


def after_start(block: bytes) -> Meaning:
    """What an event means behind the beginning of a message."""
    messages = reader()
    read(messages, (START, TEXT))
    return messages.read(block)


class Played:
    """A body that was fed with an answer, and what came of it."""

    def __init__(self, *pieces: bytes, hold_finish: bool = False) -> None:
        self.reader = reader()
        self.owner = Owner()
        self.owner.body = self.body = StreamBody(self.owner, self.reader, hold_finish=hold_finish)
        for piece in pieces:
            self.body.feed(piece)


def test_what_conforms_is_relayed_as_the_very_bytes() -> None:
    meanings = read(reader(), ANSWER)
    for block, meaning in zip(ANSWER, meanings, strict=True):
        assert meaning.frame is block
    assert [meaning.content for meaning in meanings] == [False, False, False, True, True, False, True, False]
    assert [meaning.finish for meaning in meanings] == [False] * 6 + [True, False]
    assert [meaning.done for meaning in meanings] == [False] * 7 + [True]


@pytest.mark.parametrize("pieces", [ANSWER, (b"".join(ANSWER),)], ids=["event by event", "at once"])
@pytest.mark.parametrize("hold_finish", [False, True])
def test_an_answer_is_relayed_whole_and_its_last_event_is_the_last(
    pieces: tuple[bytes, ...], hold_finish: bool
) -> None:
    played = Played(*pieces, hold_finish=hold_finish)
    assert played.owner.calls == ["content", "complete"]
    assert played.owner.frames + played.body.closing_frames(REPORT) == list(ANSWER)


def test_a_stream_byte_by_byte_is_the_same_stream() -> None:
    played = Played(*(bytes([byte]) for byte in b"".join(ANSWER)))
    assert played.owner.frames + played.body.closing_frames(None) == list(ANSWER)


def test_what_comes_before_the_first_content_is_held_and_goes_out_with_it_in_order() -> None:
    played = Played(PING, START, TEXT, PING)
    assert (played.owner.calls, played.owner.frames) == ([], [])
    played.body.feed(delta("a"))
    assert (played.owner.calls, played.owner.frames) == (["content"], [PING, START, TEXT, PING, delta("a")])


THOUGHTS = {"type": "thinking", "thinking": "", "signature": ""}


@pytest.mark.parametrize(
    ("block", "content"),
    [
        (begun({"type": "text", "text": ""}), False),
        (begun(THOUGHTS), False),
        (begun({"type": "text", "text": "Hi"}), True),
        (begun({"type": "tool_use", "id": "t", "name": "f", "input": {}}), True),
        (begun({"type": "redacted_thinking", "data": "x"}), True),
        (begun({"type": "server_tool_use", "id": "t", "name": "web_search", "input": {}}), True),
        (begun({"type": "web_search_tool_result", "tool_use_id": "t", "content": []}), True),
        (delta(""), False),
        (delta("a"), True),
        (delta("a", kind="thinking_delta", member="thinking"), True),
        (delta("a", kind="signature_delta", member="signature"), True),
        (delta("{", kind="input_json_delta", member="partial_json"), True),
        (event("content_block_delta", index=0, delta={"type": "citations_delta", "citation": {"x": 1}}), True),
        (ended(), False),
        (PING, False),
        (event("of_tomorrow", x=1), False),
        (stopping(None), True),
    ],
)
def test_content_is_what_a_client_waits_for(block: bytes, content: bool) -> None:
    meaning = after_start(block)
    assert (meaning.frame, meaning.content, meaning.error) == (block, content, None)


def test_each_kind_of_text_has_a_shape_that_is_learned() -> None:
    kinds = (("thinking_delta", "thinking"), ("text_delta", "text"), ("input_json_delta", "partial_json"))
    played = Played(START)
    for index, (kind, member) in enumerate(kinds):
        played.body.feed(begun(THOUGHTS, index=index))
        played.body.feed(delta("one", kind=kind, member=member, index=index))
        for text in ("two", '{\\"a\\": "é😀"', " "):
            following = delta(text, kind=kind, member=member, index=index)
            assert played.body.feed_chunk(encode_chunk(following)), "the first event was learned from"
            assert played.owner.frames[-1] == following
    assert not played.body.feed_chunk(encode_chunk(ended()))
    assert played.reader.counts.events == 12


def test_the_shape_of_an_upstream_without_event_lines_is_learned_too() -> None:
    played = Played(START, TEXT)
    bare = [frame[frame.index(b"data:") :] for frame in map(delta, ("one", "two", "three"))]
    for block in bare:
        played.body.feed(block)
    assert played.owner.frames[-3:] == [delta(text) for text in ("one", "two", "three")]
    before = played.owner.frames[:]
    played.body.feed(bare[0])
    assert played.owner.frames == [*before, delta("one")]


DATA = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}'
MENDED = b"event: content_block_delta\ndata: " + DATA + b"\n\n"


@pytest.mark.parametrize(
    "block",
    [
        b"data: " + DATA + b"\n\n",
        b"data:" + DATA + b"\n\n",
        b"event:content_block_delta\ndata:" + DATA + b"\n\n",
        b"event: message\ndata: " + DATA + b"\n\n",
        b"event: content_block_delta\nid: 7\nretry: 3\n: hm\ndata: " + DATA + b"\n\n",
        b"data: " + DATA + b"\nevent: content_block_delta\n\n",
        DATA + b"\n\n",
    ],
)
def test_the_frame_has_the_form_that_clients_need(block: bytes) -> None:
    meaning = after_start(block)
    assert (meaning.frame, meaning.content) == (MENDED, True)


def test_data_in_several_lines_becomes_one_with_all_its_digits() -> None:
    lines = b'{"type":"content_block_delta",', b'"index":0,"x":12345678901234567890123,', b'"delta":{"text":"a"}}'
    block = b"".join(b"data: %b\n" % line for line in lines) + b"\n"
    frame = after_start(block).frame
    assert frame is not None
    assert b'"x":12345678901234567890123,' in frame
    assert payload(frame)["delta"] == {"text": "a"}


def test_a_type_that_only_the_event_line_has_is_put_into_the_object() -> None:
    frame = after_start(b'event: content_block_delta\ndata: {"index":0,"delta":{"text":"a"}}\n\n').frame
    assert payload(frame) == {"type": "content_block_delta", "index": 0, "delta": {"text": "a"}}
    frame = reader().read(b'event: message_start\ndata: {"message":{"type":"message"}}\n\n').frame
    assert payload(frame)["message"]["id"] == "msg_r1"


@pytest.mark.parametrize("line_end", ["\x85", "\u2028", "\u2029"])
def test_line_ends_of_unicode_are_escaped(line_end: str) -> None:
    raw = MENDED.replace(b'"a"', b'"%b"' % line_end.encode())
    for block in (raw, raw[raw.index(b"data") :]):
        assert payload(after_start(block).frame)["delta"]["text"] == line_end


def test_a_message_that_lacks_what_clients_read_is_completed() -> None:
    frame = reader().read(event("message_start", message={"x": 1})).frame
    assert payload(frame)["message"] == {
        "x": 1,
        "id": "msg_r1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def test_a_block_that_lacks_its_text_is_completed() -> None:
    assert payload(after_start(begun({"type": "text"})).frame)["content_block"] == {"type": "text", "text": ""}
    tool = {"type": "tool_use", "id": "t", "name": "f"}
    assert payload(after_start(begun(tool)).frame)["content_block"] == {**tool, "input": {}}


def test_events_of_blocks_without_an_index_get_one() -> None:
    def bare(block: bytes) -> bytes:
        return block.replace(b'"index":0,', b"").replace(b',"index":0', b"")

    block = (bare(TEXT), bare(delta("a")), bare(delta("b")), bare(delta("c")), bare(ended()))
    played = Played(START, *block, *block, *block)
    told = [(value["type"], value["index"]) for value in map(payload, played.owner.frames[1:])]
    kinds = ["content_block_start", *["content_block_delta"] * 3, "content_block_stop"]
    assert told == [(kind, index) for index in range(3) for kind in kinds]


def test_a_finish_without_usage_gets_the_count_of_the_gateway() -> None:
    messages = reader()
    read(messages, (START, TEXT, delta("a"), delta("b")))
    meaning = messages.read(event("message_delta", delta={"stop_reason": "end_turn"}))
    assert payload(meaning.frame)["usage"] == {"output_tokens": 2}
    assert messages.finished


def test_a_second_beginning_is_not_relayed() -> None:
    messages = reader()
    assert [meaning.frame for meaning in read(messages, (START, started(input_tokens=30, output_tokens=1)))] == [
        START,
        None,
    ]
    assert messages.usage(0).prompt_tokens == 30


# --- errors


@pytest.mark.parametrize(
    ("block", "text", "kind"),
    [
        (event("error", error={"type": "overloaded_error", "message": "busy"}), "busy", "overloaded_error"),
        (b'data: {"type":"error","error":{"type":"api_error","message":"no"}}\n\n', "no", "api_error"),
        (b'event: error\ndata: {"message":"no"}\n\n', "no", ""),
        (b"event: error\ndata: {}\n\n", "the upstream gave no message", ""),
        (b'data: {"error":{"message":"no","type":"server_error"}}\n\n', "no", "server_error"),
        (b'data: {"error":"no"}\n\n', "no", ""),
        (b'data: {"detail":"no"}\n\n', "no", ""),
        (b'data: [{"error":{"message":"no","status":"UNAVAILABLE"}}]\n\n', "no", "UNAVAILABLE"),
        (b'{"type":"error","error":{"type":"api_error","message":"no"}}\n\n', "no", "api_error"),
        (b'{"error":{\n"message":"no"}}\n\n', "no", ""),
        (b"event: error\ndata: the words of a proxy\n\n", "the words of a proxy", ""),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
def test_an_error_of_the_upstream_is_told_in_its_words(block: bytes, text: str, kind: str, begun: bool) -> None:
    messages = reader()
    if begun:
        read(messages, (START, TEXT, delta("a")))
    meaning = messages.read(block)
    assert meaning.error == "the upstream reported an error"
    assert meaning.told is not None
    assert (meaning.told.text, meaning.told.kind, meaning.frame) == (text, kind, None)


@pytest.mark.parametrize(
    ("block", "error"),
    [
        (
            b'data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"hi"}}]}\n\n',
            "the upstream sent an event that no message has",
        ),
        (
            b'event: response.created\ndata: {"type":"response.created","response":{}}\n\n',
            "the upstream sent an event that no message has (response....)",
        ),
        (b"data: 7\n\n", "the upstream sent an event that is not a JSON object"),
        (b'{"type":"message","content":[]}\n\n', "the upstream sent a whole message in place of events"),
        (b'data: {"type":\n\n', "the upstream sent an event that is not a JSON object"),
        (delta("a"), "the upstream sent a content_block_delta that is not one: no message_start came before it"),
        (STOP, "the upstream sent a message_stop that is not one: no message_start came before it"),
        (event("message_start"), "the upstream sent a message_start that is not one: it has no message"),
    ],
)
def test_what_is_no_event_of_a_message_is_an_error(block: bytes, error: str) -> None:
    assert reader().read(block).error == error


@pytest.mark.parametrize(
    ("kind", "members"),
    [("content_block_delta", {"delta": "a"}), ("content_block_start", {}), ("message_delta", {"delta": None})],
)
def test_an_event_without_its_object_is_an_error(kind: str, members: dict[str, Any]) -> None:
    error = after_start(event(kind, index=0, **members)).error
    assert error is not None
    assert error.startswith(f"the upstream sent a {kind} that is not one: it has no ")


def test_comments_and_empty_events_tell_nothing() -> None:
    for block in (b": hm\n\n", b"event: ping\n\n", b"id: 3\n\n", b"{\n\n", b"data: [DONE]\n\n"):
        assert after_start(block) == Meaning()


def test_a_done_of_another_api_is_the_end_behind_the_finish_only() -> None:
    messages = reader()
    read(messages, ANSWER[:-1])
    assert messages.read(b"data: [DONE]\n\n") == Meaning(done=True)
    assert messages.closing_frames(None, None) == [STOP]


def test_a_flood_of_pings_is_relayed_only_in_part() -> None:
    messages = reader()
    frames = [messages.read(PING).frame for _ in range(MAX_SILENT + 1)]
    assert frames == [PING] * MAX_SILENT + [None]
    assert read(messages, (START, PING))[1].frame == PING


def test_an_event_beyond_the_limits_is_an_error() -> None:
    many = event("content_block_delta", index=0, delta={"text": "a", "x": [1] * MAX_EVENT_VALUES})
    assert "values" in str(after_start(many).error)
    assert "lines" in str(after_start(b"data:\n" * (MAX_LINES + 1) + b"\n").error)


def test_numbers_that_json_has_not_become_null() -> None:
    block = (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"x":NaN,"delta":{"text":"a"}}\n\n'
    )
    assert payload(after_start(block).frame)["x"] is None


# --- ends


def test_a_body_that_ends_too_early_says_what_it_lacks() -> None:
    played = Played(*ANSWER[:4])
    played.body.finish()
    assert played.owner.calls == ["content", "broken"]
    assert played.owner.error is not None
    assert (
        played.owner.error.message == "the upstream ended in mid-stream, with neither a stop reason nor message_stop"
    )


def test_a_last_event_that_was_left_out_is_among_the_closing_frames() -> None:
    played = Played(*ANSWER[:-1])
    played.body.finish()
    assert played.owner.calls == ["content", "complete"]
    assert played.owner.frames + played.body.closing_frames(None) == list(ANSWER)


@pytest.mark.parametrize("rest", [STOP[:-1], STOP[:-2], STOP[STOP.index(b"data") : -2], b"event: message_stop"])
def test_a_last_event_without_its_blank_line_is_the_end(rest: bytes) -> None:
    played = Played(*ANSWER[:4], ended(), rest)
    played.body.finish()
    assert played.owner.calls == ["content", "complete"]
    assert played.body.closing_frames(None) == [STOP]


def test_half_of_the_last_event_is_no_end() -> None:
    played = Played(*ANSWER[:4], STOP[:14])
    played.body.finish()
    assert played.owner.calls == ["content", "broken"]


def test_an_empty_answer_is_an_answer_if_it_says_why_it_stops() -> None:
    played = Played(START, stopping("refusal"), STOP)
    assert (played.owner.calls, played.owner.frames[:2]) == (["content", "complete"], [START, stopping("refusal")])
    assert Played(START, STOP).owner.calls == ["broken"]


def test_a_break_is_an_event_that_every_client_raises() -> None:
    error = UpstreamStalled("no event\u2028for 60 s")
    (frame,) = reader().break_frames(error)
    assert payload(frame) == {
        "type": "error",
        "error": {
            "type": "api_error",
            "message": "no event\u2028for 60 s",
            "details": {"error_code": "upstream_stalled"},
        },
        "request_id": "r1",
    }


# --- usage


def test_the_prompt_is_counted_at_the_beginning_and_the_answer_at_its_end() -> None:
    messages = reader()
    read(messages, (started(input_tokens=25, cache_read_input_tokens=100, output_tokens=1), TEXT, delta("Hello you")))
    cut = messages.usage(7)
    assert (cut.prompt_tokens, cut.completion_tokens, cut.estimated) == (125, 3, True)
    read(messages, (ended(), stopping(output_tokens=15)))
    told = messages.usage(7)
    assert (told.prompt_tokens, told.completion_tokens, told.estimated) == (125, 15, False)


def test_what_is_reported_before_the_finish_counts_against_the_limits() -> None:
    messages = reader()
    read(messages, (START, TEXT, delta("a"), stopping(None, output_tokens=400)))
    assert messages.counts.reported == 400
    read(messages, (stopping(output_tokens=900),))
    assert messages.counts.reported == 400


# --- long events

LONG = "word " * 14_000


@pytest.mark.parametrize(
    "block",
    [
        delta(LONG),
        delta(LONG, kind="input_json_delta", member="partial_json"),
        delta("é\u2028" * 30_000),
        begun({"type": "image", "source": {"type": "base64", "data": LONG}}),
        begun({"type": "tool_use", "id": "t", "name": "f", "input": {"x": [LONG, {"y": LONG}]}}),
        begun({"type": "text", "text": LONG, "citations": [{"x": LONG}] * 3}),
        event("message_start", message={"id": LONG, "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}}),
        stopping("end_turn", output_tokens=7, x=LONG),
        event("of_tomorrow", x=[LONG, {LONG: LONG}]),
        event("error", error={"type": "api_error", "message": LONG}),
        b": c\nid: 3\n" + delta(LONG),
        delta(LONG)[len("event: content_block_delta\n") :],
        delta(LONG).replace(b'"index"', b'\ndata: "index"'),
        delta(LONG).replace(b'"index":0', b'"index":NaN'),
        b'{"type":"error","error":{"message":"%b"}}\n\n' % LONG.encode(),
        b"data: " + LONG.encode() + b"\n\n",
    ],
)
def test_a_long_event_means_the_same_in_steps(block: bytes) -> None:
    at_once, steps = reader(), reader()
    read(at_once, (started(input_tokens=9, output_tokens=1), TEXT, delta("a")))
    read(steps, (started(input_tokens=9, output_tokens=1), TEXT, delta("a")))
    expected, found = at_once.read(block), in_steps(steps, block)
    assert found._replace(frame=None, told=None) == expected._replace(frame=None, told=None)
    if expected.told is not None and found.told is not None:
        assert found.told.text[:400] == expected.told.text[:400]
    assert (found.frame is None) == (expected.frame is None)
    if found.frame is not None:
        assert payload(found.frame) == payload(expected.frame)
    assert steps.counts.events == at_once.counts.events
    assert abs(steps.counts.text_bytes - at_once.counts.text_bytes) < 32  # an input is shown by what stands for it
    told, other = steps.usage(5), at_once.usage(5)
    assert (told.prompt_tokens, told.estimated) == (other.prompt_tokens, other.estimated)
    assert abs(told.completion_tokens - other.completion_tokens) < 8


@pytest.mark.parametrize("block", [delta(LONG), begun({"type": "image", "source": {"data": LONG}})])
def test_a_long_event_that_conforms_is_relayed_as_the_very_bytes(block: bytes) -> None:
    messages = reader()
    read(messages, (START, TEXT))
    assert in_steps(messages, block).frame is block


# --- whatever comes

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
NAMES = st.sampled_from(["type", "index", "delta", "text", "message", "usage", "error", "content_block", "x"])
KINDS = st.sampled_from(
    ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "x", ""]
)
VALUES = st.recursive(SCALARS | KINDS, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=8)
BLOCKS = st.binary(max_size=40) | VALUES.map(lambda value: json.dumps(value).encode())


@given(st.lists(st.tuples(KINDS, BLOCKS)), st.booleans())
def test_whatever_comes_it_never_raises_and_frames_are_of_one_form(
    blocks: list[tuple[str, bytes]], is_begun: bool
) -> None:
    messages = reader()
    if is_begun:
        read(messages, (START, TEXT))
    for kind, data in blocks:
        for block in (b"event: %b\ndata: %b\n\n" % (kind.encode(), data), b"data: %b\n\n" % data, data + b"\n\n"):
            meaning = messages.read(block)
            if meaning.frame is not None:
                payload(meaning.frame)
    messages.usage(3)
    messages.closing_frames(REPORT, None)


@given(st.text(max_size=30), st.integers(0, 10**30))
def test_texts_and_numbers_keep_their_very_bytes(text: str, number: int) -> None:
    data = orjson.dumps({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
    data = data[:-1] + b',"x": %d }' % number
    frame = after_start(b"event: content_block_delta\ndata: " + data + b"\n\n").frame
    assert frame is not None
    assert json.loads(frame[frame.index(b"data: ") + 6 :]) == json.loads(data)
    assert b',"x": %d }' % number in frame
