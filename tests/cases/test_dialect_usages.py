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
from gateway.wire import sse
from tests.dialects.messages import events as messages
from tests.dialects.responses import events as responses

CASES = tomllib.loads(Path(__file__).with_name("dialect_usages.toml").read_text())["case"]
OWN_PROMPT = 11
IDENTITY = AnswerIdentity("r1", 1_750_000_000, "m")
WORD = "word "


def chunk(dialect: str, text: str | None, **more: Any) -> bytes:
    """An event of a completion: with a text, or its finish."""
    content = {"text": text or ""} if dialect == "completions" else {"delta": {"content": text} if text else {}}
    choices = [{"index": 0, **content, "finish_reason": None if text else "stop"}]
    return sse.frame(orjson.dumps({"id": "a", "created": 1, "model": "m", "choices": choices, **more}))


def blocks(dialect: str, texts: list[str], told: list[dict[str, Any]]) -> Iterator[bytes]:
    """The events of an answer."""
    if dialect in ("chat", "completions"):
        yield from (chunk(dialect, text) for text in texts)
        yield chunk(dialect, None, usage=told[0])
    elif dialect == "responses":
        yield responses.created()
        yield from (responses.delta(number, text) for number, text in enumerate(texts, 1))
        yield responses.completed(len(texts) + 1, usage=told[0])
    else:
        message = {"id": "msg_1", "role": "assistant", "content": [], "usage": told[0]}
        yield messages.event("message_start", message=message)
        yield messages.TEXT
        yield from map(messages.delta, texts)
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
    word = WORD * (case.get("word", len(WORD)) // len(WORD))
    for block in blocks(dialect.name, [word] * case["texts"], told):
        if reader.shape.fit(block) is None:
            assert not reader.read(block).error
    return reader.usage(OWN_PROMPT)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_an_answer_is_billed_by_what_its_upstream_told_unless_that_is_nonsense(case: dict[str, Any]) -> None:
    usage = billed(case)
    assert [usage.prompt_tokens, usage.completion_tokens] == case["billed"]
    assert usage.as_json()["total_tokens"] == sum(case["billed"])
