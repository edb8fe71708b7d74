"""The front door: who is let in, what is read before that, what a refusal costs, and what stays open behind it."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import ENDLESS, MODEL, QUICK, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import RawClient, call, fetch
from tests.kit.keyring import Keyring
from tests.kit.upstreams import Upstream
from tests.kit.waiting import wait_for

BOMB = gzip.compress(b" " * 30_000_000)
GOOD = json.dumps(body(QUICK, stream=True)).encode()


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    """A gateway without keys, with the limits that it has by default."""
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])]), KEYS)
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, alpha: Upstream) -> Keyring:
    server = '[server]\nlisten = "127.0.0.1:0"\nmax_waiting_bytes = 1000000\n'
    return Keyring(tmp_path_factory.mktemp("door"), [(alpha, [MODEL])], server)


@pytest.fixture(scope="module")
def guarded(logs: Path, keyring: Keyring) -> Iterator[Gateway]:
    """A gateway with keys, in which waiting bodies may take a megabyte together."""
    keyring.create()
    gateway = keyring.start(logs)
    yield gateway
    gateway.close()


# --- nothing is inflated for nobody


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/streams", "/v1/models", "/v1/nothing", "/nothing"])
def test_nothing_is_inflated_for_a_caller_that_is_not_known(
    gateway: LocalGateway, guarded: Gateway, path: str
) -> None:
    refused = call(guarded, "POST", path, b"this is no gzip", Content_Encoding="gzip")
    assert refused.status in (401, 404, 405)
    with gateway.watched() as watch:
        answer = call(gateway, "POST", path, BOMB, Content_Encoding="gzip", X_Forwarded_For="1")
    assert answer.status in (401, 404, 405)
    assert watch.longest < 0.05


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "deflate", "raw", "identity", ""])
def test_every_coding_that_is_understood_is_read(gateway: Gateway, coding: str) -> None:
    raw = zlib.compressobj(wbits=-15)
    coded = {
        "deflate": zlib.compress(GOOD),
        "raw": raw.compress(GOOD) + raw.flush(),
        "identity": GOOD,
        "": GOOD,
    }.get(coding, gzip.compress(GOOD, mtime=0))
    name = "deflate" if coding == "raw" else coding
    assert fetch(gateway.port, coded, Content_Encoding=name).text() == text(8)


# --- where a browser begins


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_root_leads_to_the_dashboard(gateway: Gateway, guarded: Gateway, method: str) -> None:
    for server in (gateway, guarded):
        with RawClient(server.port) as client:
            client.request(method, "/")
            head = client.head()
            assert (head.status, head.headers["location"]) == (302, "dashboard")
        assert call(server, "GET", f"/{head.headers['location']}").status == 200
        assert call(server, "POST", "/").status == 405


def test_the_root_is_not_for_a_page_under_another_name(gateway: Gateway) -> None:
    assert call(gateway, "GET", "/", Host="evil.example").status == 403


# --- which versions of HTTP are spoken


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/healthz", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("version", ["2.0", "0.9", "1.2", "2", "3.0", "9.9"])
def test_another_version_of_http_is_refused_in_http11(
    gateway: Gateway, guarded: Gateway, method: str, path: str, version: str
) -> None:
    for server in (gateway, guarded):
        with RawClient(server.port) as client:
            client.request(method, path, GOOD if method == "POST" else b"", version=version)
            answer = client.rest()
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 505 ")
        assert b"\r\nConnection: close" in head
        assert json.loads(content)["error"]["code"] == "http_version_not_supported"


@pytest.mark.parametrize(
    "sent", [b"GET /\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /v1/models HTTP/2\r\n\r\n"]
)
def test_a_client_of_another_version_gets_an_answer_that_it_can_read(gateway: Gateway, sent: bytes) -> None:
    with RawClient(gateway.port) as client:
        client.socket.sendall(sent)
        head, _, content = client.rest().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 505 ")
    assert json.loads(content)["error"]["type"] == "invalid_request_error"


# --- what is closed is told before


@pytest.mark.parametrize(
    ("content", "coding", "status"),
    [
        (b"this is no gzip", "gzip", 400),
        (gzip.compress(GOOD, mtime=0)[:-3], "gzip", 400),
        (gzip.compress(GOOD, mtime=0) + b"more", "gzip", 400),
        (b"this is no deflate", "deflate", 400),
    ],
)
def test_a_broken_compressed_body_is_told_before_the_connection_closes(
    gateway: Gateway, content: bytes, coding: str, status: int
) -> None:
    with RawClient(gateway.port) as client:
        client.post(content, Content_Encoding=coding)
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert client.rest() == b""


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/chat/completions", {"X_Forwarded_For": "1"}, 401),
        ("/v1/chat/completions", {"Host": "evil.example"}, 403),
        ("/v1/chat/completions", {"Content_Encoding": "br"}, 415),
        ("/v1/chat/completions", {"Content_Length": "99999999999"}, 413),
        ("/v1/nothing", {}, 404),
        ("/v1/models", {}, 405),
    ],
)
def test_an_answer_before_the_body_was_read_says_that_the_connection_closes(
    gateway: Gateway, path: str, headers: dict[str, str], status: int
) -> None:
    with RawClient(gateway.port) as client:
        client.request("POST", path, b"", **{"Content_Length": "1000", **headers})
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (status, "close")


def test_an_answer_after_the_body_was_read_keeps_the_connection(gateway: Gateway) -> None:
    with RawClient(gateway.port) as client:
        for content, status in ((b"{", 400), (b"[]", 400), (GOOD, 200), (b"{", 400)):
            client.post(content)
            answer = client.answer()
            assert answer.status == status
            assert "connection" not in answer.headers


def test_the_interim_answer_waits_until_the_caller_is_known(gateway: Gateway) -> None:
    with RawClient(gateway.port) as client:
        fields = {"Expect": "100-continue", "Content_Length": str(len(GOOD))}
        client.request("POST", "/v1/chat/completions", b"", X_Forwarded_For="1", **fields)
        assert client.head().status == 401
    with RawClient(gateway.port) as client:
        client.request("POST", "/v1/chat/completions", b"", **fields)
        assert client.head().status == 100
        client.socket.sendall(GOOD)
        assert client.answer().text() == text(8)


# --- a refusal counts


@pytest.mark.parametrize(
    "bad",
    [
        {"content": b"{"},
        {"content": b'{"model":"m"}'},
        {"content": {**body(QUICK, stream=True), "model": "nobody/has-it"}},
        {"content": {**body(QUICK), "model": "nobody/has-it"}},
        {"content": body(QUICK, stream=True, messages=[1])},
        {"content": b"no gzip", "headers": {"Content_Encoding": "gzip"}},
        {"content": GOOD, "headers": {"Content_Encoding": "br"}},
        {"content": GOOD, "headers": {"X_Usage_Event": "sometimes"}},
        {"content": b" " * 300_000},
    ],
    ids=lambda bad: str(bad)[:60],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/streams"])
def test_a_refused_request_counts_against_the_rate_of_its_key(
    guarded: Gateway, keyring: Keyring, bad: dict[str, Any], path: str
) -> None:
    key = keyring.create(rpm=1)
    headers = {"Authorization": key.bearer, **bad.get("headers", {})}
    first, second = [call(guarded, "POST", path, bad["content"], **headers) for _ in range(2)]
    assert first.status in (400, 404, 415)
    assert (second.status, second.error()["code"]) == (429, "rate_limit_exceeded")
    assert int(second.headers["retry-after"]) > 0
    assert fetch(guarded.port, GOOD, Authorization=key.bearer).status == 429


def test_a_good_request_counts_once(guarded: Gateway, keyring: Keyring) -> None:
    key = keyring.create(rpm=2)
    answers = [fetch(guarded.port, GOOD, Authorization=key.bearer) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "1"


# --- long bodies


def padded(size: int, **fields: Any) -> bytes:
    return json.dumps(body(QUICK, messages=[{"role": "user", "content": "x" * size}], **fields)).encode()


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("size", [20_000, 200_000, 900_000, 6_000_000, 25_000_000])
def test_a_long_request_reaches_its_upstream_whole(
    gateway: Gateway, alpha: Upstream, size: int, stream: bool
) -> None:
    content = padded(size, stream=stream)
    answer = fetch(gateway.port, content)
    assert answer.status == 200
    sent = alpha.statistics().last_request
    assert sent is not None
    assert len(sent["body"]["messages"][0]["content"]) == size


def test_what_waiting_bodies_take_together_is_bounded_and_comes_back(
    guarded: Gateway, keyring: Keyring, alpha: Upstream
) -> None:
    key = keyring.create()
    slow = json.dumps(body({"ttft_ms": 60_000}, stream=True, pad="x" * 700_000)).encode()
    with RawClient(guarded.port) as waiting:
        before = alpha.statistics()
        waiting.post(slow, Authorization=key.bearer)
        alpha.wait_for_request(before)
        for stream, size in ((True, 150_000), (True, 400_000), (False, 400_000)):
            refused = fetch(guarded.port, padded(2 * size, stream=stream), Authorization=key.bearer)
            assert (refused.status, refused.error()["code"]) == (503, "service_unavailable")
            assert int(refused.headers["retry-after"]) > 0
        assert fetch(guarded.port, padded(100_000, stream=True), Authorization=key.bearer).status == 200

    def is_served() -> bool:
        return fetch(guarded.port, padded(800_000, stream=True), Authorization=key.bearer).status == 200

    assert wait_for(is_served, "the room of the client that left")


def test_a_body_gives_its_room_back_when_its_answer_begins(guarded: Gateway, keyring: Keyring) -> None:
    key = keyring.create()
    long = json.dumps(body(ENDLESS, stream=True, pad="x" * 700_000)).encode()
    with RawClient(guarded.port) as running:
        running.post(long, Authorization=key.bearer)
        assert running.head().status == 200
        assert fetch(guarded.port, padded(800_000), Authorization=key.bearer).status == 200
    for _ in range(3):
        wait_for(lambda: _starts(guarded, padded(800_000), key.bearer), "the room of the stream before")


def _starts(gateway: Gateway, content: bytes, bearer: str) -> bool:
    return call(gateway, "POST", "/v1/streams", content, Authorization=bearer).status == 201


# --- lists


def test_the_streams_are_told_page_by_page(logs: Path, alpha: Upstream) -> None:
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])]), KEYS)
    try:
        ids = [json.loads(call(gateway, "POST", "/v1/streams", GOOD).body)["id"] for _ in range(25)][::-1]
        assert _page(gateway, "") == (ids[:20], True)
        assert _page(gateway, "?limit=100") == (ids, False)
        assert _page(gateway, "?limit=25") == (ids, False)
        assert _page(gateway, f"?limit=10&after={ids[9]}") == (ids[10:20], True)
        assert _page(gateway, f"?limit=10&after={ids[19]}") == (ids[20:], False)
        assert _page(gateway, f"?after={ids[24]}") == ([], False)
        for query in ("limit=0", "limit=101", "limit=x", "limit=", "limit=-1", "limit=1e1", "limit=%C2%B2"):
            refused = call(gateway, "GET", f"/v1/streams?{query}")
            assert (refused.status, refused.error()["param"]) == (400, "limit")
        unknown = call(gateway, "GET", "/v1/streams?after=st_unknown")
        assert (unknown.status, unknown.error()["param"]) == (400, "after")
    finally:
        gateway.close()


def _page(gateway: Gateway, query: str) -> tuple[list[str], bool]:
    page = json.loads(call(gateway, "GET", f"/v1/streams{query}").body)
    ids = [stream["id"] for stream in page["data"]]
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return ids, page["has_more"]
