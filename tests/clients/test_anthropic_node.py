"""Anthropic's SDK for JavaScript."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import text
from tests.kit.gateway import LocalGateway
from tests.kit.messages import MODEL, messages_gateway
from tests.kit.upstreams import Upstream

pytestmark = pytest.mark.deep

WHOLE_TEXT = text(8)

Run = Callable[[str], Any]


@pytest.fixture(scope="module")
def origin(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    """A gateway whose upstream speaks messages."""
    gateway = messages_gateway(logs, [(alpha, [MODEL])])
    yield gateway
    gateway.close()


@pytest.fixture
def run(node: Callable[..., Any], origin: LocalGateway, alpha: Upstream) -> Run:
    """Runs a scenario of messages.mjs."""
    url = origin.url.removesuffix("/v1")
    return lambda scenario: node("messages.mjs", "@anthropic-ai/sdk", scenario, url, alpha.stats_url)


def test_a_message_that_is_not_streamed_arrives(run: Run) -> None:
    assert run("whole") == {"text": WHOLE_TEXT, "reason": "end_turn", "tokens": 8}


def test_a_stream_arrives_whole_and_in_order(run: Run) -> None:
    result = run("stream")
    assert result["text"] == WHOLE_TEXT
    assert (result["kinds"][0], result["kinds"][-1]) == ("message_start", "message_stop")


def test_the_stream_method_accumulates_the_message(run: Run) -> None:
    assert run("accumulated") == {"text": WHOLE_TEXT, "thinking": "thinking", "tokens": 11}


def test_an_upstream_that_leaves_much_out_is_understood(run: Run) -> None:
    assert run("lax") == {"text": WHOLE_TEXT, "role": "assistant", "reason": "end_turn"}


def test_the_stream_method_accumulates_the_uses_of_tools(run: Run) -> None:
    result = run("tools")
    assert result["same"]
    assert [use["input"]["limit"] for use in result["uses"]] == [1, 2]


def test_a_count_of_tokens_arrives(run: Run) -> None:
    assert run("count")["input_tokens"] > 0


def test_leaving_the_loop_aborts_the_provider(run: Run) -> None:
    assert run("leave") == {"tokens": 5, "aborted": True}


@pytest.mark.parametrize(
    ("scenario", "error", "status", "kind", "requests"),
    [
        ("unknown", "NotFoundError", 404, "not_found_error", 1),
        ("invalid", "BadRequestError", 400, "invalid_request_error", 1),
        ("limited", "RateLimitError", 429, "rate_limit_error", 3),
        ("overloaded", "OverloadedError", 529, "overloaded_error", 3),
        ("failed", "InternalServerError", 502, "api_error", 3),
    ],
)
def test_errors_are_of_the_class_that_the_sdk_has_for_them(
    run: Run, scenario: str, error: str, status: int, kind: str, requests: int
) -> None:
    result = run(scenario)
    assert (result["class"], result["status"], result["type"]) == (error, status, kind)
    assert result["requests"] == requests
    assert result["requestID"].startswith("req_")
    assert result["retryAfter"] == ("1" if scenario in ("limited", "overloaded") else None)


@pytest.mark.parametrize("fault", ["error_after", "reset_after", "cut_after", "close_after"])
@pytest.mark.parametrize("way", ["streamed", "helped"])
def test_a_failure_after_content_is_an_error_in_the_stream(run: Run, way: str, fault: str) -> None:
    result = run(f"{way} {fault}")
    assert (result["type"], result["seen"], result["requests"]) == ("api_error", text(3), 1)
