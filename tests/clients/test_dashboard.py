"""The dashboard in a real browser: live, honest about a lost connection, and deaf to what completions say."""

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.access import viewer_token
from gateway.access.token_keys import load
from gateway.access.viewer_token import ViewerToken
from tests.kit.completions import ENDLESS, MODEL, QUICK, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.forwarder import Forwarder
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.keyring import Keyring, MadeKey
from tests.kit.messages import speaking
from tests.kit.streams import create
from tests.kit.upstreams import Upstream

from .conftest import PATIENCE_MS

pytestmark = pytest.mark.deep

TOKEN_SECONDS = 5  # the life of a token that expires while its page is open, and not before the page is shown
SLOW = {"ttft_ms": 5, "gap_ms": 20, "tokens": 300}
MAX_SHOWN = 200_000
HOSTILE = (
    "<script>window.hacked = 1</script> </pre> <img src=x onerror=window.hacked=2> {{7*7}} ${7*7} &lt;b&gt; "
    "\x1b[31mred \u202egnp.exe \u2066isolated a\u200bb \u200fc \x00 \x07 end"
)
HOSTILE_SHOWN = (
    "<script>window.hacked = 1</script> </pre> <img src=x onerror=window.hacked=2> {{7*7}} ${7*7} &lt;b&gt; "
    "␛[31mred [U+202E]gnp.exe [U+2066]isolated a[U+200B]b [U+200F]c ␀ ␇ end"
)
WATCH = "window.violations = []; addEventListener('securitypolicyviolation', one => violations.push(one.blockedURI));"
LIVE = "() => document.getElementById('status').textContent === 'live'"
CONTRAST = """
selectors => selectors.map(selector => {
    const rgb = color => color.match(/[\\d.]+/g).map(Number);
    const light = color => {
        const linear = one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = rgb(color).map(one => linear(one / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const node = document.querySelector(selector);
    const grounds = [];
    for (let one = node; one; one = one.parentElement) grounds.push(getComputedStyle(one).backgroundColor);
    const ground = grounds.find(one => rgb(one)[3] !== 0);
    const [low, high] = [light(getComputedStyle(node).color), light(ground)].sort((a, b) => a - b);
    return [selector, (high + 0.05) / (low + 0.05)];
})
"""


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGateway]:
    storage = f'[storage]\npath = "{tmp_path_factory.mktemp("dashboard")}/d.db"\n'
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])], storage), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, alpha: Upstream) -> Keyring:
    return Keyring(tmp_path_factory.mktemp("dashboard-keys"), [(alpha, [MODEL])])


@pytest.fixture(scope="module")
def key(keyring: Keyring) -> MadeKey:
    return keyring.create()


@pytest.fixture(scope="module")
def closed(logs: Path, keyring: Keyring, key: MadeKey) -> Iterator[LocalGateway]:
    gateway = keyring.start(logs)
    try:
        yield gateway
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def mint(keyring: Keyring, closed: Gateway) -> Callable[[int], str]:
    """A token for the statistics that is good for this many seconds."""
    signing_key = load(keyring.path)[0]

    def mint(seconds: int) -> str:
        return viewer_token.mint(ViewerToken("feed:statistics", math.ceil(time.time() + seconds)), signing_key)

    return mint


@pytest.fixture(scope="module")
def token(mint: Callable[[int], str]) -> str:
    return mint(3600)


@contextmanager
def opened(browser: Any, port: int, path: str = "/dashboard", **options: Any) -> Iterator[Any]:
    """The page in a context of its own; at the end, check that nothing broke the page's security policy."""
    context = browser.new_context(**options)
    context.add_init_script(WATCH)
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        page.goto(f"http://127.0.0.1:{port}{path}")
        yield page
        assert page.evaluate("() => violations") == []
        assert errors == []
    finally:
        context.close()


def choose(page: Any, stream: dict[str, Any]) -> Any:
    """Choose this stream, so that the page reads its tokens; returns the row of the stream."""
    row = page.locator("#streams tbody tr", has_text=stream["id"])
    row.get_by_role("button").click()
    return row


def figure(page: Any, label: str) -> float:
    return float(page.locator("#figures div", has_text=label).first.locator("dd").inner_text().replace(",", ""))


