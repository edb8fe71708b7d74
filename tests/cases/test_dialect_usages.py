"""What is billed of the usage that upstreams report in other dialects than chat: the cases of dialect_usages.toml."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.dialects.dialect import AnswerIdentity
from gateway.dialects.registry import DIALECTS
from gateway.dialects.usage import Usage
from tests.dialects.messages import events as messages
from tests.dialects.responses import events as responses

CASES = tomllib.loads(Path(__file__).with_name("dialect_usages.toml").read_text())["case"]
OWN_PROMPT = 11
IDENTITY = AnswerIdentity("r1", 1_750_000_000, "m")
WORD = "word "


def blocks(dialect: str, texts: int, told: list[dict[str, Any]]) -> Iterator[bytes]:
    """The events of an answer."""
    if dialect == "responses":
        yield responses.created()
        yield from (responses.delta(number, WORD) for number in range(1, texts + 1))
        yield responses.completed(texts + 1, usage=told[0])
    else:
        message = {"id": "msg_1", "role": "assistant", "content": [], "usage": told[0]}
        yield messages.event("message_start", message=message)
        yield messages.TEXT
        yield from [messages.delta(WORD)] * texts
        yield from (messages.stopping(**usage) for usage in told[1:])


def document(dialect: str, text: str, usage: dict[str, Any]) -> bytes:
    """A whole answer."""
    parts = [{"type": "output_text", "text": text}]
    choice = {"index": 0, "finish_reason": "stop"}
    members: dict[str, dict[str, Any]] = {
        "responses": {"object": "response", "output": [{"type": "message", "content": parts}]},
        "messages": {"type": "message", "role": "assistant", "content": [{"type": "text", "text": text}]},
        "chat": {"choices": [{**choice, "message": {"role": "assistant", "content": text}}]},
        "completions": {"choices": [{**choice, "text": text}]},
    }
    return orjson.dumps({"id": "a", "model": "m", **members[dialect], "usage": usage})


def billed(case: dict[str, Any]) -> Usage:
    dialect = next(dialect for dialect in DIALECTS if dialect.name == case["dialect"])
    told = [orjson.loads(usage) for usage in case["told"]]
    if case.get("whole"):
        content = document(dialect.name, WORD * case["texts"], told[0])
        return dialect.read_document(content, IDENTITY).usage(OWN_PROMPT)
    reader = dialect.reader(IDENTITY)
    for block in blocks(dialect.name, case["texts"], told):
        if reader.shape.fit(block) is None:
            assert not reader.read(block).error
    return reader.usage(OWN_PROMPT)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_an_answer_is_billed_by_what_its_upstream_told_unless_that_is_nonsense(case: dict[str, Any]) -> None:
    usage = billed(case)
    assert [usage.prompt_tokens, usage.completion_tokens] == case["billed"]
    assert usage.as_json()["total_tokens"] == sum(case["billed"])
