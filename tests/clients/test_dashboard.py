"""The dashboard in a real browser: live, honest about a lost connection, and deaf to what completions say."""

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.access import viewer_token
from gateway.access.token_keys import load
from gateway.access.viewer_token import ViewerToken
from tests.kit.completions import ENDLESS, MODEL, QUICK, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.dashboard_page import LIVE, SAID, choose, figure, opened, shown, tile, wait_for_said, wait_for_text
from tests.kit.forwarder import Forwarder
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.keyring import Keyring, MadeKey
from tests.kit.messages import speaking
from tests.kit.streams import create
from tests.kit.upstreams import Upstream
from tests.kit.waiting import wait_for

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
        assert tile(page, "Running streams") == "1"
        assert float(tile(page, "Tokens a second")) > 5
        assert "streaming" in row.inner_text()
        assert "alpha" in page.locator("#upstreams").inner_text()
        assert page.locator("#upstreams summary [data-label=Breaker]").inner_text() == "closed"
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


def test_failures_are_told_with_reason_attempts_request_and_time(browser: Any, gateway: Gateway) -> None:
    with opened(browser, gateway.port) as page:
        page.wait_for_function(LIVE)
        refused = figure(page, "Refused requests")
        answers = [fetch(gateway.port, body({"status": 507}, stream=True)) for _ in range(2)]
        assert [answer.status for answer in answers] == [502, 502]
        group = page.locator(".upstream")
        group.locator("summary").click()
        wait_for_text(page, ".upstream .told", "upstream error, HTTP 507")
        assert re.search(r"2 times, last \d s ago: upstream error, HTTP 507 · openai/gpt-4o", group.inner_text())
        row = page.locator("#failures li", has_text="alpha: HTTP 507").first
        row.wait_for()
        assert re.search(r"\d\d:\d\d:\d\d upstream error \(HTTP 502\) openai/gpt-4o · alpha", row.inner_text())
        row.locator("summary").click()
        opened_row = row.locator(".told").inner_text()
        assert re.search(r"alpha, after [\d.]+ ms: upstream error \(HTTP 507\)", opened_row)
        assert answers[1].headers["x-request-id"] in opened_row
        page.wait_for_function("() => document.querySelector('.tile:nth-child(4) .figure').textContent !== '0'")
        assert page.locator("#lanes .error").count() > 0
        assert page.locator("#lanes-about").inner_text() == "Errors by upstream: alpha 2."
        page.locator("#upstreams-troubled").check()
        assert "1 with errors in the last ten minutes" in page.locator("#upstreams-about").inner_text()
        assert group.is_visible()
        page.locator("#failures-filter").fill(answers[0].headers["x-request-id"])
        assert page.locator("#failures li:visible > details").count() == 1
        assert figure(page, "Refused requests") == refused + 2


def test_a_page_that_opens_has_the_past_and_chooses_a_stream_by_itself(browser: Any, gateway: Gateway) -> None:
    stream = create(gateway, ENDLESS)
    points = "() => document.querySelectorAll('#plot .line')[1].getAttribute('d').length"
    wait_for(lambda: first_tokens(gateway) > 0, "a point with the first token of a stream that runs on")
    with opened(browser, gateway.port) as page:
        page.wait_for_function("() => document.getElementById('text').textContent.length > 20")
        assert stream["id"] in page.locator("#watched-about").inner_text()
        assert json.loads(call(gateway, "GET", f"/v1/streams/{stream['id']}").body)["readers"] == 0
        page.wait_for_function("() => document.querySelector('#tiles .bounds').textContent !== '10 min: none yet'")
        assert page.locator("#ranges [aria-pressed=true]").inner_text() == "10 min"
        wide = page.evaluate(points)
        page.get_by_role("button", name="2 min").click()
        assert page.locator("#timeline-about").inner_text().count(":") >= 4
        page.locator("#plot").focus()
        page.keyboard.press("End")
        assert re.search(
            r"\d\d:\d\d:\d\d: p50 .*, p95 .*, \d+ answers?, \d+ failures?$",
            page.locator("#timeline-about").inner_text(),
        )
        page.keyboard.press("Escape")
        assert wide >= 0
        other = create(gateway, ENDLESS)
        choose(page, other)
        wait_for_text(page, "#watched-about", other["id"])
        page.get_by_role("button", name="Follow the newest").click()
        call(gateway, "DELETE", f"/v1/streams/{other['id']}")
        wait_for_text(page, "#watched-about", stream["id"])
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")


