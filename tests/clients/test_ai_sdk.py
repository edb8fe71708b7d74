"""The AI SDK of Vercel, with its provider for messages: it raises on events that it does not know."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import QUICK, text
from tests.kit.gateway import LocalGateway
from tests.kit.messages import MODEL, messages_gateway
from tests.kit.upstreams import Upstream

pytestmark = pytest.mark.deep

WHOLE_TEXT = text(8)
GENERATIONS = {"6": ("ai", "@ai-sdk/anthropic"), "7": ("ai-7", "ai-sdk-anthropic-4")}
FAULTS = ("error_after", "reset_after", "cut_after", "close_after")
BEHAVIOURS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bare": {"omit": ["event", "model", "id", "role", "index"]},
    "commented": {"comments": 1},
    "thoughts": {"reasoning_tokens": 3},
    "call": {"tool_calls": 1},
    "refused": {"status": 529},
    **{fault: {fault: 3} for fault in FAULTS},
}

Told = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def origin(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    """A gateway whose upstream speaks messages."""
    gateway = messages_gateway(logs, [(alpha, [MODEL])])
    yield gateway
    gateway.close()


@pytest.fixture(scope="module", params=GENERATIONS)
def told(request: pytest.FixtureRequest, node: Callable[..., Told], origin: LocalGateway) -> Told:
    """What came of a streamed and of a whole answer, for each behaviour of the provider."""
    behaviours = {name: {**QUICK, **behaviour} for name, behaviour in BEHAVIOURS.items()}
    return node("ai_sdk_messages.mjs", *GENERATIONS[request.param], origin.url, json.dumps(behaviours))


@pytest.mark.parametrize("behaviour", ["plain", "bare", "commented"])
def test_an_answer_arrives_streamed_and_whole(told: Told, behaviour: str) -> None:
    assert told[behaviour]["whole"] == {"text": WHOLE_TEXT, "reason": "stop", "tokens": 8}
    streamed = told[behaviour]["streamed"]
    assert (streamed["text"], streamed["reason"], streamed["tokens"]) == (WHOLE_TEXT, "stop", 8)
    assert streamed["errors"] == []


def test_thoughts_arrive_beside_the_text(told: Told) -> None:
    streamed = told["thoughts"]["streamed"]
    assert (streamed["text"], len(streamed["reasoning"].split())) == (WHOLE_TEXT, 3)


def test_the_streamed_call_of_a_tool_has_its_input(told: Told) -> None:
    streamed = told["call"]["streamed"]
    assert (streamed["calls"], streamed["reason"]) == ([{"query": text(3).strip(), "limit": 1}], "tool-calls")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_after_content_is_an_error_in_the_stream(told: Told, fault: str) -> None:
    streamed = told[fault]["streamed"]
    assert (streamed["text"], streamed["reason"], len(streamed["errors"])) == (text(3), "error", 1)
    assert streamed["errors"][0]["message"].startswith("alpha: the upstream ")


def test_an_error_before_the_content_has_its_status(told: Told) -> None:
    assert [error["status"] for error in told["refused"]["streamed"]["errors"]] == [529]
    assert told["refused"]["whole"]["status"] == 529
