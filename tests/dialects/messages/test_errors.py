"""An error in Anthropic's envelope: the type by which clients choose what to do, and the status that goes with it."""

from typing import Any

import orjson
import pytest

from gateway import errors
from gateway.dialects.count_tokens.dialect import COUNT_TOKENS
from gateway.dialects.dialect import ReportedFailure, UpstreamMessage
from gateway.dialects.messages.dialect import MESSAGES
from gateway.errors import RivergateError, UpstreamError
from gateway.upstream.blame import ErrorAnswer, blame


def refused(error: RivergateError) -> tuple[int, dict[str, Any]]:
    refusal = MESSAGES.refusal(error, "req-1")
    assert refusal == COUNT_TOKENS.refusal(error, "req-1")
    return refusal.status, orjson.loads(refusal.body)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.InvalidParameter("x"), 400, "invalid_request_error"),
        (errors.AuthenticationFailed("x"), 401, "authentication_error"),
        (errors.InsufficientQuota("x"), 402, "billing_error"),
        (errors.CostExceeded("x"), 402, "billing_error"),
        (errors.PermissionDenied("x"), 403, "permission_error"),
        (errors.ModelNotFound("x"), 404, "not_found_error"),
        (errors.MethodNotAllowed("x"), 405, "invalid_request_error"),
        (errors.RequestTimeout("x"), 408, "invalid_request_error"),
        (errors.StreamKeyConflict("x"), 409, "invalid_request_error"),
        (errors.PayloadTooLarge("x"), 413, "request_too_large"),
        (errors.RateLimited("x"), 429, "rate_limit_error"),
        (errors.RivergateError("x"), 500, "api_error"),
        (errors.UpstreamError("x"), 502, "api_error"),
        (errors.NoProviderAvailable("x"), 503, "overloaded_error"),
        (errors.Draining("x"), 503, "overloaded_error"),
        (errors.TtftBudgetExceeded("x"), 504, "timeout_error"),
    ],
)
def test_the_type_follows_from_the_status(error: RivergateError, status: int, kind: str) -> None:
    told = {"type": kind, "message": "x", "details": {"error_code": error.code}}
    assert refused(error) == (status, {"type": "error", "error": told, "request_id": "req-1"})


def answered(status: int, body: dict[str, Any], wait: int | None = None) -> RivergateError:
    return blame(ErrorAnswer(status, MESSAGES.read_error(body), wait))


def told(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_x"}


@pytest.mark.parametrize(
    ("status", "kind", "expected", "expected_kind"),
    [
        (400, "invalid_request_error", 400, "invalid_request_error"),
        (401, "authentication_error", 502, "api_error"),
        (403, "permission_error", 502, "api_error"),
        (404, "not_found_error", 404, "not_found_error"),
        (413, "request_too_large", 413, "request_too_large"),
        (429, "rate_limit_error", 429, "rate_limit_error"),
        (500, "api_error", 502, "api_error"),
        (529, "overloaded_error", 529, "overloaded_error"),
    ],
)
def test_an_error_answer_of_the_upstream_reaches_the_client(
    status: int, kind: str, expected: int, expected_kind: str
) -> None:
    found, body = refused(answered(status, told(kind, "the words")))
    assert (found, body["error"]["type"]) == (expected, expected_kind)
    assert ("the words" in body["error"]["message"]) is (status not in (401,))


def test_a_wait_is_passed_on() -> None:
    for status in (429, 529):
        refusal = MESSAGES.refusal(answered(status, told("x", "y"), wait=7), "req-1")
        assert refusal.headers == {"Retry-After": "7", "x-should-retry": "true"}


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        ("overloaded_error", 529, "overloaded_error"),
        ("timeout_error", 502, "timeout_error"),
        ("permission_error", 502, "api_error"),
        ("", 502, "api_error"),
    ],
)
def test_an_error_inside_of_an_answer_keeps_the_type_that_clients_act_on(
    kind: str, status: int, expected: str
) -> None:
    failure = ReportedFailure.of(UpstreamMessage("no", kind=kind))
    found, body = refused(failure)
    assert (found, body["error"]["type"]) == (status, expected)
    assert body["error"]["message"] == "the upstream reported an error: no"


def test_what_an_upstream_and_the_gateway_add_is_kept() -> None:
    error = UpstreamError("x")
    error.quote_details({"hint": "h", "type": "mine", "details": {"error_code": "theirs"}})
    error.add_details({"routing_metadata": {"attempts": []}})
    assert refused(error)[1] == {
        "type": "error",
        "error": {"type": "api_error", "message": "x", "hint": "h", "details": {"error_code": "theirs"}},
        "request_id": "req-1",
        "routing_metadata": {"attempts": []},
    }