def first_tokens(gateway: Gateway) -> int:
    """How many first tokens of this upstream the timeline has."""
    fine = json.loads(call(gateway, "GET", "/v1/statistics/history").body)["fine"]
    return sum(fine["upstreams"]["alpha"]["answers"]) if fine["upstreams"] else 0


def test_reasoning_and_calls_of_tools_stand_apart_from_the_text(browser: Any, gateway: Gateway) -> None:
    with opened(browser, gateway.port) as page:
        choose(page, create(gateway, {"ttft_ms": 5, "gap_ms": 1, "tokens": 8, "reasoning_tokens": 5}))
        wait_for_text(page, "#watched-state", "completed")
        kinds = "() => [...document.querySelectorAll('#text .said')].map(said => said.dataset.kind)"
        page.wait_for_function(f"() => ({kinds})().join() === 'reasoning,text'")
        assert page.locator("#text .label").all_inner_texts() == ["reasoning"]
        choose(page, create(gateway, {"ttft_ms": 5, "gap_ms": 1, "tool_calls": 2}))
        page.wait_for_function(f"() => ({kinds})().join() === 'tool,tool'")
        assert all(label.startswith("tool call: ") for label in page.locator("#text .label").all_inner_texts())


def test_streams_stand_side_by_side_over_one_connection(browser: Any, gateway: Gateway) -> None:
    made = [create(gateway, SLOW) for _ in range(3)]
    asked: list[str] = []
    with opened(browser, gateway.port) as page:
        page.on("request", lambda request: asked.append(request.url))
        for stream in made:
            page.get_by_role("button", name=f"beside others: {stream['id']}").click()
        panes = page.locator(".pane")
        assert panes.count() == 3
        assert page.locator("#beside-about").inner_text() == "3 streams over one connection, 12 at most"
        for place in range(3):
            panes.nth(place).locator(".state", has_text="completed").wait_for()
            assert panes.nth(place).locator(".said").inner_text().split() == text(300).split()
        panes.nth(0).get_by_role("button", name="Close").click()
        assert panes.count() == 2
        page.get_by_role("button", name="Close all").click()
        page.locator("#beside").wait_for(state="hidden")
    wanted = "&".join(f"stream={stream['id']}" for stream in made)
    assert [url for url in asked if "/v1/events?" in url and wanted in url]


def test_whoever_scrolls_back_is_left_there_until_they_jump_to_live(browser: Any, gateway: Gateway) -> None:
    with opened(browser, gateway.port) as page:
        stream = create(gateway, {**ENDLESS, "text": "word " * 20_000})
        choose(page, stream)
        page.wait_for_function("() => document.getElementById('text').scrollTop > 200")
        assert page.locator("#jump").is_hidden()
        page.evaluate("() => { document.getElementById('text').scrollTop = 0; }")
        page.locator("#jump").wait_for()
        length = len(shown(page))
        page.wait_for_function(f"length => ({SAID})().length > length", arg=length)
        assert page.evaluate("() => document.getElementById('text').scrollTop") == 0
        page.locator("#jump").click()
        page.wait_for_function("() => document.getElementById('text').scrollTop > 200")
        assert page.locator("#jump").is_hidden()
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")


def test_a_chosen_stream_is_read_as_its_tokens_arrive(browser: Any, gateway: Gateway) -> None:
    with opened(browser, gateway.port) as page:
        stream = create(gateway, SLOW)
        choose(page, stream)
        page.wait_for_function("() => (document.getElementById('text').textContent.length) > 20")
        early = shown(page)
        wait_for_text(page, "#watched-state", "completed")
        wait_for_said(page, text(300))
        assert 20 < len(early) < len(text(300))
        assert text(300).startswith(early)
        other = create(gateway, QUICK)
        choose(page, other)
        wait_for_said(page, text(8))
        assert page.locator("#streams .link[aria-pressed=true]").count() == 1


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
            wait_for_text(page, "#watched-state", "completed")
            wait_for_said(page, text(50))
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
            page.wait_for_function("() => (document.getElementById('text').textContent.length) > 20")
            forwarder.cut()
            wait_for_text(page, "#status", "reconnecting")
            assert page.locator("body.stale").count() == 1
            page.wait_for_function(LIVE)
            assert page.locator("body.stale").count() == 0
            wait_for_text(page, "#watched-state", "completed")
            wait_for_said(page, text(300))
    finally:
        forwarder.close()


