"""What an upstream says of its error is read with its code and its field, in whichever shape it comes."""

import copy
from typing import Any

import pytest

from gateway.dialects.choices.errors import read_error
from gateway.dialects.dialect import ReportedFailure, UpstreamMessage


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no", "code": "c", "param": "p"}}, UpstreamMessage("no", "c", "p")),
        ({"error": {"message": "no", "code": 17, "param": None}}, UpstreamMessage("no", 17, None)),
        ({"error": "no", "code": "c", "param": "p"}, UpstreamMessage("no")),
        ({"type": "error", "message": "n", "code": "c", "param": "p"}, UpstreamMessage("n", "c", "p", kind="error")),
        ({"detail": "no"}, UpstreamMessage("no")),
    ],
)
def test_code_and_param_are_those_of_a_nested_error(body: dict[str, Any], message: UpstreamMessage) -> None:
    assert read_error(body) == message


def test_a_reported_failure_can_be_copied_as_the_ways_of_an_answer_do() -> None:
    failure = ReportedFailure.of(UpstreamMessage("no", details={"a": 1}), "rate_limit_exceeded")
    copied = copy.copy(failure)
    assert (copied.message, copied.code, copied.told) == (failure.message, "rate_limit_exceeded", failure.told)
    assert copied.envelope() == failure.envelope()
