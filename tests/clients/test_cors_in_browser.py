"""Pages of other sites in a real browser: one that may call streams, another one cannot even ask."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, QUICK, body, text
from tests.kit.gateway import Gateway
from tests.kit.keyring import Keyring, MadeKey
from tests.kit.upstreams import Upstream

pytestmark = pytest.mark.deep


class Page:
    """A site with an empty page at a port of its own, which makes it another origin."""

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
        """Write no log."""


@pytest.fixture(scope="module")
def pages() -> Iterator[tuple[Page, Page]]:
    """A site that may call, and one that may not."""
    friend, stranger = Page(), Page()
    yield friend, stranger
    friend.close()
    stranger.close()


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, alpha: Upstream, pages: tuple[Page, Page]) -> Keyring:
    server = f'[server]\nlisten = "127.0.0.1:0"\ncors_origins = ["{pages[0].origin}"]\n'
    return Keyring(tmp_path_factory.mktemp("cors"), [(alpha, [MODEL])], server)


@pytest.fixture(scope="module")
def key(keyring: Keyring) -> MadeKey:
    return keyring.create(rpm=100)


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring, key: MadeKey) -> Iterator[Gateway]:
    gateway = keyring.start(logs)
    try:
        yield gateway
    finally:
        gateway.close()


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


def test_in_a_browser_an_allowed_page_streams_and_another_one_cannot(
    page: Any, gateway: Gateway, key: MadeKey, pages: tuple[Page, Page], alpha: Upstream
) -> None:
    friend, stranger = pages
    arguments = [f"{gateway.url}/chat/completions", key.secret, body({**QUICK, "gap_ms": 20}, stream=True)]
    page.goto(friend.origin)
    seen = page.evaluate(STREAM, arguments)
    assert seen["status"] == 200
    frames = [line[6:] for line in seen["told"].split("\n") if line.startswith("data: {")]
    chunks = [json.loads(frame)["choices"][0]["delta"].get("content") or "" for frame in frames]
    assert "".join(chunks) == text(8)
    assert seen["reads"] > 1  # the page reads the stream as it comes
    request_id, stream_id, limit, server = seen["headers"]
    assert request_id.startswith("req_")
    assert stream_id.startswith("st_")
    assert (limit, server) == ("100", None)  # a page can read exposed headers only
    page.goto(stranger.origin)
    before = alpha.statistics()
    refused = page.evaluate(f"arguments => ({STREAM})(arguments).catch(error => error.name)", arguments)
    assert refused == "TypeError"
    assert page.evaluate(BLIND, arguments) == "opaque"
    assert alpha.statistics().requests == before.requests
