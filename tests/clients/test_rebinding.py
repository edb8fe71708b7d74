"""A page of a foreign name that resolves to this machine (DNS rebinding) gets nothing of a gateway without keys."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, QUICK, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.streams import create
from tests.kit.upstreams import Upstream

from .conftest import ARGUMENTS, PATIENCE_MS, PLACES

EVIL = "evil.example"
ASK = """async ([url, options]) => {
    try {
        const answer = await fetch(url, options);
        return [answer.status, await answer.text()];
    } catch (error) {
        return [0, String(error)];
    }
}"""
LISTEN = """url => new Promise(resolve => {
    const source = new EventSource(url);
    source.onmessage = event => { source.close(); resolve(event.data); };
    source.onerror = () => { source.close(); resolve('error'); };
})"""


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>a page</title>")

    def log_message(self, format: str, *args: object) -> None:
        """Write no log."""


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])]), KEYS)
    yield gateway
    gateway.close()


@pytest.fixture(scope="module")
def rebound() -> Iterator[Any]:
    """Chromium for which a foreign name resolves to this machine."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next((path for path in PLACES if path.exists()), None)
    if chromium is None:
        pytest.skip("chromium is not installed")
    rules = f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=[*ARGUMENTS, rules])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def page(rebound: Any) -> Iterator[Any]:
    page = rebound.new_page()
    page.set_default_timeout(PATIENCE_MS)
    yield page
    page.close()


def completion() -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    return {"method": "POST", "headers": headers, "body": json.dumps(body(QUICK, stream=True))}


def test_a_page_of_a_foreign_name_gets_neither_completions_nor_streams(
    gateway: LocalGateway, alpha: Upstream, page: Any
) -> None:
    stream = create(gateway, QUICK)
    evil = f"http://{EVIL}:{gateway.port}"
    page.goto(f"{evil}/healthz")  # a page of this origin, as after the name has changed its address
    before = alpha.statistics().requests
    status, text = page.evaluate(ASK, [f"{evil}/v1/chat/completions", completion()])
    assert (status, json.loads(text)["error"]["param"]) == (403, "Host")
    for path in ("/v1/models", "/v1/streams", f"/v1/streams/{stream['id']}", "/metrics", "/dashboard"):
        assert page.evaluate(ASK, [evil + path, {}])[0] == 403
    assert page.evaluate(LISTEN, evil + "/v1/feeds/statistics/events") == "error"
    assert page.evaluate(LISTEN, f"{evil}/v1/streams/{stream['id']}/events") == "error"
    assert page.evaluate(ASK, [f"{evil}/v1/streams/{stream['id']}", {"method": "DELETE"}])[0] == 403
    assert alpha.statistics().requests == before


def test_a_page_of_another_origin_gets_nothing_and_costs_nothing(
    gateway: LocalGateway, alpha: Upstream, page: Any
) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        page.goto(f"http://{EVIL}:{server.server_port}/")
        before = alpha.statistics().requests
        for host in ("127.0.0.1", "localhost"):
            url = f"http://{host}:{gateway.port}/v1/chat/completions"
            assert page.evaluate(ASK, [url, completion()])[0] == 0
            plain = {"method": "POST", "mode": "no-cors", "body": json.dumps(body(QUICK))}
            assert page.evaluate(ASK, [url, plain]) == [0, ""]  # an answer that the page cannot see: the refusal
        assert alpha.statistics().requests == before
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_gateways_own_page_is_served_as_before(gateway: LocalGateway, page: Any) -> None:
    for host in ("127.0.0.1", "localhost"):
        own = f"http://{host}:{gateway.port}"
        page.goto(f"{own}/dashboard")
        status, _ = page.evaluate(ASK, [f"{own}/v1/chat/completions", completion()])
        assert status == 200
        assert page.evaluate(ASK, [f"{own}/v1/streams", {}])[0] == 200
