"""Which pages may call, and what they are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.cors import Cors

APP, EVIL = "https://app.example.com", "https://evil.example.com"


def test_by_default_no_page_may_call_and_nothing_is_told() -> None:
    cors = Cors([])
    assert not cors.allows(APP)
    assert cors.headers(APP) == {}
    assert cors.headers(None) == {}


@pytest.mark.parametrize(
    "origin",
    [EVIL, "null", "", "http://app.example.com", "https://app.example.com:8443", f"{APP}.evil.com", f"{APP}/", "*"],
)
def test_an_origin_is_allowed_to_the_letter(origin: str) -> None:
    cors = Cors([APP])
    assert cors.allows(APP)
    assert not cors.allows(origin)
    assert cors.headers(origin) == {"Vary": "Origin"}


def test_an_allowed_origin_is_told_so_by_its_name_and_may_read_the_headers() -> None:
    headers = Cors([APP]).headers(APP)
    assert headers["Access-Control-Allow-Origin"] == APP
    assert headers["Vary"] == "Origin"
    exposed = headers["Access-Control-Expose-Headers"].split(", ")
    for name in ("x-request-id", "x-stream-id", "retry-after", "x-should-retry", "x-credits-balance-microdollars"):
        assert name in exposed


def test_caches_are_told_that_the_answer_depends_on_the_origin_also_without_one() -> None:
    assert Cors([APP]).headers(None) == {"Vary": "Origin"}


def test_any_origin_is_a_star_and_never_with_credentials() -> None:
    cors = Cors(["*"])
    headers = {**cors.headers(EVIL), **cors.preflight("authorization")}
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:3000", True),
        ("http://localhost:80", True),
        ("http://localhost:\u0663", False),
        ("http://localhost", False),
        ("http://localhost:", False),
        ("http://localhost:80.evil.com", False),
        ("http://localhost.evil.com:80", False),
        ("https://localhost:3000", False),
    ],
)
def test_a_star_for_the_port_is_any_port_and_nothing_else(origin: str, allowed: bool) -> None:
    assert Cors(["http://localhost:*"]).allows(origin) == allowed


@pytest.mark.parametrize(
    ("origin", "host", "foreign"),
    [
        (None, "gate:8080", False),  # no page at all
        (APP, "gate:8080", False),
        ("http://gate:8080", "gate:8080", False),  # a page of our own
        ("http://GATE:8080", "gate:8080", False),
        (EVIL, "gate:8080", True),
        ("https://gate:8080", "gate:8080", False),
        ("tauri://gate:8080", "gate:8080", True),  # a page of a program, which is no page of the web
        ("app://gate", "gate", True),
        ("http://gate:9090", "gate:8080", True),
        ("http://gate:8080.evil.com", "gate:8080", True),
        ("null", "gate:8080", True),  # a sandboxed frame, a file
        ("http://[", "gate:8080", True),
        (EVIL, None, True),
    ],
)
def test_a_page_of_another_site_is_told_from_our_own(origin: str | None, host: str | None, foreign: bool) -> None:
    assert Cors([APP]).is_foreign(origin, host) == foreign


@given(st.text(), st.text(min_size=1))
def test_no_origin_that_can_be_sent_breaks_anything(origin: str, host: str) -> None:
    cors = Cors([APP])
    assert cors.is_foreign(origin, host) in (True, False)
    assert cors.headers(origin)


def test_a_preflight_allows_the_headers_it_asks_for_and_our_methods() -> None:
    headers = Cors([APP]).preflight("authorization,content-type,x-stainless-os")
    assert headers["Access-Control-Allow-Headers"] == "authorization,content-type,x-stainless-os"
    assert {"GET", "POST", "DELETE"} <= set(headers["Access-Control-Allow-Methods"].split(", "))
    assert int(headers["Access-Control-Max-Age"]) > 0
    assert len(Cors([APP]).preflight("x" * 100_000)["Access-Control-Allow-Headers"]) < 10_000
    assert "Authorization" in Cors([APP]).preflight("")["Access-Control-Allow-Headers"]
