"""Claude Code, unattended, against a simulated provider: it completes a session, and gets over what breaks."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agents import begin_session, end_session, installed_agent
from tests.kit.completions import CLIENT_KEY, QUICK
from tests.kit.gateway import LocalGateway
from tests.kit.messages import PAIR, messages_gateway
from tests.kit.upstreams import Upstream

pytestmark = pytest.mark.deep

PACKAGE, VERSION = "@anthropic-ai/claude-code", "2.1.197"
SECONDS = 100
WORDS = "The heron says that the river is high."
ANSWER = {**QUICK, "text": WORDS}

Begin = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def origin(logs: Path, frail_all_session: Upstream) -> Iterator[LocalGateway]:
    """A gateway whose only upstream behaves as a test says."""
    gateway = messages_gateway(logs, [(frail_all_session, [PAIR])])
    yield gateway
    gateway.close()


@pytest.fixture
def begin(origin: LocalGateway, tmp_path: Path) -> Iterator[Begin]:
    """Begins a session with one prompt."""
    program = installed_agent(PACKAGE, VERSION, "claude")
    environment = {
        "ANTHROPIC_BASE_URL": origin.url.removesuffix("/v1"),
        "ANTHROPIC_API_KEY": CLIENT_KEY,
        "ANTHROPIC_SMALL_FAST_MODEL": PAIR,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    begun = list[subprocess.Popen[str]]()

    def begin(prompt: str) -> "subprocess.Popen[str]":
        command = [str(program), "-p", prompt, "--output-format", "json", "--model", PAIR]
        session = begin_session(command, tmp_path, **environment)
        begun.append(session)
        return session

    yield begin
    for session in begun:
        end_session(session)


def result(session: "subprocess.Popen[str]") -> dict[str, Any]:
    """What came of a session."""
    out, errors = session.communicate(timeout=SECONDS)
    assert out, errors
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize("thoughts", [0, 5])
def test_a_session_is_completed(begin: Begin, frail: Upstream, origin: LocalGateway, thoughts: int) -> None:
    frail.follow(**ANSWER, reasoning_tokens=thoughts)
    told = result(begin("What does the heron say?"))
    assert (told["result"], told["is_error"], told["num_turns"]) == (WORDS, False, 1)
    ended = [line for line in origin.lines() if line["event"] == "completion ended"][-1]
    assert ended["prompt_tokens"] == told["usage"]["input_tokens"] > 1000
    assert ended["completion_tokens"] == told["usage"]["output_tokens"] == 8 + thoughts


@pytest.mark.parametrize("fault", [{"status": 529}, {"error_after": 2}, {"close_after": 2}, {"reset_after": 2}])
def test_a_failure_is_got_over_by_asking_again(begin: Begin, frail: Upstream, fault: dict[str, Any]) -> None:
    before = frail.statistics()
    frail.follow(**{**ANSWER, **fault})
    session = begin("What does the heron say?")
    frail.wait_until(lambda now: now.requests > before.requests, "a request", SECONDS)
    frail.follow(**ANSWER)
    told = result(session)
    assert (told["result"], told["is_error"]) == (WORDS, False)
    assert frail.statistics().requests >= before.requests + 2


def test_a_refusal_is_told_in_the_words_of_the_provider(begin: Begin, frail: Upstream) -> None:
    frail.follow(status=400)
    told = result(begin("What does the heron say?"))
    assert (told["is_error"], told["api_error_status"]) == (True, 400)
    assert "failed with status 400, as it was told" in told["result"]