def shown(page: Any) -> str:
    return str(page.evaluate("() => document.getElementById('text').textContent"))


def wait_for_text(page: Any, selector: str, wanted: str) -> None:
    page.locator(selector, has_text=wanted).wait_for()


def test_values_appear_and_move(browser: Any, gateway: Gateway) -> None:
    with opened(browser, gateway.port) as page:
        page.wait_for_function(LIVE)
        before = figure(page, "Requests")
        stream = create(gateway, SLOW)
        row = page.locator("#streams tbody tr", has_text=stream["id"])
        row.wait_for()
        tokens = row.locator("[data-label=Tokens]")
        first = tokens.inner_text()
        page.wait_for_function("([cell, text]) => cell.textContent !== text", arg=[tokens.element_handle(), first])
        page.wait_for_function(
            "cell => parseFloat(cell.textContent) > 5", arg=row.locator("[data-label='Tokens/s']").element_handle()
        )
        assert figure(page, "Requests") == before + 1
        assert figure(page, "Running streams") == 1
        assert "streaming" in row.inner_text()
        assert "alpha" in page.locator("#upstreams").inner_text()
        assert page.locator("#upstreams [data-label=Breaker]").inner_text() == "closed"
        row.locator("td", has_text="completed").wait_for()
        counted = (
            r"(1 completion{0}: within|[0-9,]{{2,}} completions{0}: half within|[2-9] completions{0}: half within) .*"
        )
        assert re.fullmatch(counted.format(""), page.locator("#ttft-about").inner_text())
        assert re.fullmatch(counted.format(" by median gap"), page.locator("#gap-about").inner_text())
        for picture in ("#ttft", "#gap"):
            heights = page.evaluate(
                "id => [...document.querySelectorAll(id + ' rect')].map(r => +r.attributes.height.value)", picture
            )
            assert max(heights) > 50
        assert "completed" in page.locator("#endings").inner_text()


def test_the_last_errors_of_upstreams_are_shown_with_reason_count_and_time(browser: Any, gateway: Gateway) -> None:
    with opened(browser, gateway.port) as page:
        page.wait_for_function(LIVE)
        refused = figure(page, "Refused requests")
        for _ in range(2):
            assert fetch(gateway.port, body({"status": 507}, stream=True)).status == 502
        row = page.locator("#errors tbody tr", has_text="HTTP 507")
        page.wait_for_function(
            "cell => cell.textContent === '2'", arg=row.locator("[data-label=Count]").element_handle()
        )
        assert row.locator("th").inner_text().split() == ["alpha", MODEL]
        assert row.locator("[data-label=Error]").inner_text() == "upstream error (HTTP 507)"
        assert row.locator("[data-label=Reason]").inner_text() == "HTTP 507"
        assert row.locator("[data-label=Last]").inner_text().endswith(" s ago")
        assert "failed attempt" in page.locator("#errors-about").inner_text()
        assert figure(page, "Refused requests") == refused + 2


def test_a_chosen_stream_is_read_as_its_tokens_arrive(browser: Any, gateway: Gateway) -> None:
    with opened(browser, gateway.port) as page:
        stream = create(gateway, SLOW)
        choose(page, stream)
        page.wait_for_function("() => document.getElementById('text').textContent.length > 20")
        early = shown(page)
        wait_for_text(page, "#watched-about", "ended: completed")
        page.wait_for_function("wanted => document.getElementById('text').textContent === wanted", arg=text(300))
        assert 20 < len(early) < len(text(300))
        assert text(300).startswith(early)
        other = create(gateway, QUICK)
        choose(page, other)
        page.wait_for_function("wanted => document.getElementById('text').textContent === wanted", arg=text(8))
        assert page.locator("[aria-pressed=true]").count() == 1


