"""The dashboard in a real browser: a page of its own for each test, what it shows, and what breaks its policy."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE_MS = 15_000
WATCH = "window.violations = []; addEventListener('securitypolicyviolation', one => violations.push(one.blockedURI));"
LIVE = "() => document.getElementById('status').textContent === 'live'"
SAID = "() => [...document.querySelectorAll('#text .said')].map(said => said.textContent).join('')"


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
    """Choose this stream, so that the page reads its text; returns the row of the stream."""
    row = page.locator("#streams tbody tr", has_text=stream["id"])
    row.locator("button.link").click()
    return row


def tile(page: Any, label: str) -> str:
    """The large number with this label."""
    return str(page.locator(".tile", has_text=label).locator(".figure").inner_text())


def figure(page: Any, label: str) -> float:
    """The small number with this label."""
    return float(page.locator("#figures div", has_text=label).first.locator("dd").inner_text().replace(",", ""))


def shown(page: Any) -> str:
    """The text of the stream that is watched."""
    return str(page.evaluate(SAID))


def wait_for_text(page: Any, selector: str, wanted: str) -> None:
    page.locator(selector, has_text=wanted).first.wait_for()


def wait_for_said(page: Any, wanted: str) -> None:
    """Wait until the text of the watched stream is this one."""
    page.wait_for_function(f"wanted => ({SAID})() === wanted", arg=wanted)
