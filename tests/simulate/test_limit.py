"""The limit of an answer's length: every dialect's simulated answer keeps to it, and tells that it was cut."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway.simulate.chat import CHAT
from gateway.simulate.completions import COMPLETIONS
from gateway.simulate.dialect import SimulatedDialect
from gateway.simulate.limit import named_limit
from gateway.simulate.messages import MESSAGES
from gateway.simulate.plan import plan
from gateway.simulate.responses import RESPONSES
from gateway.simulate.script import Script
from gateway.simulate.steps import Send

Reading = Callable[[dict[str, Any]], tuple[Any, int]]


def of_choices(answer: dict[str, Any]) -> tuple[Any, int]:
    return answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]


def of_message(answer: dict[str, Any]) -> tuple[Any, int]:
    return answer["stop_reason"], answer["usage"]["output_tokens"]


def of_response(answer: dict[str, Any]) -> tuple[Any, int]:
    reason = (answer["incomplete_details"] or {}).get("reason")
    return (answer["status"], reason), answer["usage"]["output_tokens"]


CUT, WHOLE = ("incomplete", "max_output_tokens"), ("completed", None)
DIALECTS: dict[str, tuple[SimulatedDialect, str, Reading, Any, Any]] = {
    "chat": (CHAT, "max_completion_tokens", of_choices, "length", "stop"),
    "chat, as it was": (CHAT, "max_tokens", of_choices, "length", "stop"),
    "completions": (COMPLETIONS, "max_tokens", of_choices, "length", "stop"),
    "messages": (MESSAGES, "max_tokens", of_message, "max_tokens", "end_turn"),
    "responses": (RESPONSES, "max_output_tokens", of_response, CUT, WHOLE),
}


def body_of(dialect: SimulatedDialect, asked: dict[str, Any], **script: Any) -> bytes:
    facts = dialect.facts(asked, keep_alive=True, chunked=True)
    told = Script.parse({"text": "one two three four", "body": "close", "usage": "always", **script})
    sent = b"".join(step.data for step in plan(told, facts, dialect) if isinstance(step, Send))
    return sent.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(("limit", "length"), [(1, 1), (3, 3), (4, 4), (5, 4), (2.0, 2), (-1, 4), (0, 4), ("2", 4)])
def test_an_answer_is_cut_at_the_limit_and_says_so(name: str, limit: Any, length: int) -> None:
    dialect, member, reading, cut, whole = DIALECTS[name]
    answer = orjson.loads(body_of(dialect, {member: limit}))
    assert reading(answer) == (whole if length == 4 else cut, length)
    events = body_of(dialect, {member: limit, "stream": True})
    assert [word for word in (b'"one "', b'"two "', b'"three "', b'"four"') if word in events] == [
        b'"one "',
        b'"two "',
        b'"three "',
        b'"four"',
    ][:length]
    ending = b'"incomplete"' if cut is CUT else b'"%b"' % str(cut).encode()
    assert (ending in events) == (length < 4)


@pytest.mark.parametrize("name", DIALECTS)
def test_generated_words_and_reasoning_count_against_the_limit(name: str) -> None:
    dialect, member, reading, cut, _ = DIALECTS[name]
    answer = orjson.loads(body_of(dialect, {member: 7}, text=None, tokens=20, reasoning_tokens=3))
    assert reading(answer) == (cut, 7)
    short = orjson.loads(body_of(dialect, {member: 2}, reasoning_tokens=3))
    assert reading(short) == (cut, 2)


@pytest.mark.parametrize("name", ["chat", "messages", "responses"])
def test_a_call_that_does_not_fit_is_left_out_whole(name: str) -> None:
    dialect, member, reading, cut, _ = DIALECTS[name]
    lengths = [reading(orjson.loads(body_of(dialect, {}, tool_calls=calls)))[1] for calls in (1, 2)]
    ending, length = reading(orjson.loads(body_of(dialect, {member: lengths[1]}, tool_calls=3)))
    assert ending == cut
    assert length in lengths
    assert reading(orjson.loads(body_of(dialect, {member: 1}, tool_calls=3))) == (cut, 0)


def test_the_newer_name_of_the_limit_is_asked_first() -> None:
    assert named_limit({"a": 3, "b": 5}, "b", "a") == 5
    assert named_limit({"a": 3, "b": True}, "b", "a") == 3
    assert named_limit({"a": float("inf")}, "a") is None
