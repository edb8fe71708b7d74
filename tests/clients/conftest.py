"""A real browser for all tests of a file; no other event loop can run in its thread while it runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.forwarder import Forwarder
from tests.kit.gateway import Gateway

PATIENCE_MS = 15_000
PLACES = [Path("/usr/bin/chromium"), Path("/usr/bin/chromium-browser")]
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; every test opens pages or contexts of its own."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next((path for path in PLACES if path.exists()), None)
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page whose timeouts are long enough for a loaded machine."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE_MS)
    try:
        yield page
    finally:
        page.close()


@pytest.fixture
def forwarder(gateway: Gateway) -> Iterator[Forwarder]:
    """A forwarder before the gateway, by which connections can be cut."""
    forwarder = Forwarder(gateway.port)
    try:
        yield forwarder
    finally:
        forwarder.close()
