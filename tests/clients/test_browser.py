"""EventSource in a real browser: everything arrives, a cut is healed without gap or duplicate, and the end is one."""

from typing import Any

import pytest

from tests.kit.completions import QUICK, text
from tests.kit.forwarder import Forwarder
from tests.kit.gateway import Gateway
from tests.kit.sse_client import Event, text_of
from tests.kit.streams import create

SLOW = {"ttft_ms": 5, "gap_ms": 20, "tokens": 100}

OPEN = """
url => {
    window.seen = [];
    window.opened = 0;
    const source = window.source = new EventSource(url);
    const note = event => seen.push([event.type, event.data, event.lastEventId]);
    for (const name of ["message", "end", "gap", "reset"]) source.addEventListener(name, note);
    source.addEventListener("open", () => { opened += 1; });
}
"""
CLOSED = "() => source.readyState === EventSource.CLOSED"
ENDED = "() => seen.some(([name]) => name === 'end')"


@pytest.fixture
def page(page: Any, forwarder: Forwarder) -> Any:
    """A page of the gateway's own origin, behind the forwarder."""
    page.goto(f"http://127.0.0.1:{forwarder.port}/healthz")
    return page


def seen(page: Any) -> list[Event]:
    return [Event(*event) for event in page.evaluate("() => seen")]


def test_a_browser_receives_every_event_and_the_end_and_then_stops(
    page: Any, gateway: Gateway, forwarder: Forwarder
) -> None:
    stream = create(gateway, QUICK)
    page.evaluate(OPEN, stream["viewer_url"])
    page.wait_for_function(ENDED)
    events = seen(page)
    assert [event.seq for event in events] == list(range(11))
    assert text_of(events) == text(8)
    assert (events[-1].name, events[-1].json) == ("end", {"ending": "completed"})
    page.wait_for_function(CLOSED)  # the browser came again with the id of the end event, and got a 204
    assert seen(page) == events
    requests = forwarder.asked(stream["viewer_url"])
    assert len(requests) == 2
    assert f"\r\nLast-Event-ID: {events[-1].id}\r\n" in requests[1] + "\r\n"


def test_a_browser_that_is_cut_off_resumes_without_gap_or_duplicate(
    page: Any, gateway: Gateway, forwarder: Forwarder
) -> None:
    stream = create(gateway, SLOW)
    page.evaluate(OPEN, stream["events_url"])
    page.wait_for_function("() => seen.length >= 10")
    forwarder.cut()
    page.wait_for_function("() => source.readyState === EventSource.CONNECTING")
    before = seen(page)
    page.wait_for_function(ENDED)
    events = seen(page)
    assert 10 <= len(before) < 102
    assert [event.seq for event in events] == list(range(103))
    assert text_of(events) == text(100)
    assert page.evaluate("() => opened") == 2
    assert f"Last-Event-ID: {before[-1].id}\r\n" in forwarder.asked(stream["events_url"])[1] + "\r\n"
    page.evaluate("() => source.close()")


def test_a_browser_whose_token_is_refused_does_not_try_again(
    page: Any, gateway: Gateway, forwarder: Forwarder
) -> None:
    stream = create(gateway, QUICK)
    page.evaluate(OPEN, stream["viewer_url"] + "x")
    page.wait_for_function(CLOSED)
    assert seen(page) == []
    assert len(forwarder.asked(stream["viewer_url"] + "x")) == 1
