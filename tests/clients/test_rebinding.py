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
from tests.kit.waiting import wait_for

from .conftest import ARGUMENTS, PATIENCE_MS, PLACES

pytestmark = pytest.mark.deep

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


# Every way of a page to send a request that asks nobody before; each ends when the browser has its answer, or none.
SEND = """async ([url, content]) => {
    const text = JSON.stringify(content);
    const plain = { method: 'POST', mode: 'no-cors', body: text };
    await fetch(url, plain).catch(() => 0);
    await fetch(url, { ...plain, keepalive: true, referrerPolicy: 'no-referrer' }).catch(() => 0);
    navigator.sendBeacon(url, text);
    const loads = (name, fields) => new Promise(resolve => {
        const element = Object.assign(document.createElement(name), fields);
        element.onload = element.onerror = resolve;
        document.body.append(element);
    });
    await loads('img', { src: url });
    await loads('script', { src: url });
    await loads('iframe', { src: url });
    await new Promise(resolve => { new WebSocket(url.replace('http', 'ws')).onerror = resolve; });
    const script = `fetch(${JSON.stringify(url)}, ${JSON.stringify(plain)}).catch(() => 0).then(() => tell('done'))`;
    await new Promise(resolve => {
        const worker = new Worker(URL.createObjectURL(new Blob([script.replace('tell', 'postMessage')])));
        worker.onmessage = resolve;
    });
    await new Promise(resolve => {
        onmessage = resolve;
        const told = script.replace("tell('done')", "parent.postMessage('done', '*')");
        loads('iframe', { sandbox: 'allow-scripts', srcdoc: `<script>${told}</script>` });
    });
    const input = `<input name='${text.slice(0, -1)},"x":"' value='"}'>`;
    const form = `<form method="post" enctype="text/plain" action="${url}">${input}</form>`;
    for (const sandbox of ['allow-scripts allow-forms', 'allow-scripts allow-forms allow-same-origin']) {
        await loads('iframe', { sandbox, srcdoc: form + '<script>document.forms[0].submit()</script>' });
    }
}"""


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


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The URL of a page of a foreign name, at another port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{EVIL}:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def refusals(gateway: LocalGateway) -> list[dict[str, Any]]:
    return [line for line in gateway.lines() if line["event"] == "request refused"]


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
    gateway: LocalGateway, alpha: Upstream, page: Any, elsewhere: str
) -> None:
    page.goto(elsewhere)
    before = alpha.statistics().requests
    for host in ("127.0.0.1", "localhost"):
        url = f"http://{host}:{gateway.port}/v1/chat/completions"
        assert page.evaluate(ASK, [url, completion()])[0] == 0
        plain = {"method": "POST", "mode": "no-cors", "body": json.dumps(body(QUICK))}
        assert page.evaluate(ASK, [url, plain]) == [0, ""]  # an answer that the page cannot see: the refusal
    assert alpha.statistics().requests == before


def test_no_way_of_a_page_to_send_a_request_reaches_an_upstream(
    gateway: LocalGateway, alpha: Upstream, page: Any, elsewhere: str
) -> None:
    page.goto(elsewhere)
    before, refused = alpha.statistics().requests, len(refusals(gateway))
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "evil.localhost"):
        page.evaluate(SEND, [f"http://{host}:{gateway.port}/v1/chat/completions", body(QUICK, stream=True)])
    wait_for(lambda: len(refusals(gateway)) >= refused + 4, "the requests of the page")
    assert alpha.statistics().requests == before
    assert {line["status"] for line in refusals(gateway)[refused:]} == {403}


def test_the_gateways_own_page_is_served_as_before(gateway: LocalGateway, page: Any) -> None:
    for host in ("127.0.0.1", "localhost"):
        own = f"http://{host}:{gateway.port}"
        page.goto(f"{own}/dashboard")
        status, _ = page.evaluate(ASK, [f"{own}/v1/chat/completions", completion()])
        assert status == 200
        assert page.evaluate(ASK, [f"{own}/v1/streams", {}])[0] == 200
