"""Codex, unattended, against a simulated provider: it completes a session, and gets over what breaks."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agents import begin_session, end_session, installed_agent
from tests.kit.completions import CLIENT_KEY, QUICK
from tests.kit.gateway import LocalGateway
from tests.kit.responses import responses_gateway
from tests.kit.upstreams import ClosedPort, Upstream

pytestmark = pytest.mark.deep

PACKAGE, VERSION = "@openai/codex", "0.171.0"
SECONDS = 100
MODEL, PAIR = "codex-model", "codex-pair"  # for the pair, an upstream that is gone is asked first
UNATTENDED = ("exec", "--json", "--skip-git-repo-check", "--sandbox", "read-only")
PROMPT = "What does the heron say?"
WORDS = "The heron says that the river is high."
ANSWER = {**QUICK, "text": WORDS}
SLOW = {**QUICK, "ttft_ms": 1000}  # slow enough for a test to say what the next answer is
SETTINGS = """
check_for_update_on_startup = false
model_provider = "rivergate"
[model_providers.rivergate]
name = "Rivergate"
base_url = "{url}"
env_key = "RIVERGATE_KEY"
wire_api = "responses"
"""

Begin = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def origin(logs: Path, frail_all_session: Upstream) -> Iterator[LocalGateway]:
    """A gateway whose upstream behaves as a test says."""
    gone = ClosedPort()
    gateway = responses_gateway(logs, [(gone, [PAIR]), (frail_all_session, [MODEL, PAIR])])
    yield gateway
    gateway.close()
    gone.close()


@pytest.fixture
def begin(origin: LocalGateway, tmp_path: Path) -> Iterator[Begin]:
    """Begins a session with one prompt."""
    program = installed_agent(PACKAGE, VERSION, "codex")
    (tmp_path / "config.toml").write_text(SETTINGS.format(url=origin.url))
    begun = list[subprocess.Popen[str]]()

    def begin(model: str = MODEL) -> "subprocess.Popen[str]":
        command = [str(program), *UNATTENDED, "-m", model, PROMPT]
        session = begin_session(command, tmp_path, CODEX_HOME=str(tmp_path), RIVERGATE_KEY=CLIENT_KEY)
        begun.append(session)
        return session

    yield begin
    for session in begun:
        end_session(session)


def events(session: "subprocess.Popen[str]") -> list[dict[str, Any]]:
    """What a session told, event by event."""
    out, errors = session.communicate(timeout=SECONDS)
    assert out, errors
    return [json.loads(line) for line in out.splitlines()]


def said(told: list[dict[str, Any]]) -> list[str]:
    """The texts of the model in a session."""
    items = [event["item"] for event in told if event["type"] == "item.completed"]
    return [item["text"] for item in items if item["type"] == "agent_message"]


@pytest.mark.parametrize("thoughts", [0, 5])
def test_a_session_is_completed(begin: Begin, frail: Upstream, origin: LocalGateway, thoughts: int) -> None:
    frail.follow(**ANSWER, reasoning_tokens=thoughts)
    told = events(begin())
    assert said(told) == [WORDS]
    usage = told[-1]["usage"]
    assert (told[-1]["type"], usage["reasoning_output_tokens"]) == ("turn.completed", thoughts)
    ended = [line for line in origin.lines() if line["event"] == "completion ended"][-1]
    assert ended["prompt_tokens"] == usage["input_tokens"] > 1000
    assert ended["completion_tokens"] == usage["output_tokens"] == 8 + thoughts


def test_another_upstream_answers_where_the_first_is_gone(begin: Begin, frail: Upstream) -> None:
    before = frail.statistics()
    frail.follow(**ANSWER)
    told = events(begin(PAIR))
    assert (said(told), told[-1]["type"]) == ([WORDS], "turn.completed")
    assert frail.statistics().requests == before.requests + 1
    assert not [event for event in told if event["type"] == "error"]


def test_the_call_of_a_tool_is_answered_in_a_second_turn(begin: Begin, frail: Upstream, origin: LocalGateway) -> None:
    before = frail.statistics()
    frail.follow(**SLOW, tool_calls=1)
    session = begin()
    frail.wait_for_request(before)
    frail.follow(**ANSWER)
    told = events(session)
    assert (said(told), told[-1]["type"]) == ([WORDS], "turn.completed")
    first, second = [line for line in origin.lines() if line["event"] == "completion ended"][-2:]
    assert (first["ending"], second["ending"]) == ("completed", "completed")
    assert second["prompt_tokens"] > first["prompt_tokens"]  # the call and its result are part of the second prompt
    assert told[-1]["usage"]["input_tokens"] == first["prompt_tokens"] + second["prompt_tokens"]


@pytest.mark.parametrize("fault", [{"status": 503}, {"error_after": 2}, {"close_after": 2}, {"reset_after": 2}])
def test_a_failure_is_got_over_by_asking_again(begin: Begin, frail: Upstream, fault: dict[str, Any]) -> None:
    before = frail.statistics()
    frail.follow(**{**ANSWER, **fault})
    session = begin()
    frail.wait_for_request(before)
    frail.follow(**ANSWER)
    told = events(session)
    assert (said(told), told[-1]["type"]) == ([WORDS], "turn.completed")
    assert frail.statistics().requests >= before.requests + 2
    reconnected = [event["message"] for event in told if event["type"] == "error"]
    assert bool(reconnected) == ("status" not in fault)  # Codex tells of breaks, and asks again in silence otherwise
    assert all("frail: the upstream " in message for message in reconnected)


def test_a_refusal_is_told_in_the_words_of_the_provider(begin: Begin, frail: Upstream) -> None:
    before = frail.statistics()
    frail.follow(status=400)
    told = events(begin())
    assert told[-1]["type"] == "turn.failed"
    assert "failed with status 400, as it was told" in told[-1]["error"]["message"]
    assert frail.statistics().requests == before.requests + 1
