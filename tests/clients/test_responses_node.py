"""The Responses API with the OpenAI SDK for JavaScript, in the two major versions that are in use."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import PROMPT, text
from tests.kit.configuration import Served
from tests.kit.gateway import Gateway
from tests.kit.responses import responses_gateway
from tests.kit.upstreams import Upstream

pytestmark = pytest.mark.deep

WHOLE_TEXT = text(8)

Run = Callable[[str], Any]


@pytest.fixture(scope="module")
def gateway(logs: Path, served: Served) -> Iterator[Gateway]:
    gateway = responses_gateway(logs, served)
    yield gateway
    gateway.close()


@pytest.fixture(params=["openai", "openai-6"])
def run(request: pytest.FixtureRequest, node: Callable[..., Any], gateway: Gateway, alpha: Upstream) -> Run:
    """Runs a scenario of responses.mjs with one of the versions."""
    return lambda scenario: node("responses.mjs", request.param, scenario, gateway.url, alpha.stats_url)


def test_a_stream_arrives_whole_in_order_and_numbered(run: Run) -> None:
    result = run("stream")
    assert result["text"] == WHOLE_TEXT
    assert result["numbers"] == list(range(len(result["numbers"])))
    assert (result["first"], result["last"]) == ("response.created", "response.completed")


def test_a_response_that_is_not_streamed_arrives(run: Run) -> None:
    assert run("whole") == {"text": WHOLE_TEXT, "tokens": 8, "upstream": "alpha"}


def test_the_stream_method_accumulates_the_response(run: Run) -> None:
    assert run("accumulated") == {"text": WHOLE_TEXT, "whole": WHOLE_TEXT, "status": "completed"}


def test_the_stream_method_accumulates_calls_of_tools(run: Run) -> None:
    reasoning, first, second = run("tools")
    assert reasoning["type"] == "reasoning"
    assert first == {"type": "function_call", "name": "lookup", "limit": 1}
    assert second["limit"] == 2


@pytest.mark.parametrize("fault", ["error_after", "reset_after", "cut_after", "close_after"])
def test_a_failure_after_content_is_an_error_in_the_stream(run: Run, fault: str) -> None:
    result = run(fault)
    assert (result["class"], result["code"], result["requests"]) == ("APIError", "upstream_error", 1)
    assert "alpha" in result["message"]
    assert result["text"] == text(3)


def test_the_stream_method_raises_a_failure_after_content(run: Run) -> None:
    result = run("helper")
    assert result["class"] is not None
    assert "alpha" in result["message"]


@pytest.mark.parametrize(
    ("scenario", "error", "status", "code", "requests"),
    [
        ("unknown", "NotFoundError", 404, "model_not_found", 1),
        ("invalid", "BadRequestError", 400, "invalid_parameter_value", 1),
        ("failed", "InternalServerError", 502, "upstream_error", 2),
    ],
)
def test_an_error_has_the_right_class_and_number_of_tries(
    run: Run, scenario: str, error: str, status: int, code: str, requests: int
) -> None:
    result = run(scenario)
    assert (result["class"], result["status"], result["code"], result["requests"]) == (error, status, code, requests)


def test_leaving_the_loop_aborts_the_provider(run: Run) -> None:
    assert run("break") == {"tokens": 5, "aborted": True}


def test_a_response_in_the_background_goes_on_where_its_reader_left(run: Run) -> None:
    result = run("resumed")
    assert result["numbers"] == list(range(len(result["numbers"])))
    assert result["helped"] == result["numbers"][6:]
    assert result["final"] == result["told"] == WHOLE_TEXT


def test_a_whole_response_is_told_again_with_its_input_until_it_is_deleted(run: Run) -> None:
    assert run("kept") == {"text": WHOLE_TEXT, "input": PROMPT, "status": 404}


def test_a_response_in_the_background_is_cancelled(run: Run) -> None:
    assert run("cancelled") == ["cancelled", "cancelled"]
