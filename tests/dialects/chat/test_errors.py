"""What an upstream says of its error is read with its code and its field, in whichever shape it comes."""

from typing import Any

import pytest

from gateway.dialects.chat.errors import read_error
from gateway.dialects.dialect import UpstreamMessage


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
