"""Answers with an error status or an unexpected type: whose fault they are, and in whose words clients hear of it."""

import orjson
import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.errors import (
    RateLimited,
    RivergateError,
    UpstreamCredentialRefused,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnable,
)
from gateway.upstream.error_body import MAX_ERROR_BYTES, ErrorBody, ErrorHead

from .body_owner import Owner

NOW = 1_445_412_400.0  # 20 seconds before the date in the cases


def refused(status: int, data: bytes = b"", **headers: str) -> RivergateError:
    owner = Owner()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = ErrorBody(owner, CHAT, ErrorHead(status, named, "an event stream", NOW))
    for start in range(0, len(data), 999):
        body.feed(data[start : start + 999])
    body.finish()
    body.finish()
    assert owner.calls == ["broken"]
    assert owner.error is not None
    return owner.error


@pytest.mark.parametrize("status", [400, 413, 422])
def test_the_clients_fault_is_told_in_the_upstreams_words(status: int) -> None:
    error = refused(
        status, b'{"error": {"message": "too hot", "type": "t", "code": "invalid_value", "param": "temperature"}}'
    )
    assert type(error) is UpstreamRefused
    assert error.message == "too hot"
    assert (error.quoted, error.code, error.param, error.status) == (
        "too hot",
        "invalid_value",
        "temperature",
        status,
    )
    assert error.headers() == {"x-should-retry": "false"}


@pytest.mark.parametrize("code", [17, None, "", [], {}])
def test_an_odd_code_or_param_is_not_passed_on(code: object) -> None:
    error = refused(400, orjson.dumps({"error": {"message": "no", "code": code, "param": code or 5}}))
    assert (error.code, error.param) == ("invalid_request", None)


def test_what_an_upstream_says_of_our_credential_is_not_passed_on() -> None:
    error = refused(401, b'{"error": {"message": "Incorrect API key provided: sk-never-to-be-told"}}')
    assert type(error) is UpstreamCredentialRefused
    assert error.message == "it refused the gateway's credential (HTTP 401)"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7), (" 7 ", 7), ("0", 0), ("0.2", 1), ("3.5", 4), ("121", 121), ("3600", 3600), ("9999999", 9999999)]
    + [("Wed, 21 Oct 2015 07:27:00 GMT", 20), ("Wed, 21 Oct 2015 07:20:00 GMT", 0), ("20s", 20), ("1m30s", 90)]
    + [(text, None) for text in ("", "-1", "1e3", "\u0667", "nan", "inf", "soon", "99999999999999999999")],
)
def test_retry_after_is_told_in_whole_seconds_and_never_too_short(text: str, seconds: int | None) -> None:
    for status in (429, 503):
        assert refused(status, b"", retry_after=text).retry_after == seconds
    assert isinstance(refused(429, b"", retry_after=text), RateLimited)


@pytest.mark.parametrize("status", [300, 304, 408, 409, 425, 500, 502, 529, 599])
def test_what_may_pass_is_the_upstreams_fault(status: int) -> None:
    assert refused(status).message == f"HTTP {status}"
    assert refused(status, b"<html>").message == f"HTTP {status}"
    assert refused(status, b'{"error": "no"}').message == f"HTTP {status}: no"
    assert type(refused(status)) is UpstreamError


@pytest.mark.parametrize("status", [402, 404, 405, 410, 418])
def test_what_one_upstream_cannot_serve_another_one_may(status: int) -> None:
    error = refused(status, b'{"error": "no"}')
    assert type(error) is UpstreamUnable
    assert (error.status, error.message, error.another_may_help) == (status, "no", True)
    assert error.headers() == {"x-should-retry": "false"}


@pytest.mark.parametrize("status", [419, 430, 460, 498])
def test_a_status_that_http_does_not_know_becomes_400(status: int) -> None:
    assert refused(status).status == 400


def test_what_is_read_of_a_message_is_bounded() -> None:
    assert len(refused(500, orjson.dumps({"error": {"message": "x" * 9999}})).message) < 2100
    assert len(refused(200, b"<html>", content_type="x" * 9999).message) < 200


@pytest.mark.parametrize("extra", [0, 1])
def test_an_error_body_has_a_limit(extra: int) -> None:
    owner = Owner()
    body = ErrorBody(owner, CHAT, ErrorHead(500, {}, "an event stream"))
    body.feed(b"x" * (MAX_ERROR_BYTES + extra))
    assert owner.calls == (["broken"] if extra else [])
    body.feed(b"x")
    assert owner.calls == ["broken"]
