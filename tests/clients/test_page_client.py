"""Many streams in one page over HTTP/1.1: by one `EventSource`, and by `/client.js`, in a real browser."""

import json
from typing import Any

import pytest

from tests.kit.completions import ENDLESS, QUICK, text
from tests.kit.forwarder import Forwarder
from tests.kit.gateway import Gateway
from tests.kit.http_client import call
from tests.kit.sse_client import Event, text_of
from tests.kit.streams import create

pytestmark = pytest.mark.deep

MANY = 20  # streams of one page; a browser has six connections to a server
TOKENS = 60
SLOW = {"ttft_ms": 5, "gap_ms": 20, "tokens": TOKENS}
EVENT_SOURCE = """
([url, names]) => {
    window.seen = [];
    const source = window.source = new EventSource(url);
    const note = event => seen.push([event.type, event.data, event.lastEventId]);
    for (const name of [...names, "end", "gap", "reset"]) source.addEventListener(name, note);
}
"""
CONNECT = """
async ({names, options}) => {
    const { connect } = await import("/client.js");
    window.told = [];
    window.states = [];
    window.client = connect({ ...options, state: (state) => states.push(state) });
    window.follow = (name, from) => client.subscribe(name, (event) => told.push({ channel: name, ...event }), from);
    window.unfollow = Object.fromEntries(names.map((name) => [name, follow(name)]));
}
"""
VIOLATIONS = "window.violations = []; addEventListener('securitypolicyviolation', (event) => violations.push(event));"
ENDS = "count => told.filter((event) => event.type === 'end').length >= count"
OPENED = "states.filter((state) => state === 'open').length"


@pytest.fixture
def page(page: Any, forwarder: Forwarder) -> Any:
    """A page of the gateway's own origin, behind the forwarder."""
    page.goto(f"http://127.0.0.1:{forwarder.port}/healthz")
    return page


def streams(gateway: Gateway, count: int, simulate: dict[str, Any] = SLOW) -> list[str]:
    return [str(create(gateway, simulate)["id"]) for _ in range(count)]


def told(page: Any, name: str) -> list[dict[str, Any]]:
    """What the page was told of one channel."""
    return [event for event in page.evaluate("() => told") if event["channel"] == name]


def text_told(page: Any, name: str) -> str:
    events = [event for event in told(page, name) if event["type"] == "event"]
    return text_of([Event("message", event["data"], None) for event in events])


def test_one_event_source_follows_twenty_streams_and_the_page_has_connections_left(
    page: Any, gateway: Gateway
) -> None:
    names = streams(gateway, MANY)
    query = "&".join(f"stream={name}" for name in names)
    page.evaluate(EVENT_SOURCE, [f"/v1/events?{query}", names])
    page.wait_for_function("count => seen.length >= count", arg=MANY)
    assert page.evaluate("() => fetch('/healthz').then((answer) => answer.status)") == 200
    page.wait_for_function("() => source.readyState === EventSource.CLOSED")  # it came again, and got a 204
    seen = [Event(*event) for event in page.evaluate("() => seen")]
    for name in names:
        of_it = [Event("message", event.data, event.id) for event in seen if event.name == name]
        assert text_of(of_it) == text(TOKENS)
    ends = [json.loads(event.data) for event in seen if event.name == "end"]
    assert sorted(end["channel"] for end in ends) == sorted(names)
    assert len({event.id for event in seen}) == len(seen)


def test_the_client_follows_many_and_misses_and_repeats_nothing_when_it_is_cut_off(
    page: Any, gateway: Gateway, forwarder: Forwarder
) -> None:
    names = streams(gateway, MANY)
    page.evaluate(CONNECT, {"names": names, "options": {}})
    page.wait_for_function("count => told.length >= count", arg=5 * MANY)
    forwarder.cut()
    page.wait_for_function(f"() => {OPENED} === 2")
    forwarder.cut()  # perhaps in the midst of what it had missed
    page.wait_for_function(ENDS, arg=MANY)
    for name in names:
        assert text_told(page, name) == text(TOKENS)
        assert told(page, name)[-1] == {"channel": name, "type": "end", "ending": "completed"}
    page.wait_for_function("() => states.at(-1) === 'closed'")
    assert page.evaluate(f"() => {OPENED}") >= 2


def test_a_page_adds_and_takes_away_channels_while_others_go_on(page: Any, gateway: Gateway) -> None:
    running, slow, later = *streams(gateway, 1, ENDLESS), *streams(gateway, 2)
    page.evaluate(CONNECT, {"names": [running, slow], "options": {}})
    page.wait_for_function("() => told.length >= 10")
    page.evaluate("name => { follow(name); follow('feed:statistics', 'now'); }", later)
    page.wait_for_function("([name]) => told.some((event) => event.channel === name)", arg=[later])
    page.evaluate("name => unfollow[name]()", running)
    count = len(told(page, running))
    page.wait_for_function(ENDS, arg=2)
    page.wait_for_function("() => told.some((event) => event.channel === 'feed:statistics')")
    page.evaluate("() => client.close()")
    assert [text_told(page, name) for name in (slow, later)] == [text(TOKENS)] * 2
    assert len(told(page, running)) <= count + 2  # what was on its way
    assert "rivergate" not in told(page, "feed:statistics")[0]["name"]
    page.wait_for_function("() => states.at(-1) === 'closed'")
    call(gateway, "DELETE", f"/v1/streams/{running}")


def test_a_channel_that_is_refused_ends_with_the_error_and_the_others_go_on(page: Any, gateway: Gateway) -> None:
    [name] = streams(gateway, 1, QUICK)
    page.evaluate(CONNECT, {"names": [name, "nowhere"], "options": {}})
    page.wait_for_function(ENDS, arg=2)
    [refused] = told(page, "nowhere")
    assert (refused["ending"], refused["error"]["code"]) == ("refused", "resource_not_found")
    assert text_told(page, name) == text(QUICK["tokens"])
    page.evaluate(CONNECT, {"names": ["nowhere", "feed:none"], "options": {}})
    page.wait_for_function(ENDS, arg=2)
    assert {event["error"]["code"] for event in page.evaluate("() => told")} == {"resource_not_found"}
    page.wait_for_function("() => states.at(-1) === 'closed'")


def test_a_viewer_token_in_the_address_and_a_strict_policy_are_enough(
    page: Any, gateway: Gateway, forwarder: Forwarder
) -> None:
    names = streams(gateway, 2, QUICK)
    answer = call(gateway, "POST", "/v1/events/tokens", {"streams": names})
    token = json.loads(answer.body)["token"]
    page.add_init_script(VIOLATIONS)
    page.goto(f"http://127.0.0.1:{forwarder.port}/dashboard")  # `default-src 'none'; script-src 'self'; …`
    page.evaluate(CONNECT, {"names": names, "options": {"url": f"v1/events?token={token}"}})
    page.wait_for_function(ENDS, arg=2)
    assert [text_told(page, name) for name in names] == [text(QUICK["tokens"])] * 2
    assert page.evaluate("() => violations.length") == 0
