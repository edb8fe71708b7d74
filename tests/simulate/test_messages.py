"""The simulated messages: what they say, the faults of a script in them, and that the gateway's reader takes them."""

import asyncio
from typing import Any

import orjson
import pytest

from gateway.dialects.dialect import AnswerReport
from gateway.dialects.messages.dialect import MESSAGES as DIALECT
from gateway.simulate import Provider, Script
from gateway.simulate.messages import COUNT_TOKENS, MESSAGES
from gateway.simulate.plan import plan
from gateway.simulate.steps import Close, End, Facts, Reset, Send, Stall, Step
from gateway.upstream.bodies import StreamBody
from gateway.wire import sse
from tests.dialects.messages.events import reader
from tests.upstream.body_owner import Owner

SCRIPT = {"text": "one two three", "ttft_ms": 20, "gap_ms": 10, "body": "close"}
KINDS = ["message_start", "content_block_start", "ping", *["content_block_delta"] * 3]
END = ["content_block_stop", "message_delta", "message_stop"]


def steps_of(*, stream: bool = True, dialect: Any = MESSAGES, **fields: Any) -> list[Step]:
    return list(plan(Script.parse({**SCRIPT, **fields}), Facts(stream=stream), dialect))


def body_of(steps: list[Step]) -> bytes:
    return b"".join(step.data for step in steps if isinstance(step, Send)).partition(b"\r\n\r\n")[2]


def events_of(**fields: Any) -> list[dict[str, Any]]:
    """The objects of all events; those of one script have the name of their type."""
    decoder, found = sse.BlockDecoder(), []
    for block in decoder.feed(body_of(steps_of(**fields))):
        event = sse.decode(block)
        value = orjson.loads(event.data or b"")
        assert event.name == value["type"].encode()
        found.append(value)
    return found


def texts_of(events: list[dict[str, Any]], member: str) -> str:
    return "".join(event["delta"].get(member, "") for event in events if "delta" in event)


def document_of(**fields: Any) -> dict[str, Any]:
    message: dict[str, Any] = orjson.loads(body_of(steps_of(stream=False, **fields)))
    return message


def test_a_text_comes_word_by_word_in_its_block() -> None:
    events = events_of()
    assert [event["type"] for event in events] == KINDS + END
    assert texts_of(events, "text") == "one two three"
    message = document_of()
    assert message["content"] == [{"type": "text", "text": "one two three"}]
    assert (message["stop_reason"], events[-2]["delta"]["stop_reason"]) == ("end_turn", "end_turn")
    assert message["usage"]["output_tokens"] == events[-2]["usage"]["output_tokens"] == 3
    assert events[0]["message"]["usage"]["output_tokens"] == 1
    assert events[0]["message"]["id"] == message["id"]


def test_thoughts_come_before_the_text_and_have_a_signature() -> None:
    events = events_of(reasoning_tokens=2)
    thought = document_of(reasoning_tokens=2)["content"][0]
    assert texts_of(events, "thinking") == thought["thinking"]
    assert texts_of(events, "signature") == thought["signature"]
    starts = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    stops = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert (starts, stops) == (["thinking", "text"], [0, 1])


@pytest.mark.parametrize("thoughts", [0, 2])
def test_the_input_of_tools_comes_in_pieces(thoughts: int) -> None:
    events = events_of(tool_calls=2, reasoning_tokens=thoughts)
    message = document_of(tool_calls=2, reasoning_tokens=thoughts)
    uses = [block for block in message["content"] if block["type"] == "tool_use"]
    first = 1 if thoughts else 0
    for index, use in enumerate(uses, first):
        pieces = [event for event in events if event.get("index") == index]
        assert pieces[0]["content_block"] == {**use, "input": {}}
        assert orjson.loads(texts_of(pieces, "partial_json")) == use["input"]
        assert pieces[-1]["type"] == "content_block_stop"
    assert (len(uses), message["stop_reason"]) == (2, "tool_use")


def test_an_answer_without_tokens_has_all_its_events() -> None:
    assert [event["type"] for event in events_of(text=None, tokens=0)] == [*KINDS[:3], *END]
    kinds = [event["type"] for event in events_of(text=None, tokens=0, reasoning_tokens=1)]
    assert kinds == [*KINDS[:4], "content_block_delta", *END]