def test_what_a_completion_says_is_only_ever_text(browser: Any, gateway: Gateway) -> None:
    with opened(browser, gateway.port) as page:
        choose(page, create(gateway, {"ttft_ms": 5, "gap_ms": 1, "text": HOSTILE}))
        wait_for_said(page, HOSTILE_SHOWN)
        assert page.evaluate("() => document.querySelector('#text .said').children.length") == 0
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
        wait_for_text(page, "#watched-state", "completed")
        page.wait_for_function("() => document.getElementById('text').textContent.endsWith('000029999')")
        kept = shown(page)
        assert MAX_SHOWN * 0.9 < len(kept) <= MAX_SHOWN
        assert said.endswith(kept)


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
        page.get_by_label("API key or viewer token").fill(token)
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
        page.get_by_label("API key or viewer token").fill(token)
        page.get_by_role("button", name="Connect").click()
        page.wait_for_function(LIVE)


def test_a_token_of_one_stream_does_not_open_the_numbers(browser: Any, closed: Gateway, key: MadeKey) -> None:
    stream = create(closed, QUICK, Authorization=key.bearer)
    other = stream["viewer_url"].partition("token=")[2]
    with opened(browser, closed.port, f"/dashboard#token={other}") as page:
        wait_for_text(page, "#status", "refused (401)")
        wait_for_text(page, "#access-reason", "an API key is needed")
        assert page.locator("#main").is_hidden()


def test_a_stream_is_read_with_a_token_of_its_own(browser: Any, closed: Gateway, key: MadeKey, token: str) -> None:
    with opened(browser, closed.port, f"/dashboard#token={token}") as page:
        stream = create(closed, QUICK, Authorization=key.bearer)
        choose(page, stream)
        wait_for_text(page, "#watched-reason", f"rivergate token {stream['id']}")
        page.get_by_role("button", name="Key or token").click()
        field = page.get_by_label("API key or viewer token")
        field.fill(stream["viewer_url"].partition("token=")[2])
        field.press("Enter")
        wait_for_text(page, "#watched-state", "completed")
        wait_for_said(page, text(8))
        assert page.locator("#status").inner_text() == "live"


def test_an_api_key_shows_the_numbers_and_the_text_of_its_own_streams(
    browser: Any, closed: Gateway, keyring: Keyring, key: MadeKey
) -> None:
    other = keyring.create()
    with opened(browser, closed.port) as page:
        wait_for_text(page, "#status", "refused (401)")
        stream = create(closed, SLOW, Authorization=key.bearer)
        foreign = create(closed, SLOW, Authorization=other.bearer)
        page.get_by_label("API key or viewer token").fill(key.secret)
        page.get_by_role("button", name="Connect").click()
        page.wait_for_function(LIVE)
        wait_for_text(page, "#watched-about", stream["id"])
        page.wait_for_function("() => document.getElementById('text').textContent.length > 20")
        assert page.locator("#usage-section").is_hidden()
        choose(page, foreign)
        wait_for_text(page, "#watched-reason", "for its owner")
        assert page.evaluate("() => [localStorage.length, document.cookie]") == [0, ""]
        page.get_by_role("button", name="Key or token").click()
        page.get_by_role("button", name="Forget all").click()
        wait_for_text(page, "#status", "refused (401)")
        assert page.evaluate("() => sessionStorage.length") == 0


def test_an_admin_key_shows_the_text_of_all_streams_whose_they_were_and_what_they_cost(
    browser: Any, closed: Gateway, keyring: Keyring
) -> None:
    admin, user = keyring.create("the operator", admin=True), keyring.create("a user")
    assert fetch(closed.port, body({"status": 507}, stream=True), Authorization=user.bearer).status == 502
    stream = create(closed, SLOW, Authorization=user.bearer)
    with opened(browser, closed.port, f"/dashboard#token={admin.secret}") as page:
        page.wait_for_function(LIVE)
        wait_for_text(page, "#watched-about", stream["id"])
        page.wait_for_function("() => document.getElementById('text').textContent.length > 20")
        page.locator("#failures summary").first.click()
        assert "key a user" in page.locator("#failures .told").first.inner_text()
        wait_for_text(page, "#usage-about", "this hour $")
        page.get_by_role("button", name="by key").click()
        wait_for_text(page, "#usage tbody th", "a user")
        assert page.evaluate("() => location.hash") == ""
