"""The requests to a source: what they carry, and where a redirect may lead."""

import pytest

from gateway.errors import UpstreamError
from gateway.feeds.source_request import MAX_HOPS, Address, SourceRequests
from gateway.upstream.dial import Dialer, DialLimits, Origin

SECRET = ("Authorization", "Bearer s3cret")


def requests_to(url: str, proxy: str | None = None) -> SourceRequests:
    def dial_to(origin: Origin) -> Dialer:
        return Dialer(origin, DialLimits(1000, 1000), None, proxy)

    return SourceRequests(Address.parse(url), dial_to, (SECRET, ("accept", "application/x-own")))


def test_a_request_names_its_host_its_path_and_the_last_id() -> None:
    requests = requests_to("http://news.example:8080/a/b/?x=1&y=%20")
    head = requests.encode(requests.home, b"id-7").decode().split("\r\n")
    assert head[0] == "GET /a/b/?x=1&y=%20 HTTP/1.1"
    assert {"Host: news.example:8080", "Last-Event-ID: id-7", ": ".join(SECRET)} <= set(head)
    assert [line for line in head if line.lower().startswith("accept:")] == ["accept: application/x-own"]
    assert "Last-Event-ID" not in requests.encode(requests.home, b"").decode()


def test_a_proxy_is_told_the_whole_url_of_a_source_without_tls() -> None:
    requests = requests_to("http://news.example/a", "http://u:p@proxy:3128")
    head = requests.encode(requests.home, b"").decode()
    assert head.startswith("GET http://news.example/a HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic " in head


@pytest.mark.parametrize(
    ("home", "location", "there"),
    [
        ("http://a.example/x/y?q", "z", "http://a.example/x/z"),
        ("http://a.example/x/y?q", "/z?w=1#part", "http://a.example/z?w=1"),
        ("http://a.example/x", "?w", "http://a.example/x?w"),
        ("http://a.example/x", "//b.example/y", "http://b.example/y"),
        ("http://a.example/x", "https://a.example/x", "https://a.example/x"),
        ("https://a.example/x", "https://b.example:444/ü x", "https://b.example:444/%C3%BC%20x"),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:2/x", "http://127.0.0.1:2/x"),
        ("http://source.lan/x", "http://10.0.0.1/x", "http://10.0.0.1/x"),
        ("http://10.0.0.1/x", "https://a.example/x", "https://a.example/x"),
    ],
)
def test_a_redirect_leads_to_another_address_without_the_secrets(home: str, location: str, there: str) -> None:
    requests = requests_to(home)
    found = requests.redirected(requests.home, 307, location, 0)
    assert found.url == there
    assert (b"s3cret" in requests.encode(found, b"")) is (found.origin == requests.home.origin)


@pytest.mark.parametrize(
    ("home", "location", "reason"),
    [
        ("https://a.example/x", "http://a.example/x", "without TLS"),
        ("http://a.example/x", "http://127.0.0.1/x", "private network"),
        ("http://a.example/x", "http://localhost/x", "private network"),
        ("http://a.example/x", "http://169.254.169.254/latest/meta-data", "private network"),
        ("http://a.example/x", "http://[::1]/x", "private network"),
        ("http://a.example/x", "http://intranet/x", "private network"),
        ("http://a.example/x", "ftp://a.example/x", "no URL"),
        ("http://a.example/x", "http://a.example:99999/", "no URL"),
        ("http://a.example/x", "http://a b/", "no URL"),
        ("http://a.example/x", "http://[::1/", "no URL"),
    ],
)
def test_a_redirect_that_could_do_harm_is_not_followed(home: str, location: str, reason: str) -> None:
    requests = requests_to(home)
    with pytest.raises(UpstreamError, match=reason):
        requests.redirected(requests.home, 302, location, 0)


def test_only_so_many_redirects_are_followed() -> None:
    requests = requests_to("http://a.example/x")
    assert requests.redirected(requests.home, 302, "/y", MAX_HOPS - 1).path == "/y"
    with pytest.raises(UpstreamError, match=f"more than {MAX_HOPS} redirects"):
        requests.redirected(requests.home, 302, "/y", MAX_HOPS)
