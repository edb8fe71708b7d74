"""Origins, and the proxy that the environment names for one."""

import pytest

from gateway.upstream.dial import Origin, proxy_for

ORIGIN = Origin("api.example.com", 443, True, "/v1")


@pytest.mark.parametrize(
    ("proxies", "expected"),
    [
        ({}, None),
        ({"http": "http://p:1"}, None),
        ({"https": "http://p:1"}, "http://p:1"),
        ({"https": "p:1"}, "http://p:1"),
        ({"https": "user:secret@p:1"}, "http://user:secret@p:1"),
        ({"https": "p:1", "no": "example.com"}, None),
        ({"https": "p:1", "no": ".example.com"}, None),
        ({"https": "p:1", "no": "*"}, None),
        ({"https": "p:1", "no": "api.example.com:443"}, None),
        ({"https": "p:1", "no": "other.com, localhost"}, "http://p:1"),
    ],
)
def test_the_environment_names_the_proxy(proxies: dict[str, str], expected: str | None) -> None:
    assert proxy_for(ORIGIN, proxies) == expected


@pytest.mark.parametrize(
    ("host", "proxies", "expected"),
    [
        ("api.example.com", {"https": "p:1"}, None),
        ("api.example.com", {"https": "p:1", "http": "p:2"}, "http://p:2"),
        ("api.example.com", {"http": "p:2", "no": "example.com"}, None),
        ("10.0.0.7", {"http": "p:2"}, "http://p:2"),
        ("127.0.0.1", {"http": "p:2"}, None),
        ("127.8.0.1", {"http": "p:2"}, None),
        ("::1", {"http": "p:2"}, None),
        ("localhost", {"http": "p:2"}, None),
        ("ollama.localhost", {"http": "p:2"}, None),
    ],
)
def test_plain_http_has_a_variable_of_its_own_and_stays_on_this_machine(
    host: str, proxies: dict[str, str], expected: str | None
) -> None:
    assert proxy_for(Origin(host, 80, False, ""), proxies) == expected


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("https://api.example.com/v1", Origin("api.example.com", 443, True, "/v1"), "api.example.com"),
        ("http://api.example.com", Origin("api.example.com", 80, False, ""), "api.example.com"),
        ("https://api.example.com:8443/a/b/", Origin("api.example.com", 8443, True, "/a/b"), "api.example.com:8443"),
        ("http://[::1]:8080/v1", Origin("::1", 8080, False, "/v1"), "[::1]:8080"),
        ("https://API.Example.com:443", Origin("api.example.com", 443, True, ""), "api.example.com"),
    ],
)
def test_an_origin_is_read_from_a_base_url(url: str, origin: Origin, authority: str) -> None:
    assert Origin.parse(url) == origin
    assert origin.authority == authority
