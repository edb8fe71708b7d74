"""Feeds: any SSE source for any number of subscribers, connected while somebody reads."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.simulate import Statistics

from .conftest import KEYS
from .processes import Gateway
from .rawhttp import Answer
from .subscribers import Event, Subscriber, call
from .upstreams import MODEL, Upstream, Upstreams, configuration

TICKER = "/v1/feeds/ticker/events"


def feed(name: str, upstream: Upstream, query: str, more: str = "") -> str:
    return f'[[feeds]]\nname = "{name}"\nurl = "{upstream.base_url}/events?{query}"\n{more}\n'


@pytest.fixture(scope="module")
def source() -> Iterator[Upstream]:
    providers = Upstreams()
    yield providers.start("source")
    providers.close()


@pytest.fixture
def gateway(logs: Path, source: Upstream, tmp_path: Path) -> Iterator[Gateway]:
    sections = f'[storage]\npath = "{tmp_path / "feeds.db"}"\n'
    feeds = [
        feed("ticker", source, "gap_ms=10", "retain_events = 8"),
        feed("short", source, "count=5&gap_ms=2"),
        feed("nowhere", source, "count=nonsense"),
    ]
    started = Gateway(logs, configuration([(source, [MODEL])], sections) + "\n".join(feeds), KEYS)
    try:
        yield started
    finally:
        started.terminate()


def numbers(events: list[Event]) -> list[int]:
    return [event.json["n"] for event in events]


def described(gateway: Gateway, name: str) -> dict[str, object]:
    [found] = [
        one for one in json.loads(call(gateway, "GET", "/v1/feeds").body)["data"] if one["id"] == f"feed:{name}"
    ]
    return dict(found)


def test_subscribers_share_one_connection_and_keep_the_names_of_the_events(
    gateway: Gateway, source: Upstream
) -> None:
    before = source.statistics().requests
    with Subscriber(gateway.port, TICKER) as first, Subscriber(gateway.port, TICKER) as second:
        told, also = first.events(5), second.events(5)
    assert [event.name for event in told] == ["tick"] * 5
    assert numbers(told) == list(range(1, 6))
    assert [event.id for event in told] == [event.id for event in also]
    assert source.statistics().requests == before + 1


def test_the_source_is_left_after_the_last_subscriber(gateway: Gateway, source: Upstream) -> None:
    before = source.statistics()
    with Subscriber(gateway.port, TICKER) as subscriber:
        subscriber.events(1)
    source.wait_for_abort(before)
    assert described(gateway, "ticker")["state"] == "idle"


def test_a_late_subscriber_gets_the_ring_and_then_what_comes(gateway: Gateway) -> None:
    with Subscriber(gateway.port, TICKER) as first:
        first.events(40)
        with Subscriber(gateway.port, TICKER) as late:
            told = numbers(late.events(12))
    assert told == list(range(told[0], told[0] + 12))
    assert told[0] > 20


def test_who_comes_back_after_the_ring_has_turned_is_told_how_much_is_missing(gateway: Gateway) -> None:
    with Subscriber(gateway.port, TICKER) as first:
        seen = first.events(1)[0]
        first.events(40)
        with Subscriber(gateway.port, TICKER, Last_Event_ID=seen.id or "") as back:
            gap, event = back.events(2)
    assert gap.name == "gap"
    assert event.seq == seen.seq + 1 + gap.json["missed"]


def test_a_source_that_ends_is_asked_for_what_follows_the_last_event(gateway: Gateway, source: Upstream) -> None:
    def asked_again(seen: Statistics) -> bool:
        return seen.last_request is not None and seen.last_request["headers"].get("last-event-id") == "5"

    with Subscriber(gateway.port, "/v1/feeds/short/events") as subscriber:
        assert numbers(subscriber.events(5)) == [1, 2, 3, 4, 5]
        source.wait_until(asked_again, "the feed to ask for what follows", 10.0)


def test_a_source_that_refuses_is_tried_again_and_says_why(gateway: Gateway) -> None:
    with Subscriber(gateway.port, "/v1/feeds/nowhere/events") as subscriber:
        subscriber.wait_for_comment("connected")
        gateway.wait_for_event("feed lost its source")
        assert "HTTP 400" in str(described(gateway, "nowhere")["last_error"])


def test_an_unknown_feed_is_not_found(gateway: Gateway) -> None:
    refused: Answer = call(gateway, "GET", "/v1/feeds/none/events")
    assert refused.status == 404
    assert refused.error()["code"] == "resource_not_found"
    assert "ticker" in refused.error()["message"]
