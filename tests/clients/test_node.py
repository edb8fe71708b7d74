"""The OpenAI SDK for JavaScript, in the two major versions that are in use."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.kit.completions import MODEL, text
from tests.kit.gateway import Gateway
from tests.kit.upstreams import Upstream

WHOLE_TEXT = text(8)

Run = Callable[[str], Any]


@pytest.fixture(params=["openai", "openai-6"])
def run(request: pytest.FixtureRequest, node: Callable[..., Any], gateway: Gateway, alpha: Upstream) -> Run:
    """Runs a scenario of sdk.mjs with one of the versions."""
    return lambda scenario: node("sdk.mjs", request.param, scenario, gateway.url, alpha.stats_url)


def test_a_stream_arrives_whole_and_ends_at_once(run: Run) -> None:
    result = run("stream")
    assert result["text"] == WHOLE_TEXT
    assert (result["roles"], result["finishes"]) == (["assistant"], ["stop"])
    assert result["heldMs"] < 1000


def test_a_provider_that_holds_its_body_open_does_not_hold_the_loop(run: Run, gateway: Gateway) -> None:
    assert run("held")["chunks"] == 10
    lines = [line for line in gateway.lines() if line["event"] == "completion ended"]
    assert lines[-1]["duration_ms"] < 3000


def test_usage_comes_last_if_it_was_asked_for(run: Run) -> None:
    last = run("usage")
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 8


def test_a_completion_that_is_not_streamed_arrives(run: Run) -> None:
    assert run("whole") == {"text": WHOLE_TEXT, "upstream": "alpha"}


def test_the_stream_method_accumulates_the_message(run: Run) -> None:
    assert run("accumulated") == {"text": WHOLE_TEXT, "whole": WHOLE_TEXT, "role": "assistant"}


def test_the_stream_method_accumulates_tool_calls(run: Run) -> None:
    first, second = run("tools")
    assert (first["name"], first["limit"], second["limit"]) == ("lookup", 1, 2)
    assert first["id"] != second["id"]


@pytest.mark.parametrize("way", ["controller", "break"])
def test_leaving_the_loop_aborts_the_provider(run: Run, way: str) -> None:
    assert run(way) == {"tokens": 5, "aborted": True}


def test_an_abort_before_the_first_token_aborts_the_provider(run: Run) -> None:
    result = run("early")
    assert result["class"] == "APIUserAbortError"
    assert result["aborted"]


def test_models_are_listed_and_found_by_an_id_with_a_slash(run: Run) -> None:
    result = run("models")
    assert MODEL in result["ids"]
    assert result["found"] == MODEL


@pytest.mark.parametrize(
    ("scenario", "error", "status", "code", "requests"),
    [
        ("unknown", "NotFoundError", 404, "model_not_found", 1),
        ("invalid", "BadRequestError", 400, "invalid_parameter_value", 1),
        ("limited", "RateLimitError", 429, "rate_limit_exceeded", 3),
        ("failed", "InternalServerError", 502, "upstream_error", 2),
        ("late", "APIError", None, "upstream_error", 1),
    ],
)
def test_an_error_has_the_right_class_and_number_of_tries(
    run: Run, scenario: str, error: str, status: int | None, code: str, requests: int
) -> None:
    result = run(scenario)
    assert (result["class"], result.get("status"), result["code"], result["requests"]) == (
        error,
        status,
        code,
        requests,
    )
    assert result["requestID"].startswith("req_")
