"""The bytes of a request as the settings of an upstream make them, and what no message repeats."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from gateway.config import UpstreamSettings
from gateway.errors import ConfigError, UpstreamError
from gateway.upstream.endpoint import Endpoint

MODELS = [{"id": "m"}]


def endpoint(
    base_url: str = "https://api.example.com/v1", proxies: dict[str, str] | None = None, **settings: Any
) -> Endpoint:
    upstream = UpstreamSettings.model_validate({"name": "u", "base_url": base_url, "models": MODELS, **settings})
    return Endpoint.build(upstream, 60.0, proxies or {})


def head(endpoint: Endpoint, client: dict[str, str] | None = None) -> tuple[str, dict[str, str]]:
    """The request line, and the header fields by their names as they are sent."""
    more = endpoint.forward(client or {})
    request = endpoint.encode("/chat/completions", b"{}", streamed=True, request_id="r", more_fields=more)
    assert isinstance(request, bytes)
    text, _, body = request.partition(b"\r\n\r\n")
    line, *fields = text.decode("ascii").split("\r\n")
    assert body == b"{}"
    named = [(name, value) for name, _, value in (field.partition(": ") for field in fields)]
    assert len({name.lower() for name, _ in named}) == len(named), "a field is sent once"
    return line, dict(named)


def test_a_plain_upstream_gets_a_plain_request() -> None:
    assert head(endpoint(api_key=SecretStr("sk-1"))) == (
        "POST /v1/chat/completions HTTP/1.1",
        {
            "Host": "api.example.com",
            "User-Agent": head(endpoint())[1]["User-Agent"],
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "Authorization": "Bearer sk-1",
            "Accept": "text/event-stream",
            "x-request-id": "r",
            "Content-Length": "2",
        },
    )
    plain = endpoint()
    assert plain.changes is None
    assert plain.forwarded == ()


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        ({"auth_header": "api-key"}, "api-key", "sk-1"),
        ({"auth_header": "api-key", "auth_scheme": "Key"}, "api-key", "Key sk-1"),
        ({"auth_scheme": ""}, "Authorization", "sk-1"),
        ({"auth_scheme": "Token"}, "Authorization", "Token sk-1"),
        ({"auth_header": "authorization"}, "authorization", "Bearer sk-1"),
    ],
)
def test_the_key_goes_where_and_how_the_upstream_wants_it(settings: dict[str, Any], name: str, value: str) -> None:
    fields = head(endpoint(api_key=SecretStr("sk-1"), **settings))[1]
    assert [other for other, content in fields.items() if "sk-1" in content] == [name]
    assert fields[name] == value


def test_fixed_and_secret_headers_go_with_every_request_and_replace_our_user_agent() -> None:
    fields = head(
        endpoint(headers={"user-agent": "app/1", "X-Title": "An app"}, secret_headers={"X-Token": SecretStr("t")})
    )[1]
    assert (fields["user-agent"], fields["X-Title"], fields["X-Token"]) == ("app/1", "An app", "t")
    assert "User-Agent" not in fields


def test_a_query_stands_behind_the_path_and_is_encoded() -> None:
    azure = endpoint("https://x.example/openai/deployments/g", query={"api-version": "2026-01-01", "a": "b c&d/é"})
    line, _ = head(azure)
    path = "/openai/deployments/g/chat/completions?api-version=2026-01-01&a=b%20c%26d%2F%C3%A9"
    assert line == f"POST {path} HTTP/1.1"
    assert azure.encode_question("/models").startswith(b"GET /openai/deployments/g/models?api-version=2026-01-01&a=")


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("beta=true", "?beta=true"),
        ("beta=true&key=rg_CjKzP0VVvULVxp87FIOHc3J127f7QZpaO&a=1", "?beta=true&a=1"),
        ("token=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl", ""),
        ("token=rgv%5Fk1_1796062302_c3RyZWFtOnN0X2E%2Ec2lnbmF0dXJl&b=2", "?b=2"),
    ],
)
def test_a_key_of_the_client_in_its_query_goes_to_no_upstream(query: str, sent: str) -> None:
    question = endpoint("https://x.example/v1").encode_question("/responses/r", query=query)
    assert question.startswith(f"GET /v1/responses/r{sent} HTTP/1.1".encode())


@pytest.mark.parametrize(
    ("client", "sent"),
    [
        ({"openai-organization": "org-1", "x-other": "y"}, {"openai-organization": "org-1", "x-title": "fixed"}),
        ({"x-title": "mine"}, {"x-title": "mine"}),
        ({"openai-organization": "é", "x-title": "a\x7fb"}, {"x-title": "fixed"}),
        ({"openai-organization": ""}, {"x-title": "fixed"}),
        ({"openai-organization": "org-1", "connection": "close, OpenAI-Organization"}, {"x-title": "fixed"}),
    ],
)
def test_a_clients_header_is_passed_on_if_it_is_plain_else_the_fixed_one(
    client: dict[str, str], sent: dict[str, str]
) -> None:
    upstream = endpoint(forward_headers=["OpenAI-Organization", "X-Title"], headers={"X-Title": "fixed"})
    plain = head(endpoint())[1]
    assert {name: value for name, value in head(upstream, client)[1].items() if name not in plain} == sent


def test_a_forwarded_user_agent_is_ours_where_the_client_has_none() -> None:
    upstream = endpoint(forward_headers=["User-Agent"])
    assert head(upstream, {"user-agent": "app/1"})[1]["user-agent"] == "app/1"
    assert head(upstream)[1]["user-agent"].startswith("rivergate/")


def test_no_message_repeats_a_secret_of_the_upstream() -> None:
    upstream = endpoint(
        api_key=SecretStr("sk-1"),
        secret_headers={"X-A": SecretStr("Bearer token-of-x"), "X-B": SecretStr("on")},
        proxy="http://user:pass%2Fword@proxy:1",
    )
    error = UpstreamError(
        "no", quoted="sk-1, Bearer token-of-x, token-of-x, on, Basic dXNlcjpwYXNzL3dvcmQ=, pass/word"
    )
    upstream.redact(error)
    assert error.quoted == "[redacted], [redacted], [redacted], on, [redacted], [redacted]"
    assert not any(secret in repr(upstream) for secret in ("sk-1", "token-of-x", "pass", "dXNlc"))


@pytest.mark.parametrize("base_url", ["http://vllm.example/v1", "https://api.example.com/v1"])
def test_no_message_repeats_the_credential_of_a_proxy_that_the_environment_names(base_url: str) -> None:
    upstream = endpoint(base_url, dict.fromkeys(("http", "https"), "http://user:hidden-word@proxy:1"))
    error = UpstreamError("no", quoted="Proxy-Authorization: Basic dXNlcjpoaWRkZW4td29yZA==; hidden-word")
    upstream.redact(error)
    assert error.quoted == "Proxy-Authorization: [redacted]; [redacted]"


# --- the proxy

PROXY = "http://user:p@proxy.example:3128"


def test_a_plain_origin_behind_a_proxy_gets_the_absolute_form_and_our_credential() -> None:
    line, fields = head(endpoint("http://vllm.example:8000/v1", proxy=PROXY))
    assert line == "POST http://vllm.example:8000/v1/chat/completions HTTP/1.1"
    assert (fields["Host"], fields["Proxy-Authorization"]) == ("vllm.example:8000", "Basic dXNlcjpw")


def test_a_tls_origin_behind_a_proxy_never_sees_the_proxys_credential() -> None:
    line, fields = head(endpoint(proxy=PROXY))
    assert line == "POST /v1/chat/completions HTTP/1.1"
    assert "Proxy-Authorization" not in fields


@pytest.mark.parametrize(
    ("base_url", "proxy", "absolute"),
    [
        ("http://vllm.example/v1", None, True),
        ("http://vllm.example/v1", "none", False),
        ("http://exempt.example/v1", None, False),
        ("http://127.0.0.1:8000/v1", None, False),
        ("http://localhost:8000/v1", None, False),
        ("http://127.0.0.1:8000/v1", PROXY, True),
    ],
)
def test_the_setting_comes_before_the_environment_and_this_machine_is_reached_straight(
    base_url: str, proxy: str | None, absolute: bool
) -> None:
    environment = {"http": "http://other:1", "no": "exempt.example"}
    line, _ = head(endpoint(base_url, environment, **({"proxy": proxy} if proxy else {})))
    assert line.startswith("POST http://") is absolute


# --- the client certificate


def test_an_unusable_client_certificate_is_a_fault_that_names_its_file(tmp_path: Path) -> None:
    file = tmp_path / "client.pem"
    file.write_text("no certificate")
    with pytest.raises(ConfigError) as caught:
        endpoint(tls_client_cert_file=str(file))
    assert caught.value.faults[0].startswith(f"tls_client_cert_file: cannot use {file}: ")


def test_what_a_dialect_passes_on_has_a_default_that_the_configuration_and_the_client_replace() -> None:
    settings = {"name": "a", "base_url": "http://127.0.0.1:1/v1", "dialects": ["messages"], "models": [{"id": "m"}]}
    plain = Endpoint.build(UpstreamSettings.model_validate(settings), 1.0, {})
    dated = Endpoint.build(
        UpstreamSettings.model_validate({**settings, "headers": {"Anthropic-Version": "2024-01-01"}}), 1.0, {}
    )
    assert b"anthropic-version: 2023-06-01\r\n" in plain.encode_question("/models")
    assert b"anthropic-version: 2024-01-01\r\n" in dated.encode_question("/models")
    assert plain.forward({"anthropic-version": "2025-01-01"}) == "anthropic-version: 2025-01-01\r\n"
    assert plain.forward({}) == "anthropic-version: 2023-06-01\r\n"
