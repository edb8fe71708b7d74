"""The simulated provider's text completions: what it streams, joined, is what it answers whole."""

from typing import Any

import orjson
import pytest

from gateway.dialects.completions.dialect import COMPLETIONS as DIALECT
from gateway.dialects.dialect import AnswerIdentity, AnswerReport
from gateway.simulate import Script
from gateway.simulate.completions import COMPLETIONS, MAX_ALTERNATIVES
from gateway.simulate.plan import plan
from gateway.simulate.steps import Close, Reset, Send, Stall, Step
from gateway.upstream.bodies import StreamBody
from gateway.wire.http1 import encode_chunk
from tests.upstream.body_owner import Owner

WORDS = {"text": "one two three", "ttft_ms": 20, "gap_ms": 10}


def steps_of(body: dict[str, Any] | None = None, **fields: Any) -> list[Step]:
    asked = {"model": "m", "prompt": "a", "stream": True, **(body or {})}
    facts = COMPLETIONS.facts(asked, keep_alive=True, chunked=False)
    return list(plan(Script.parse({**WORDS, **fields}), facts, COMPLETIONS))


def content_of(steps: list[Step]) -> bytes:
    data = b"".join(step.data for step in steps if isinstance(step, Send))
    return data.partition(b"\r\n\r\n")[2]


def read(steps: list[Step]) -> Owner:
    owner = Owner()
    body = owner.body = StreamBody(owner, DIALECT.reader(AnswerIdentity("1", 1, "m")))
    body.feed(content_of(steps))
    body.finish()
    return owner


@pytest.mark.parametrize("body", [{}, {"prompt": ["a", "b"]}, {"n": 3}, {"prompt": [[1], [2]], "n": 2}])
@pytest.mark.parametrize("fields", [{}, {"reasoning_tokens": 2}, {"usage": "always"}, {"omit": ["id", "index"]}])
def test_a_stream_joined_is_the_whole_answer(body: dict[str, Any], fields: dict[str, Any]) -> None:
    if "omit" in fields and body:
        return  # without an index nobody can tell alternatives apart
    owner = read(steps_of(body, **fields))
    assert owner.calls == ["content", "complete"]
    joiner = DIALECT.joiner()
    for frame in owner.frames:
        joiner.add(frame)
    document = joiner.document(owner.body.usage)
    report = AnswerReport(document.usage(1), {})
    joined = orjson.loads(bytes(document.encode(report)))["choices"]
    whole = orjson.loads(content_of(steps_of({**body, "stream": False}, **fields)))["choices"]
    assert joined == whole
    assert {choice["text"] for choice in whole} == {"one two three"}


def test_every_alternative_counts_its_tokens() -> None:
    whole = orjson.loads(content_of(steps_of({"prompt": ["a", "b"], "n": 2, "stream": False})))
    assert whole["usage"]["completion_tokens"] == 12
    body = {"prompt": ["a"] * 200, "stream": False}
    assert len(orjson.loads(content_of(steps_of(body)))["choices"]) == MAX_ALTERNATIVES


@pytest.mark.parametrize(
    ("fault", "last", "calls"),
    [
        ({"stall_after": 2}, Stall, ["content", "broken"]),
        ({"reset_after": 2}, Reset, ["content", "broken"]),
        ({"cut_after": 2}, Close, ["content", "broken"]),
        ({"error_after": 2}, Step, ["content", "broken"]),
        ({"error_first": True}, Step, ["broken"]),
        ({"finish": False}, Step, ["content", "complete"]),
        ({"done": False}, Step, ["content", "complete"]),
        ({"finish": False, "done": False}, Step, ["content", "broken"]),
    ],
)
def test_a_fault_of_a_script_hits_it_where_it_was_told(fault: dict[str, Any], last: Any, calls: list[str]) -> None:
    steps = steps_of(**fault)
    assert isinstance(steps[-1], last)
    owner = read(steps)
    assert owner.calls == calls
    assert len(owner.frames) >= 2 * ("content" in calls)


def test_a_chunk_holds_one_event() -> None:
    facts = COMPLETIONS.facts({"prompt": "a", "stream": True}, keep_alive=True, chunked=True)
    sends = [step.data for step in plan(Script.parse(WORDS), facts, COMPLETIONS) if isinstance(step, Send)]
    data = sends[1].split(b"\r\n", 1)[1].removesuffix(b"\r\n")
    assert sends[1] == encode_chunk(data)
    assert orjson.loads(data[6:])["choices"] == [
        {"index": 0, "logprobs": None, "text": "one ", "finish_reason": None}
    ]


def test_a_fact_of_a_wrong_type_counts_as_absent() -> None:
    facts = COMPLETIONS.facts({"model": 3, "prompt": 7, "n": "x"}, keep_alive=True, chunked=True)
    assert (facts.model, facts.stream, facts.alternatives) == ("sim", False, 1)
