"""The simulated provider's embeddings: a vector for each text, in the form that was asked for."""

import base64
import struct
from typing import Any

import orjson
import pytest

from gateway.simulate import Script
from gateway.simulate.embeddings import DIMENSIONS, EMBEDDINGS
from gateway.simulate.plan import plan
from gateway.simulate.steps import Close, End, Reset, Send, Stall, Step


def steps_of(body: dict[str, Any], **script: Any) -> list[Step]:
    facts = EMBEDDINGS.facts({"model": "m", **body}, keep_alive=True, chunked=True)
    return list(plan(Script.parse(script), facts, EMBEDDINGS))


def answer(body: dict[str, Any], **script: Any) -> dict[str, Any]:
    data = b"".join(step.data for step in steps_of(body, **script) if isinstance(step, Send))
    value: dict[str, Any] = orjson.loads(data.partition(b"\r\n\r\n")[2])
    return value


@pytest.mark.parametrize(("given", "count"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1], [2], [3]], 3)])
def test_every_text_has_a_vector(given: Any, count: int) -> None:
    told = answer({"input": given})
    assert [(each["index"], len(each["embedding"])) for each in told["data"]] == [
        (index, DIMENSIONS) for index in range(count)
    ]
    assert (told["object"], told["model"]) == ("list", "m")
    assert told["usage"]["prompt_tokens"] == told["usage"]["total_tokens"] > 0


def test_a_vector_in_base64_has_the_same_numbers() -> None:
    numbers = answer({"input": "a", "dimensions": 5})["data"][0]["embedding"]
    encoded = answer({"input": "a", "dimensions": 5, "encoding_format": "base64"})["data"][0]["embedding"]
    assert list(struct.unpack("<5f", base64.b64decode(encoded))) == numbers
    assert numbers != answer({"input": "b", "dimensions": 5})["data"][0]["embedding"]
    assert numbers != answer({"input": "a", "dimensions": 5}, seed=1)["data"][0]["embedding"]


def test_an_answer_is_due_at_the_time_of_the_first_token_and_is_never_streamed() -> None:
    steps = steps_of({"input": "a", "stream": True}, ttft_ms=20)
    assert {step.at for step in steps} == {0.02}
    assert isinstance(steps[-1], End)


@pytest.mark.parametrize(
    ("fault", "last"), [({"stall_after": 0}, Stall), ({"reset_after": 0}, Reset), ({"cut_after": 0}, Close)]
)
def test_a_fault_of_a_script_hits_it(fault: dict[str, Any], last: type[Step]) -> None:
    assert isinstance(steps_of({"input": "a"}, **fault)[-1], last)


def test_an_error_has_the_shape_of_openai() -> None:
    assert answer({"input": "a"}, status=429)["error"]["code"] == "rate_limit_exceeded"
    assert answer({"input": "a"}, error_first=True)["error"]["code"] == "server_error"
    assert "usage" not in answer({"input": "a"}, usage="never")
