"""What is billed of the usage that upstreams report: the cases of usages.toml."""

import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.dialects.chat.document import ChatDocument
from gateway.dialects.chat.reader import ChatReader
from gateway.dialects.chat.repair import Identity

CASES = tomllib.loads(Path(__file__).with_name("usages.toml").read_text())["case"]
SHARED = {"id": "c", "created": 1, "model": "m"}
OWN_PROMPT = 11


def choices(kind: str, value: Any) -> list[dict[str, Any]]:
    """The choices of an event, or of a whole answer, for what a case says of them."""
    if isinstance(value, list):
        return value
    text = {} if value == "finish" and kind == "delta" else {"role": "assistant", "content": "word"}
    return [{"index": 0, kind: text, "finish_reason": "stop" if value == "finish" else None}]


def event(members: dict[str, Any]) -> bytes:
    chunk = {
        **SHARED,
        "object": "chat.completion.chunk",
        **members,
        "choices": choices("delta", members.get("choices")),
    }
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_stream_is_billed_by_what_its_upstream_told(case: dict[str, Any]) -> None:
    first, *others = map(orjson.loads, case["events"])
    reader = ChatReader(Identity("c", 1, "m"))
    for members in [first] * case["times"] + others:
        assert not reader.read(event(members)).error
    usage = reader.usage(OWN_PROMPT)
    assert [usage.prompt_tokens, usage.completion_tokens] == case["billed"]
    assert usage.estimated is case.get("own", False)
    told = usage.as_json()
    assert [told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]] == [
        *case["billed"],
        sum(case["billed"]),
    ]


WHOLE = [case for case in CASES if case.get("whole")]


@pytest.mark.parametrize("case", WHOLE, ids=[case["name"] for case in WHOLE])
def test_a_whole_answer_is_billed_by_what_its_upstream_told(case: dict[str, Any]) -> None:
    members = orjson.loads(case["events"][-1])
    completion = {**SHARED, **members, "choices": choices("message", members["choices"])}
    usage = ChatDocument.read(orjson.dumps(completion), Identity("c", 1, "m")).usage(OWN_PROMPT)
    assert [usage.prompt_tokens, usage.completion_tokens] == case["billed"]
