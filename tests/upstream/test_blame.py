"""Whose fault an error answer is: what a client could have put into a refusal never counts against an upstream."""

from typing import Any

import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.errors import RivergateError, UpstreamCredentialRefused, UpstreamOutOfCredit, UpstreamRefused
from gateway.routing.health import Breaker, BreakerRules, Health
from gateway.upstream.blame import ErrorAnswer, blame


def error(status: int, body: dict[str, Any]) -> RivergateError:
    return blame(ErrorAnswer(status, CHAT.read_error(body), None))


@pytest.mark.parametrize(
    ("status", "body", "guess"),
    [
        (401, {"error": {"message": "no"}}, False),
        (403, {"error": {"message": "no"}}, False),
        (400, {"error": {"message": "no", "code": "invalid_api_key"}}, False),
        (429, {"error": {"message": "no", "type": "insufficient_quota"}}, False),
        (400, {"error": {"message": "Your credit balance is too low"}}, True),
        (400, {"error": {"message": "Unknown field: the api key is invalid"}}, True),
        (400, {"error": {"message": "bad temperature"}}, False),
    ],
)
def test_what_only_words_tell_is_a_guess(status: int, body: dict[str, Any], guess: bool) -> None:
    assert error(status, body).is_guess is guess


def test_no_request_can_open_a_breaker_by_words_that_its_refusal_repeats() -> None:
    health = Health(BreakerRules(failures=1))
    health.on_failed(health.on_start(0.0), error(400, {"error": {"message": "invalid api key"}}), 0.0)
    assert health.breaker is Breaker.CLOSED
    health.on_failed(health.on_start(0.0), error(401, {"error": {"message": "invalid api key"}}), 0.0)
    assert health.breaker is Breaker.OPEN


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "content_policy_violation", UpstreamRefused),
        (403, "data_inspection_failed", UpstreamRefused),
        (400, "UNAUTHENTICATED", UpstreamCredentialRefused),
        (400, "Arrearage", UpstreamOutOfCredit),
        (403, "billing_not_active", UpstreamOutOfCredit),
    ],
)
def test_a_code_tells_more_than_the_status(status: int, code: str, kind: type[RivergateError]) -> None:
    assert type(error(status, {"error": {"message": "no", "code": code}})) is kind


@pytest.mark.parametrize("code", ["a b", "x" * 65, "", "400", "\u00e4", "1234567890"])
def test_an_odd_code_is_not_passed_on(code: str) -> None:
    assert error(400, {"error": {"message": "no", "code": code}}).code == "invalid_request"


def test_the_name_of_a_field_is_cut() -> None:
    assert len(error(400, {"error": {"message": "no", "param": "p" * 999}}).param or "") == 80