@pytest.mark.parametrize(
    ("dialect", "asked"),
    [
        ("messages", {"max_tokens": 1000}),
        ("responses", {"input": "Hello"}),
        ("completions", {"prompt": "Hello"}),
    ],
)
def test_the_text_of_a_stream_of_any_dialect_is_shown(
    browser: Any, logs: Path, alpha: Upstream, tmp_path: Path, dialect: str, asked: dict[str, Any]
) -> None:
    storage = f'[storage]\npath = "{tmp_path}/d.db"\n'
    gateway = LocalGateway(logs, speaking([(alpha, [MODEL])], "chat", dialect, sections=storage), KEYS)
    try:
        with opened(browser, gateway.port) as page:
            told = body({"gap_ms": 5, "tokens": 50}) | asked
            answer = call(gateway, "POST", f"/v1/streams?dialect={dialect}", told)
            assert answer.status == 201
            stream = json.loads(answer.body)
            row = choose(page, stream)
            wait_for_text(page, "#watched-about", "ended: completed")
            page.wait_for_function("wanted => document.getElementById('text').textContent === wanted", arg=text(50))
            assert row.locator("[data-label=Upstream] small").inner_text() == dialect
            assert json.loads(call(gateway, "GET", f"/v1/streams/{stream['id']}").body)["dialect"] == dialect
    finally:
        gateway.close()


def test_a_dropped_connection_is_shown_and_recovers_without_gap_or_duplicate(browser: Any, gateway: Gateway) -> None:
    forwarder = Forwarder(gateway.port)
    try:
        with opened(browser, forwarder.port) as page:
            stream = create(gateway, SLOW)
            choose(page, stream)
            page.wait_for_function("() => document.getElementById('text').textContent.length > 20")
            forwarder.cut()
            wait_for_text(page, "#status", "reconnecting")
            assert page.locator("body.stale").count() == 1
            page.wait_for_function(LIVE)
            assert page.locator("body.stale").count() == 0
            wait_for_text(page, "#watched-about", "ended: completed")
            page.wait_for_function("wanted => document.getElementById('text').textContent === wanted", arg=text(300))
    finally:
        forwarder.close()


def test_what_a_completion_says_is_only_ever_text(browser: Any, gateway: Gateway) -> None:
    with opened(browser, gateway.port) as page:
        choose(page, create(gateway, {"ttft_ms": 5, "gap_ms": 1, "text": HOSTILE}))
        page.wait_for_function("wanted => document.getElementById('text').textContent === wanted", arg=HOSTILE_SHOWN)
        assert page.evaluate("() => document.getElementById('text').children.length") == 0
        assert page.evaluate("() => document.querySelectorAll('img, main script').length") == 0
        assert page.evaluate("() => window.hacked") is None


def test_the_policy_of_the_page_stops_a_script_that_is_put_into_it(browser: Any, gateway: Gateway) -> None:
    with opened(browser, gateway.port) as page:
        page.wait_for_function(LIVE)
        page.evaluate("() => { document.body.innerHTML += '<img src=x onerror=window.hacked=1>'; }")
        page.wait_for_function("() => violations.length > 0")
        assert page.evaluate("() => window.hacked") is None
        page.evaluate("() => { violations = []; }")


def test_of_a_long_stream_only_the_end_is_kept(browser: Any, gateway: Gateway) -> None:
    with opened(browser, gateway.port) as page:
        said = " ".join(f"{number:09d}" for number in range(30_000))
        choose(page, create(gateway, {"ttft_ms": 5, "gap_ms": 0, "text": said}))
        wait_for_text(page, "#watched-about", "ended: completed")
        page.wait_for_function("() => document.getElementById('text').textContent.endsWith('000029999')")
        kept = shown(page)
        assert MAX_SHOWN * 0.9 < len(kept) <= MAX_SHOWN
        assert said.endswith(kept)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1280])
def test_the_page_fits_and_can_be_read_at_every_width_in_both_schemes(
    browser: Any, gateway: Gateway, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 740}
    with opened(browser, gateway.port, viewport=size, color_scheme=scheme) as page:
        stream = create(gateway, {**ENDLESS, "text": "x" * 3000})
        choose(page, stream)
        page.wait_for_function("() => document.getElementById('text').textContent.length > 500")
        widths = page.evaluate("() => [document.documentElement.scrollWidth, document.body.scrollWidth]")
        assert max(widths) <= width
        selectors = [
            "#status",
            "#about",
            "dt",
            "dd",
            "#streams td",
            "#streams small",
            "#streams button",
            "#text",
            "h2",
        ]
        for selector, contrast in page.evaluate(CONTRAST, selectors):
            assert contrast >= 4.5, selector
        ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(245, 247, 249)") == (scheme == "light")
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")


