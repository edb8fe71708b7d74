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

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def origin(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    """A gateway whose upstream speaks messages."""
    gateway = messages_gateway(logs, [(alpha, [MODEL])])
    yield gateway
    gateway.close()


@pytest.fixture
def run(node: Callable[..., Any], origin: LocalGateway) -> Run:
    """Asks for an answer, streamed and whole, of a provider that behaves as told."""

    def run(**behaviour: Any) -> dict[str, Any]:
        result: dict[str, Any] = node("ai_sdk_messages.mjs", origin.url, json.dumps({**QUICK, **behaviour}))
        return result

    return run


@pytest.mark.parametrize("behaviour", [{}, {"omit": ["event", "model", "id", "role", "index"]}, {"comments": 1}])
def test_an_answer_arrives_streamed_and_whole(run: Run, behaviour: dict[str, Any]) -> None:
    result = run(**behaviour)
    assert result["whole"] == {"text": WHOLE_TEXT, "reason": "stop", "tokens": 8}
    streamed = result["streamed"]
    assert (streamed["text"], streamed["reason"], streamed["tokens"]) == (WHOLE_TEXT, "stop", 8)
    assert streamed["errors"] == []


def test_thoughts_arrive_beside_the_text(run: Run) -> None:
    streamed = run(reasoning_tokens=3)["streamed"]
    assert (streamed["text"], len(streamed["reasoning"].split())) == (WHOLE_TEXT, 3)


@pytest.mark.parametrize("fault", ["error_after", "reset_after", "cut_after", "close_after"])
def test_a_failure_after_content_is_an_error_in_the_stream(run: Run, fault: str) -> None:
    streamed = run(**{fault: 3})["streamed"]
    assert (streamed["text"], streamed["reason"], len(streamed["errors"])) == (text(3), "error", 1)
    assert streamed["errors"][0]["message"].startswith("alpha: the upstream ")


def test_an_error_before_the_content_has_its_status(run: Run) -> None:
    result = run(status=529)
    assert [error["status"] for error in result["streamed"]["errors"]] == [529]
    assert result["whole"]["status"] == 529
