"""The dashboard in each state: it fits at every width in both schemes, and axe-core finds no serious fault."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agents import installed_package
from tests.kit.completions import ENDLESS, MODEL, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.dashboard_page import LIVE, choose, opened, wait_for_text
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.keyring import Keyring
from tests.kit.streams import create
from tests.kit.upstreams import ClosedPort, Upstream
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.deep

STREAMS = 600  # many pages of the table, and more than a snapshot lists
SCHEMES = ("light", "dark")
WIDTHS = (1440, 800, 360)
AXE_VERSION = "4.14.1"
FAULTS = """
async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target).join(" ")}`)
"""
FALLING = """
() => {
    const cells = [...document.querySelectorAll("#streams [data-label=Tokens]")];
    const tokens = cells.map(cell => Number(cell.textContent.replaceAll(",", "")));
    const falls = tokens.every((count, place) => !place || count <= tokens[place - 1]);
    return tokens.length === 20 && tokens[0] >= 7 && falls;
}
"""  # the rows are sorted by their tokens, the most first
SCROLL_WIDTH = "() => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"


@pytest.fixture(scope="module")
def axe() -> str:
    """The source of axe-core, which looks for faults of accessibility in a page."""
    return (installed_package("axe-core", AXE_VERSION) / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGateway]:
    storage = f'[storage]\npath = "{tmp_path_factory.mktemp("states")}/d.db"\n[routing]\nbreaker_failures = 3\n'
    gone = ClosedPort()
    served = configuration([(alpha, [MODEL, "other/model"]), (gone, ["gone/model"])], storage)
    gateway = LocalGateway(logs, served, KEYS)
    try:
        yield gateway
    finally:
        gateway.close()
        gone.close()


def check_at_every_width(page: Any, axe: str) -> None:
    """Check that the page fits, and that axe finds no serious fault, at every width in both schemes."""
    page.evaluate(axe)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate(SCROLL_WIDTH) <= width
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(FAULTS) == [], f"at {width} pixels, {scheme}"
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(16, 22, 27)"


def test_the_states_of_a_gateway_that_anybody_may_use(browser: Any, gateway: LocalGateway, axe: str) -> None:
    with opened(browser, gateway.port) as page:
        page.wait_for_function(LIVE)
        wait_for_text(page, "#watched-reason", "No stream runs")
        check_at_every_width(page, axe)  # idle
        choose(page, create(gateway, {**ENDLESS, "text": "x" * 3000}))
        running = [create(gateway, ENDLESS) for _ in range(20)]
        page.wait_for_function("() => document.getElementById('text').textContent.length > 500")
        page.wait_for_function("() => document.querySelector('.figure').textContent === '20'")
        check_at_every_width(page, axe)  # 20 streams
        fail(gateway)
        for group in page.locator(".upstream summary").all():
            group.click()
        wait_for_text(page, ".upstream .told", "opened: failures in a row")
        page.locator("#failures summary").first.click()
        check_at_every_width(page, axe)  # failing upstreams
        wait_for_text(page, "#usage-about", "this hour")
    for stream in running:
        call(gateway, "DELETE", f"/v1/streams/{stream['id']}")


def fail(gateway: LocalGateway) -> None:
    """Let an upstream fail until its breaker opens, and be asked once more."""
    for _ in range(4):
        fetch(gateway.port, body(stream=True) | {"model": "gone/model"})


def test_many_streams_are_sorted_filtered_and_paged(browser: Any, gateway: LocalGateway, axe: str) -> None:
    for number in range(STREAMS):
        create(gateway, {"ttft_ms": 0, "gap_ms": 0, "tokens": 1 + number % 7})
    with opened(browser, gateway.port) as page:
        page.wait_for_function(LIVE)
        rows = page.locator("#streams tbody tr")
        wait_for(lambda: rows.count() == 20, "a page of rows")
        page.get_by_role("button", name="Next").click()
        wait_for_text(page, "#streams-page", "21 to 40 of")
        wait_for(lambda: rows.count() == 20, "the next page")
        page.get_by_role("button", name="Tokens", exact=True).click()
        page.wait_for_function(FALLING)
        assert page.locator("#streams [aria-sort=descending]").inner_text().startswith("Tokens")
        wait_for_text(page, "#streams-page", "1 to 20 of")
        page.get_by_role("button", name="Tokens", exact=True).click()
        page.locator("#streams [aria-sort=ascending]").wait_for()
        page.locator("#streams-state").select_option("running")
        wait_for_text(page, "#streams-page", "none")
        assert rows.count() == 0
        page.locator("#streams-state").select_option("any")
        page.locator("#streams-filter").fill("completed")
        page.wait_for_function("() => /of 6\\d\\d$/.test(document.getElementById('streams-page').textContent)")
        check_at_every_width(page, axe)


def test_the_states_of_a_gateway_with_keys(
    browser: Any, logs: Path, tmp_path: Path, alpha: Upstream, axe: str
) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    key = keyring.create()
    gateway = keyring.start(logs)
    try:
        with opened(browser, gateway.port) as page:
            wait_for_text(page, "#status", "refused (401)")
            check_at_every_width(page, axe)  # no token
            page.get_by_label("API key or viewer token").fill(key.secret)
            page.get_by_role("button", name="Connect").click()
            page.wait_for_function(LIVE)
            page.get_by_role("button", name="Key or token").click()
            check_at_every_width(page, axe)  # keys on
            gateway.close()
            wait_for_text(page, "#status", "reconnecting")
            assert page.locator("body.stale").count() == 1
            assert page.locator("#about").inner_text().startswith("no numbers since")
            check_at_every_width(page, axe)  # the gateway is gone
    finally:
        gateway.close()
