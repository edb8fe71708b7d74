"""The strictest client understands every error of the tree, and each error says whether another try can help."""

from typing import Any

import pytest
from auriko.errors import mapping

from gateway import errors
from gateway.endings import Ending
from gateway.errors import RivergateError

TYPES = (
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "rate_limit_error",
    "api_error",
)


def tree(root: type[RivergateError]) -> list[type[RivergateError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in tree(child))]


ALL = [kind for kind in tree(RivergateError) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_a_type_and_a_code_that_clients_know(kind: type[RivergateError]) -> None:
    error = kind("no")
    assert error.envelope() == {"error": {"message": "no", "type": kind.type, "code": kind.code, "param": None}}
    assert kind.type in TYPES
    assert kind.code.isidentifier()
    assert isinstance(kind.ending, Ending)
    assert 400 <= kind.status < 600


@pytest.mark.parametrize("kind", ALL)
def test_a_strict_client_reads_the_envelope_of_every_error(kind: type[RivergateError]) -> None:
    error = kind("no", param="model")
    mapped = mapping._map_error_from_envelope(  # noqa: SLF001 - the client's own reader, which has no public name
        status_code=error.status, body=error.envelope(), response_headers=None
    )
    assert (mapped.status_code, mapped.type, mapped.code, mapped.param) == (
        error.status,
        error.type,
        error.code,
        "model",
    )


@pytest.mark.parametrize("kind", ALL)
def test_the_client_is_told_not_to_repeat_what_is_its_own_fault(kind: type[RivergateError]) -> None:
    headers = kind("no").headers()
    if issubclass(kind, errors.UpstreamCredentialRefused | errors.UpstreamOutOfCredit):
        assert (kind.status, headers) == (502, {"x-should-retry": "false"})
    elif issubclass(kind, errors.ClientError) and kind is not errors.RequestTimeout:
        assert kind.status < 500 or kind is errors.VersionNotSupported  # 505: the only one above
        assert headers == {"x-should-retry": "false"}
    else:
        assert kind.status in (408, 429, 500, 502, 503, 504)
        assert headers == {}


def test_each_error_is_at_one_fault_only() -> None:
    blamed = (errors.ClientError, errors.UpstreamError, errors.GatewayError, errors.RateLimited)
    for kind in ALL:
        if kind is not RivergateError:
            assert sum(issubclass(kind, blame) for blame in blamed) == 1


@pytest.mark.parametrize(
    ("kind", "status", "type_", "code"),
    [
        (errors.ClientError, 400, "invalid_request_error", "invalid_request"),
        (errors.InvalidParameter, 400, "invalid_request_error", "invalid_parameter_value"),
        (errors.AuthenticationFailed, 401, "authentication_error", "invalid_api_key"),
        (errors.InsufficientQuota, 402, "rate_limit_error", "insufficient_quota"),
        (errors.PermissionDenied, 403, "permission_error", "insufficient_permissions"),
        (errors.ModelNotFound, 404, "not_found_error", "model_not_found"),
        (errors.NotFound, 404, "not_found_error", "resource_not_found"),
        (errors.StreamKeyConflict, 409, "invalid_request_error", "stream_key_conflict"),
        (errors.PayloadTooLarge, 413, "invalid_request_error", "payload_too_large"),
        (errors.RateLimited, 429, "rate_limit_error", "rate_limit_exceeded"),
        (errors.UpstreamError, 502, "api_error", "upstream_error"),
        (errors.ServiceUnavailable, 503, "api_error", "service_unavailable"),
        (errors.NoProviderAvailable, 503, "api_error", "no_provider_available"),
        (errors.TtftBudgetExceeded, 504, "api_error", "ttft_budget_exceeded"),
    ],
)
def test_the_table_of_the_design_holds(kind: type[RivergateError], status: int, type_: str, code: str) -> None:
    assert (kind.status, kind.type, kind.code) == (status, type_, code)


def test_a_wait_is_told_in_whole_seconds() -> None:
    assert errors.RateLimited("no", retry_after=3).headers() == {"Retry-After": "3", "x-should-retry": "true"}
    assert errors.RateLimited("no", retry_after=0).headers() == {"Retry-After": "0"}


@pytest.mark.parametrize("seconds", [60, 61])
def test_a_wait_that_is_longer_than_sdks_sleep_is_told_in_words_only(seconds: int) -> None:
    error = errors.RateLimited("no", retry_after=seconds)
    if seconds <= errors.LONGEST_RETRY_AFTER:
        assert (error.message, error.headers()["Retry-After"]) == ("no", "60")
    else:
        assert (error.message, error.headers()) == ("no (retry after 61 seconds)", {"x-should-retry": "false"})


def test_the_details_of_an_upstream_never_take_the_place_of_a_member_of_ours() -> None:
    error = errors.UpstreamError("no")
    error.quote_details({"message": "m", "type": "t", "code": 1, "param": 2, "status": "X"})
    assert error.envelope()["error"] == {
        "message": "no",
        "type": "api_error",
        "code": "upstream_error",
        "param": None,
        "status": "X",
    }


def test_every_part_of_an_error_that_is_an_upstreams_is_cleaned_and_cut() -> None:
    error = errors.UpstreamRefused("no", quoted="key " + "x" * 600, code="key", param="key")
    error.quote_details({"key": ["key", {"a": "key" + "y" * 600, "n": 1}]})
    error.redact(_clean)
    assert (error.message, error.code, error.param) == (("[] " + "x" * 600)[:500], "invalid_request", "[]")
    assert error.quoted_details == {"[]": ["[]", {"a": ("[]" + "y" * 600)[:500], "n": 1}]}


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {_clean(name): _clean(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_clean(entry) for entry in value]
    return value.replace("key", "[]") if isinstance(value, str) else value


def test_a_code_of_its_own_belongs_to_one_error_and_not_to_its_class() -> None:
    assert errors.UpstreamRefused("no", code="context_length_exceeded").code == "context_length_exceeded"
    assert errors.UpstreamRefused("no").code == "invalid_request"


def test_blame_puts_the_upstream_before_the_message() -> None:
    error = errors.UpstreamError("HTTP 500")
    error.blame("alpha")
    assert error.envelope()["error"]["message"] == "alpha: HTTP 500"


def test_a_configuration_error_holds_every_fault_on_its_line() -> None:
    error = errors.ConfigError(["a: bad", "b: worse"])
    assert error.faults == ["a: bad", "b: worse"]
    assert str(error) == "a: bad\nb: worse"
