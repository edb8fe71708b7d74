"""Frameworks whose usual dialect is responses, or that can be told to speak it, as their users write them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, QUICK, text
from tests.kit.configuration import KEYS, ORDERED, Served, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.upstreams import ClosedPort, Upstream, Upstreams
from tests.kit.venvs import installed_python, told_by

pytestmark = pytest.mark.deep

FOLDER = Path(__file__).parent / "frameworks"
WHOLE_TEXT = text(8)
HEDGING = "[ttft]\nhedge_after = 300\nhedge_max_share = 1\n" + ORDERED
# The package of each generation of the AI SDK, and its provider for OpenAI.
AI_SDKS = {"ai_sdk_6": ("ai", "@ai-sdk/openai"), "ai_sdk_7": ("ai-7", "ai-sdk-openai-4")}

Told = dict[str, Any]


@pytest.fixture(scope="module")
def gateway(logs: Path, upstreams: Upstreams, alpha: Upstream) -> Iterator[LocalGateway]:
    """A gateway with a model whose first upstream is gone, and one whose first upstream is very slow."""
    gone, slow = ClosedPort(), upstreams.start("slow", **{**QUICK, "ttft_ms": 100_000})
    served: Served = [(gone, ["refused-pair"]), (slow, ["slow-pair"]), (alpha, [MODEL, "refused-pair", "slow-pair"])]
    gateway = LocalGateway(logs, configuration(served, HEDGING), KEYS)
    yield gateway
    gateway.close()
    gone.close()


@pytest.fixture(scope="module", params=[*AI_SDKS, "langchain", "openai_agents", "pydantic_ai"])
def told(request: pytest.FixtureRequest, gateway: LocalGateway) -> Told:
    """What came of each scenario; a framework runs them in one process, since to import it takes seconds."""
    if request.param in AI_SDKS:
        node: Callable[..., Told] = request.getfixturevalue("node")
        return node("ai_sdk_responses.mjs", *AI_SDKS[request.param], gateway.url)
    name = "langchain" if request.param == "langchain" else "frameworks"
    python = installed_python(name, FOLDER.parent / name / "requirements.txt")
    found: Told = told_by(python, FOLDER / "scenarios.py", f"with_{request.param}", gateway.url)
    return found


def test_a_response_arrives_whole(told: Told) -> None:
    assert told["whole"] == {"text": WHOLE_TEXT, "tokens": 8}


@pytest.mark.parametrize("scenario", ["stream", "thoughts"])
def test_a_streamed_response_arrives_word_by_word(told: Told, scenario: str) -> None:
    parts = told[scenario]
    assert ("".join(parts), len(parts)) == (WHOLE_TEXT, 8)


def test_the_streamed_call_of_a_tool_has_its_arguments(told: Told) -> None:
    assert told["call"] == {"query": text(3).strip(), "limit": 1}


def test_another_upstream_answers_where_the_first_is_gone(told: Told) -> None:
    assert told["fallback"] == {"text": WHOLE_TEXT, "tokens": 8}
    assert "".join(told["fallback_streamed"]) == WHOLE_TEXT


def test_a_hedge_answers_where_the_first_upstream_is_slow(told: Told) -> None:
    assert "".join(told["hedge_streamed"]) == WHOLE_TEXT


@pytest.mark.parametrize("scenario", ["failed", "failed_streamed"])
def test_a_failure_before_the_content_has_its_status(told: Told, scenario: str) -> None:
    failure = told[scenario]
    assert (failure["status"], failure["text"]) == (502, "")
    assert "failed with status 503, as it was told" in failure["message"]


@pytest.mark.parametrize("scenario", ["error_after", "reset_after", "close_after"])
def test_a_failure_after_content_is_an_error_behind_its_text(told: Told, scenario: str) -> None:
    assert told[scenario]["text"] == text(3)
    assert "alpha: the upstream " in told[scenario]["message"]
