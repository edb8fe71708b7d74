"""LangChain's OpenAI(), which asks for text completions, and OpenAIEmbeddings(), as its users write it."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, text
from tests.kit.configuration import KEYS
from tests.kit.dialects import speaking
from tests.kit.gateway import LocalGateway
from tests.kit.upstreams import Upstream

FOLDER = Path(__file__).parent / "langchain"
SCENARIO_SECONDS = 60
INSTALL_SECONDS = 110


@pytest.fixture(scope="session")
def python() -> Path:
    """A Python outside of the repository with the packages that the scenarios import, installed once."""
    requirements = (FOLDER / "requirements.txt").read_bytes() + sys.version.encode()
    folder = Path(tempfile.gettempdir()) / f"rivergate-langchain-{hashlib.sha256(requirements).hexdigest()[:12]}"
    folder.mkdir(exist_ok=True)
    python, done = folder / "venv" / "bin" / "python", folder / "installed"
    with (folder / "lock").open("wb") as lock:  # another worker may be about to do the same
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder / "venv", ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(folder / "venv"))
            _run(str(python), "-m", "pip", "install", "-q", "-r", str(FOLDER / "requirements.txt"))
            done.touch()
    return python


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if ended.returncode:
        pytest.skip(f"{command[2]} failed: {ended.stderr[-300:]}")


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    gateway = LocalGateway(logs, speaking([(alpha, [MODEL])]), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def told(python: Path, gateway: LocalGateway) -> dict[str, Any]:
    """What came of each scenario; all are run by one process, since to import LangChain takes seconds."""
    command = [str(python), str(FOLDER / "scenarios.py"), gateway.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SCENARIO_SECONDS, env={}, check=False)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
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
