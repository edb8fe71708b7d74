"""LangChain's OpenAI(), which asks for text completions, and OpenAIEmbeddings(), as its users write it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.upstreams import Upstream
from tests.kit.venvs import installed_python, told_by

pytestmark = pytest.mark.deep

FOLDER = Path(__file__).parent / "langchain"


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])]), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def told(gateway: LocalGateway) -> dict[str, Any]:
    """What came of each scenario; all are run by one process, since to import LangChain takes seconds."""
    python = installed_python("langchain", FOLDER / "requirements.txt")
    found: dict[str, Any] = told_by(python, FOLDER / "scenarios.py", gateway.url)
    return found


def test_a_completion_arrives(told: dict[str, Any]) -> None:
    assert told["invoke"] == text(8)


@pytest.mark.parametrize("scenario", ["stream", "astream"])
def test_a_streamed_completion_arrives_word_by_word(told: dict[str, Any], scenario: str) -> None:
    parts = told[scenario]
    assert "".join(parts) == text(8)
    assert len([part for part in parts if part]) == 8


def test_several_prompts_of_one_request_have_their_answers(told: dict[str, Any]) -> None:
    answer = told["batch"]
    assert answer["texts"] == [text(8)] * 2
    assert answer["usage"]["completion_tokens"] == 16


def test_a_stream_that_breaks_off_is_an_error_behind_its_tokens(told: dict[str, Any]) -> None:
    assert told["broken"] == {"class": "APIError", "text": text(3)}


def test_a_failure_before_the_first_token_is_a_status(told: dict[str, Any]) -> None:
    assert told["failed"] == {"class": "InternalServerError", "status": 502}


def test_texts_have_vectors(told: dict[str, Any]) -> None:
    answer = told["embed"]
    assert [len(vector) for vector in answer["documents"]] == [8, 8]
    assert answer["query"] == answer["documents"][0]


def test_many_texts_are_asked_for_in_several_requests(told: dict[str, Any]) -> None:
    assert told["embed_many"] == 250
