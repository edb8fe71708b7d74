"""Pages of other sites: those that may call can, with all that SDKs read; the others cannot, also not blindly."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .keyring import Keyring, MadeKey
from .processes import Gateway
from .rawhttp import RawClient, fetch
from .subscribers import call
from .test_browser import ARGUMENTS, CHROMIUM, PATIENCE_MS
from .upstreams import MODEL, QUICK, Upstream, body, text

APP, EVIL = "https://app.example.com", "https://evil.example.com"
ASKS = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,content-type"}
ASKS |= {"Connection": "close"}  # the end of an answer without a body and its length
COMPLETIONS = "/v1/chat/completions"


class Page:
    """A site of its own: an empty page at another port is another origin."""

    def __init__(self) -> None:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _EmptyPage)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _EmptyPage(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>a page</title>")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def pages() -> Iterator[tuple[Page, Page]]:
    """A site that may call, and one that may not."""
    friend, stranger = Page(), Page()
    yield friend, stranger
    friend.close()
    stranger.close()


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, alpha: Upstream, pages: tuple[Page, Page]) -> Keyring:
    server = f'[server]\nlisten = "127.0.0.1:0"\ncors_origins = ["{APP}", "{pages[0].origin}"]\n'
    return Keyring(tmp_path_factory.mktemp("cors"), [(alpha, [MODEL])], server)


@pytest.fixture(scope="module")
def key(keyring: Keyring) -> MadeKey:
    return keyring.create()


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring, key: MadeKey) -> Iterator[Gateway]:
    gateway = keyring.start(logs)
    try:
        yield gateway
    finally:
        gateway.terminate()


def test_a_preflight_of_an_allowed_origin_needs_no_key_and_allows_what_is_asked(gateway: Gateway) -> None:
    answer = call(gateway, "OPTIONS", COMPLETIONS, Origin=APP, **ASKS)
    assert answer.status == 204
    assert answer.body == b""
    assert answer.headers["access-control-allow-origin"] == APP
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/streams/st_1", "/v1/usage", "/v1/models/a/b", "/v1/nothing"])
def test_a_preflight_is_answered_wherever_a_page_may_want_to_call(gateway: Gateway, path: str) -> None:
    assert call(gateway, "OPTIONS", path, Origin=APP, **ASKS).status == 204


@pytest.mark.parametrize("origin", [EVIL, "null", f"{APP}.evil.com", "http://app.example.com", "http://["])
def test_a_preflight_of_another_origin_is_refused(gateway: Gateway, origin: str) -> None:
    answer = call(gateway, "OPTIONS", COMPLETIONS, Origin=origin, **ASKS)
    assert answer.status == 403
    assert answer.error()["type"] == "permission_error"
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("asked", [b"\xff\xfe", "\u00e9".encode(), b"x" * 5000])
def test_header_names_that_are_none_break_nothing(gateway: Gateway, asked: bytes) -> None:
    head = f"OPTIONS {COMPLETIONS} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nOrigin: {APP}\r\n"
    asks = b"Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: " + asked + b"\r\n\r\n"
    with RawClient(gateway.port) as client:
        client.socket.sendall(head.encode() + asks)
        assert client.answer().status == 204


@pytest.mark.parametrize("streamed", [True, False])
def test_an_allowed_page_gets_its_answer_and_may_read_the_headers(
    gateway: Gateway, key: MadeKey, streamed: bool
) -> None:
    answer = fetch(gateway.port, body(QUICK, stream=streamed), Origin=APP, Authorization=key.bearer)
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == APP
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "x-upstream", "x-ttft-ms", "retry-after", "x-should-retry"} <= set(exposed)
    if streamed:
        assert "x-stream-id" in exposed
        assert answer.text() == text(8)


def test_an_allowed_page_may_read_errors_too(gateway: Gateway, key: MadeKey) -> None:
    for content, authorization, status in ((b"{", key.bearer, 400), (body(QUICK), "Bearer no", 401)):
        answer = call(gateway, "POST", COMPLETIONS, content, Origin=APP, Authorization=authorization)
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == APP


@pytest.mark.parametrize("origin", [EVIL, "null", "http://["])
def test_a_page_that_is_not_allowed_cannot_even_ask(
    gateway: Gateway, key: MadeKey, alpha: Upstream, origin: str
) -> None:
    before = alpha.statistics()
    for path in (COMPLETIONS, "/v1/streams"):
        # As a form or `fetch` with mode no-cors sends it: without a preflight.
        told = {"Content_Type": "text/plain", "Authorization": key.bearer}
        answer = call(gateway, "POST", path, body(QUICK), Origin=origin, **told)
        assert (answer.status, answer.error()["param"]) == (403, "Origin")
        assert "access-control-allow-origin" not in answer.headers
    assert call(gateway, "DELETE", "/v1/streams/st_1", Origin=origin, Authorization=key.bearer).status == 403
    assert alpha.statistics().requests == before.requests


def test_a_page_of_the_gateway_itself_needs_no_permission(gateway: Gateway, key: MadeKey) -> None:
    answer = fetch(gateway.port, body(QUICK), Origin="http://gateway", Authorization=key.bearer)
    assert answer.status == 200  # `gateway` is the host that these requests name


def test_a_gateway_allows_no_origin_unless_told(logs: Path, tmp_path: Path, alpha: Upstream) -> None:
    gateway = Keyring(tmp_path, [(alpha, [MODEL])]).start(logs)
    try:
        answer = call(gateway, "GET", "/v1/models", Origin=APP)
        assert answer.status == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert call(gateway, "OPTIONS", COMPLETIONS, Origin=APP, **ASKS).status == 403
        assert call(gateway, "POST", COMPLETIONS, body(QUICK), Origin=APP).status == 403
        assert call(gateway, "POST", COMPLETIONS, body(QUICK)).status == 200
    finally:
        gateway.terminate()


def test_any_origin_is_a_star_without_credentials(logs: Path, tmp_path: Path, alpha: Upstream) -> None:
    server = '[server]\nlisten = "127.0.0.1:0"\ncors_origins = ["*"]\n'
    gateway = Keyring(tmp_path, [(alpha, [MODEL])], server).start(logs)
    try:
        for answer in (
            call(gateway, "OPTIONS", COMPLETIONS, Origin=EVIL, **ASKS),
            call(gateway, "POST", COMPLETIONS, body(QUICK), Origin=EVIL),
        ):
            assert answer.status in (200, 204)
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers
    finally:
        gateway.terminate()


# --- in a real browser

STREAM = """
async ([url, secret, request]) => {
    const response = await fetch(url, {
        method: "POST",
        headers: {"Authorization": `Bearer ${secret}`, "Content-Type": "application/json"},
        body: JSON.stringify(request),
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let told = "", reads = 0;
    for (;;) {
        const {done, value} = await reader.read();
        if (done) break;
        told += value;
        reads += 1;
    }
    const names = ["x-request-id", "x-stream-id", "x-ratelimit-limit-requests", "server"];
    return {status: response.status, told, reads, headers: names.map(name => response.headers.get(name))};
}
"""
BLIND = """
async ([url, secret, request]) => {
    const response = await fetch(url, {method: "POST", mode: "no-cors", body: JSON.stringify(request)});
    return response.type;
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def test_in_a_browser_an_allowed_page_streams_and_another_one_cannot(
    browser: Any, gateway: Gateway, keyring: Keyring, pages: tuple[Page, Page], alpha: Upstream
) -> None:
    friend, stranger = pages
    key = keyring.create(rpm=100)
    arguments = [f"{gateway.url}/chat/completions", key.secret, body({**QUICK, "gap_ms": 20}, stream=True)]
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    try:
        page.goto(friend.origin)
        seen = page.evaluate(STREAM, arguments)
        assert seen["status"] == 200
        frames = [line[6:] for line in seen["told"].split("\n") if line.startswith("data: {")]
        chunks = [json.loads(frame)["choices"][0]["delta"].get("content") or "" for frame in frames]
        assert "".join(chunks) == text(8)
        assert seen["reads"] > 1  # as it came, not at its end
        request_id, stream_id, limit, server = seen["headers"]
        assert request_id.startswith("req_")
        assert stream_id.startswith("st_")
        assert (limit, server) == ("100", None)  # only what is exposed can be read
        page.goto(stranger.origin)
        before = alpha.statistics()
        refused = page.evaluate(f"arguments => ({STREAM})(arguments).catch(error => error.name)", arguments)
        assert refused == "TypeError"
        assert page.evaluate(BLIND, arguments) == "opaque"
        assert alpha.statistics().requests == before.requests
    finally:
        page.close()
