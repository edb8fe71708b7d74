"""The OpenAI SDK for JavaScript on text completions and embeddings, in the two major versions that are in use."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.upstreams import Upstream

pytestmark = pytest.mark.deep

Run = Callable[[str], Any]


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])]), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


@pytest.fixture(params=["openai", "openai-6"])
def run(request: pytest.FixtureRequest, node: Callable[..., Any], gateway: LocalGateway) -> Run:
    """Runs a scenario of completions.mjs with one of the versions."""
    return lambda scenario: node("completions.mjs", request.param, scenario, gateway.url)


@pytest.mark.parametrize("scenario", ["stream", "whole"])
def test_a_completion_arrives_with_its_usage(run: Run, scenario: str) -> None:
    assert run(scenario) == {"text": text(8), "completionTokens": 8}


def test_a_stream_that_breaks_off_is_an_error_behind_its_tokens(run: Run) -> None:
    broken = run("broken")
    assert (broken["class"], broken["code"], broken["text"]) == ("APIError", "upstream_error", text(3))


def test_a_failure_before_the_first_token_is_a_status(run: Run) -> None:
    failed = run("failed")
    assert (failed["class"], failed["status"]) == ("InternalServerError", 502)


def test_embeddings_arrive_as_numbers_and_in_base64(run: Run) -> None:
    answer = run("embeddings")
    assert answer["usual"] == answer["numbers"]
    assert [len(vector) for vector in answer["numbers"]] == [8, 8]
    assert answer["isText"]
    assert answer["promptTokens"] > 0


def test_a_body_without_input_is_refused_and_names_it(run: Run) -> None:
    refused = run("refused")
    assert (refused["class"], refused["status"], refused["param"]) == ("BadRequestError", 400, "input")
