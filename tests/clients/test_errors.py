"""Errors as the official SDKs see them: through the gateway never worse than straight from the same upstream.

The cases are those of `tests/cases/errors.toml` that one upstream answers, and after which no SDK would sleep long.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cases.cases import cases
from tests.kit.completions import CLIENT_KEY, body
from tests.kit.error_bench import ErrorBench
from tests.kit.sdks import LazyModule

if TYPE_CHECKING:
    import openai
else:
    openai = LazyModule("openai")

# Faults of the gateway's own credential: its client has no part in them, so that it gets another class.
OURS = ("it refused the gateway's", "has no credit")


def told_alone(case: dict[str, Any]) -> bool:
    sleeps = case["first"].get("fields", {}).get("Retry-After", "") == "60.2"  # straight from the upstream
    return case.get("model", "one") == "one" and not case["expect"].get("retry_after", 0) and not sleeps


ALONE = [case for case in cases("errors.toml") if told_alone(case.values[0])]
# One of each kind for the SDK that needs a process of its own.
NODE = [case for case in ALONE if case.values[0]["name"].startswith("U")]


@pytest.fixture(scope="module")
def bench(logs: Path) -> Iterator[ErrorBench]:
    bench = ErrorBench(logs)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    """The SDK, which is given the URL for each request: to make one takes a tenth of a second."""
    with openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key=CLIENT_KEY, max_retries=1) as client:
        yield client


def refusal(bench: ErrorBench, client: openai.OpenAI, url: str) -> tuple[openai.APIStatusError, int]:
    """The error that the SDK raises for a request to this URL, and how many requests the upstream got."""
    bench.first.requests.clear()
    client.base_url = url
    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(**body(model="one", stream=True))
    return raised.value, len(bench.first.requests)


@pytest.mark.parametrize("case", ALONE)
def test_an_error_through_the_gateway_is_no_worse(
    bench: ErrorBench, client: openai.OpenAI, case: dict[str, Any]
) -> None:
    bench.play(case)
    straight, straight_requests = refusal(bench, client, bench.first.base_url)
    through, through_requests = refusal(bench, client, bench.gateway.url)
    assert through_requests <= straight_requests
    if through_requests < straight_requests:
        assert through.response.headers["x-should-retry"] == "false"
    is_ours = any(words in str(through) for words in OURS)
    if not is_ours:
        assert type(through) is type(straight)
        assert through.status_code == straight.status_code or straight.status_code >= 500
    if "Tell-tale" in str(straight) and "credential" not in str(through):
        assert "Tell-tale" in str(through)
    if isinstance(straight.code, str) and straight.code.isidentifier() and not is_ours and "[" not in str(through):
        assert through.code == straight.code or straight.status_code == 429


@pytest.mark.parametrize("case", NODE)
def test_an_error_through_the_gateway_is_no_worse_in_javascript(
    bench: ErrorBench, case: dict[str, Any], node: Callable[..., Any]
) -> None:
    bench.play(case)
    straight = node("errors.mjs", bench.first.base_url)
    through = node("errors.mjs", bench.gateway.url)
    assert through["requests"] <= straight["requests"]
    if not any(words in through["message"] for words in OURS):
        assert (through["kind"], through["status"]) == (straight["kind"], straight["status"])
    if "Tell-tale" in json.dumps(straight) and "credential" not in through["message"]:
        assert "Tell-tale" in through["message"]
