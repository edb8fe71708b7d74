"""The simulated provider speaks the Responses API with every fault of a script, as the gateway's reader knows it."""

from typing import Any

import orjson
import pytest

from gateway.dialects.dialect import AnswerReport
from gateway.dialects.responses.dialect import RESPONSES
from gateway.dialects.responses.reader import ResponsesReader
from gateway.simulate.plan import plan
from gateway.simulate.responses import RESPONSES as SIMULATION
from gateway.simulate.script import Script
from gateway.simulate.steps import Close, End, Facts, Reset, Send, Stall, Step
from gateway.upstream.bodies import StreamBody
from tests.dialects.responses.events import IDENTITY, payload
from tests.upstream.body_owner import Owner

WORDS = {"text": "one two three", "ttft_ms": 20, "gap_ms": 10, "body": "close"}


def steps_of(*, stream: bool = True, **fields: Any) -> list[Step]:
    return list(plan(Script.parse({**WORDS, **fields}), Facts(stream=stream, prompt=b"x" * 40), SIMULATION))


def body_of(steps: list[Step]) -> bytes:
    """The body of an answer that ends with its connection."""
    sent = b"".join(step.data for step in steps if isinstance(step, Send))
    return sent.partition(b"\r\n\r\n")[2]


def relayed(**fields: Any) -> tuple[Owner, StreamBody, list[dict[str, Any]]]:
    """What the gateway makes of a simulated answer."""
    owner = Owner()
    body = owner.body = StreamBody(owner, ResponsesReader(IDENTITY))
    for _ in body.feed(body_of(steps_of(**fields))) or ():
        pass
    if not body.over:
        body.finish()
    return owner, body, [payload(frame) for frame in owner.frames]


def document_of(**fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(body_of(steps_of(stream=False, **fields)))
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"reasoning_tokens": 3},
        {"tool_calls": 1},
        {"tool_calls": 3, "reasoning_tokens": 2},
        {"text": None, "tokens": 40, "seed": 7},
        {"text": ""},
        {"comments": 1, "comment_every_ms": 5, "bom": True},
        {"line_end": "\r\n", "space": False, "pretty": True},
        {"unicode_separators": True},
        {"omit": ["event"]},
    ],
)
def test_an_answer_is_whole_its_numbers_go_up_by_one_and_its_end_tells_what_a_document_tells(
    fields: dict[str, Any],
) -> None:
    owner, body, events = relayed(**fields)
    assert owner.calls == ["content", "complete"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    whole = document_of(**fields)
    assert events[-1] == {**events[-1], "type": "response.completed", "response": whole}
    assert body.usage(0).completion_tokens == whole["usage"]["output_tokens"]
    document = RESPONSES.read_document(orjson.dumps(whole), IDENTITY)
    assert document.usage(0).prompt_tokens == 10
    assert document.encode(AnswerReport(document.usage(0), {})) == orjson.dumps(whole)


def test_items_are_opened_before_their_pieces_and_closed_with_all_of_them() -> None:
    _, _, events = relayed(reasoning_tokens=2, tool_calls=2)
    open_items: dict[int, list[str]] = {}
    for event in events:
        index = event.get("output_index")
        if event["type"] == "response.output_item.added":
            assert index not in open_items
            assert index == len(open_items)
            open_items[index] = []
        elif event["type"].endswith((".delta", ".done")) and index is not None:
            if event["type"].endswith(".delta"):
                open_items[index].append(event["delta"])
            elif event["type"] == "response.function_call_arguments.done":
                assert event["arguments"] == "".join(open_items[index])
                orjson.loads(event["arguments"])
    assert len(open_items) == 3


@pytest.mark.parametrize(
    ("fault", "last"),
    [
        ({"stall_after": 2}, Stall),
        ({"reset_after": 2}, Reset),
        ({"cut_after": 2}, Close),
        ({"close_after": 2}, End),
        ({"error_after": 2}, End),
        ({"done": False}, End),
        ({"finish": False, "done": False}, End),
    ],
)
def test_every_fault_is_a_break_behind_the_content(fault: dict[str, Any], last: type[Step]) -> None:
    assert isinstance(steps_of(**fault)[-1], last)
    owner, body, events = relayed(**fault)
    assert owner.calls == ["content", "broken"]
    assert owner.error is not None
    assert "one two" in "".join(event.get("delta", "") for event in events)
    assert [payload(frame)["type"] for frame in body.break_frames(owner.error)] == ["error", "response.failed"]


@pytest.mark.parametrize("fault", [{"error_first": True}, {"error_after": 0}, {"close_after": 0}, {"cut_after": 0}])
def test_a_fault_before_the_content_leaves_another_upstream_the_answer(fault: dict[str, Any]) -> None:
    owner, _, events = relayed(**fault)
    assert (owner.calls, events) == (["broken"], [])


def test_an_error_in_the_stream_has_flat_fields_and_a_response_that_failed() -> None:
    body = body_of(steps_of(error_after=1))
    error, failed = (orjson.loads(block.partition(b"data: ")[2]) for block in body.split(b"\n\n")[-3:-1])
    assert (error["type"], error["code"]) == ("error", "server_error")
    assert (failed["type"], failed["response"]["error"]["code"]) == ("response.failed", "server_error")
    assert failed["sequence_number"] == error["sequence_number"] + 1


def test_an_error_answer_has_the_shape_of_openai() -> None:
    error = orjson.loads(body_of(steps_of(status=429)))["error"]
    assert error["type"] == "rate_limit_error"


@pytest.mark.parametrize("fields", [{}, {"error_first": True}, {"reasoning_tokens": 2}, {"tool_calls": 1}])
def test_a_body_of_known_length_has_that_length(fields: dict[str, Any]) -> None:
    steps = steps_of(**{**fields, "body": "length"})
    head, _, body = b"".join(step.data for step in steps if isinstance(step, Send)).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_no_usage_is_told_where_the_script_says_never() -> None:
    assert document_of(usage="never")["usage"] is None
    _, body, events = relayed(usage="never")
    assert events[-1]["response"]["usage"] is None
    assert body.usage(7).estimated
