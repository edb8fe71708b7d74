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


def test_plain_http_goes_direct() -> None:
    assert proxy_for(Origin("api.example.com", 80, False, ""), {"https": "p:1", "http": "p:1"}) is None


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