def test_members_and_event_lines_are_left_out_as_told() -> None:
    events = events_of(omit=["model", "id", "role", "index"])
    assert not {"model", "id", "role"} & events[0]["message"].keys()
    assert all("index" not in event for event in events)
    assert b"event:" not in body_of(steps_of(omit=["event"]))
    assert "usage" not in events_of(usage="never")[-2]
    assert events_of(usage="null_everywhere")[0]["message"]["usage"] is None
    assert "usage" not in events_of(usage="on_finish")[0]["message"]
    assert [event["type"] for event in events_of(finish=False, done=False)][-1] == "content_block_stop"


@pytest.mark.parametrize(
    ("fault", "last"),
    [({"stall_after": 2}, Stall), ({"reset_after": 2}, Reset), ({"cut_after": 2}, Close), ({"close_after": 2}, End)],
)
def test_a_fault_of_a_script_hits_it_where_it_was_told(fault: dict[str, Any], last: type[Step]) -> None:
    steps = steps_of(**fault)
    assert isinstance(steps[-1], last)
    assert b'"two "' in body_of(steps)
    assert b'"three"' not in body_of(steps)
    assert b"message_stop" not in body_of(steps)


def test_an_error_in_the_stream_is_in_its_words_and_so_is_an_error_answer() -> None:
    assert events_of(error_after=1)[-1]["error"]["type"] == "api_error"
    assert [event["type"] for event in events_of(error_first=True)] == ["error"]
    for status, kind in ((529, "overloaded_error"), (429, "rate_limit_error"), (418, "invalid_request_error")):
        assert orjson.loads(body_of(steps_of(status=status)))["error"]["type"] == kind


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"reasoning_tokens": 3},
        {"tool_calls": 2},
        {"omit": ["event"]},
        {"omit": ["model", "id", "role", "index", "event"], "usage": "never", "reasoning_tokens": 2},
        {"usage": "null_everywhere", "error_null": True},
        {"line_end": "\r\n", "comments": 1, "bom": True},
        {"line_end": "\r", "space": False, "event_names": True},
        {"pretty": True},
        {"unicode_separators": True},
        {"done": False},
    ],
)
def test_the_reader_of_the_gateway_makes_of_every_style_what_clients_take(fields: dict[str, Any]) -> None:
    owner = Owner()
    body = owner.body = StreamBody(owner, reader())
    body.feed(body_of(steps_of(**fields)))
    body.finish()
    assert owner.calls == ["content", "complete"]
    joiner = DIALECT.joiner()
    for frame in owner.frames + body.closing_frames(None):
        assert sse.is_named_frame(frame)
        joiner.add(frame)
    joined = joiner.document(body.usage)
    expected = document_of(**{**fields, "usage": "auto", "omit": []})
    message = orjson.loads(bytes(joined.encode(AnswerReport(body.usage(0), {}))))
    assert (message["content"], message["stop_reason"]) == (expected["content"], expected["stop_reason"])


def test_a_count_is_of_the_prompt() -> None:
    steps = list(plan(Script.parse(SCRIPT), Facts(stream=False, prompt=b"x" * 40), COUNT_TOKENS))
    assert body_of(steps) == b'{"input_tokens":10}'
    assert orjson.loads(body_of(steps_of(dialect=COUNT_TOKENS, stream=False, status=529)))["type"] == "error"
    facts = COUNT_TOKENS.facts({"stream": True, "messages": ["a"]}, keep_alive=True, chunked=True)
    assert (facts.stream, facts.model) == (False, "sim")


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages?beta=true", "/v1/messages/count_tokens"])
async def test_a_provider_serves_it_at_its_path(path: str) -> None:
    provider = await Provider.start(script=Script.parse({"text": "one", "ttft_ms": 0, "gap_ms": 0}))
    read, write = await asyncio.open_connection("127.0.0.1", provider.port)
    content = b'{"model":"claude","messages":[{"role":"user","content":"hi"}]}'
    head = f"POST {path} HTTP/1.0\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
    write.write(head.encode() + content)
    _, _, body = (await read.read()).partition(b"\r\n\r\n")
    write.close()
    await write.wait_closed()
    await provider.close()
    answer = orjson.loads(body)
    assert ("input_tokens" in answer) if "count" in path else answer["model"] == "claude"