def test_the_focus_stays_while_values_change(browser: Any, gateway: Gateway) -> None:
    with opened(browser, gateway.port) as page:
        stream = create(gateway, SLOW)
        choose(page, stream)
        tokens = page.locator("#streams tbody tr", has_text=stream["id"]).locator("[data-label=Tokens]")
        first = tokens.inner_text()
        create(gateway, QUICK)
        page.wait_for_function("([cell, text]) => cell.textContent !== text", arg=[tokens.element_handle(), first])
        focused = page.evaluate("() => document.activeElement.closest('tr')?.textContent ?? ''")
        assert stream["id"] in focused


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/dashboard", "text/html"),
        ("/dashboard/dashboard.js", "text/javascript"),
        ("/dashboard/dashboard.css", "text/css"),
    ],
)
def test_the_files_of_the_page_come_with_a_strict_policy(gateway: Gateway, path: str, content_type: str) -> None:
    answer = call(gateway, "GET", path)
    assert (answer.status, answer.headers["content-type"]) == (200, f"{content_type}; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ")
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    "name", ["pages.py", "__init__.py", "index.html", "none.js", "..%2Fapp.py", "%2e%2e%2fapp.py"]
)
def test_no_other_file_of_the_folder_is_served(gateway: Gateway, name: str) -> None:
    assert call(gateway, "GET", f"/dashboard/{name}").status == 404


def test_with_keys_but_no_token_the_page_asks_for_one_and_keeps_it_in_the_tab(
    browser: Any, closed: Gateway, token: str
) -> None:
    with opened(browser, closed.port) as page:
        wait_for_text(page, "#status", "refused (401)")
        page.get_by_label("Viewer token", exact=True).fill(token)
        page.get_by_role("button", name="Connect").click()
        page.wait_for_function(LIVE)
        assert "with API keys" in page.locator("#about").inner_text()
        assert page.locator("#access").is_hidden()
        page.reload()
        page.wait_for_function(LIVE)
        assert page.evaluate("() => [localStorage.length, document.cookie]") == [0, ""]


@pytest.mark.parametrize("mark", ["#", "?"])
def test_a_token_in_the_address_is_taken_out_of_it(browser: Any, closed: Gateway, token: str, mark: str) -> None:
    with opened(browser, closed.port, f"/dashboard{mark}token={token}") as page:
        page.wait_for_function(LIVE)
        assert page.evaluate("() => location.href") == f"http://127.0.0.1:{closed.port}/dashboard"


def test_when_the_token_expires_the_page_asks_for_another(
    browser: Any, closed: Gateway, mint: Callable[[int], str], token: str
) -> None:
    with opened(browser, closed.port, f"/dashboard#token={mint(TOKEN_SECONDS)}") as page:
        page.wait_for_function(LIVE)
        wait_for_text(page, "#status", "refused (403)")
        wait_for_text(page, "#access-reason", "expired")
        page.get_by_label("Viewer token", exact=True).fill(token)
        page.get_by_role("button", name="Connect").click()
        page.wait_for_function(LIVE)


def test_a_token_for_something_else_is_refused(browser: Any, closed: Gateway, key: MadeKey) -> None:
    stream = create(closed, QUICK, Authorization=key.bearer)
    other = stream["viewer_url"].partition("token=")[2]
    with opened(browser, closed.port, f"/dashboard#token={other}") as page:
        wait_for_text(page, "#status", "refused (403)")
        wait_for_text(page, "#access-reason", "for another stream")
        assert page.evaluate("() => sessionStorage.length") == 0


def test_a_stream_is_read_with_a_token_of_its_own(browser: Any, closed: Gateway, key: MadeKey, token: str) -> None:
    with opened(browser, closed.port, f"/dashboard#token={token}") as page:
        stream = create(closed, QUICK, Authorization=key.bearer)
        choose(page, stream)
        wait_for_text(page, "#stream-access-reason", f"rivergate token {stream['id']}")
        field = page.get_by_label("Viewer token of this stream")
        field.fill(token)
        field.press("Enter")
        wait_for_text(page, "#stream-access-reason", "Refused")
        field.fill(stream["viewer_url"].partition("token=")[2])
        field.press("Enter")
        wait_for_text(page, "#watched-about", "ended: completed")
        page.wait_for_function("wanted => document.getElementById('text').textContent === wanted", arg=text(8))
