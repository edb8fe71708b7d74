"""Feeds: any SSE source for any number of subscribers, connected while somebody reads."""

import itertools
import json
import math
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.access.token_keys import load
from gateway.access.viewer_token import ViewerToken, mint
from gateway.simulate import ProviderStatistics
from tests.kit.completions import MODEL
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import Answer, RawClient, call
from tests.kit.raw_upstream import RawUpstream
from tests.kit.sse_client import Event, Subscriber
from tests.kit.upstreams import Upstream, Upstreams
from tests.kit.waiting import wait_for

TICKER = "/v1/feeds/ticker/events"


def feed(name: str, upstream: Upstream, query: str, more: str = "") -> str:
    return f'[[feeds]]\nname = "{name}"\nurl = "{upstream.base_url}/events?{query}"\n{more}\n'


@pytest.fixture(scope="module")
def source() -> Iterator[Upstream]:
    providers = Upstreams()
    yield providers.start("source")
    providers.close()


@pytest.fixture
def gateway(logs: Path, source: Upstream, tmp_path: Path) -> Iterator[LocalGateway]:
    sections = f'[storage]\npath = "{tmp_path / "feeds.db"}"\n'
    feeds = [
        feed("ticker", source, "gap_ms=10", "retain_events = 8\nlinger_seconds = 0.1"),
        feed("short", source, "count=5&gap_ms=2"),
        feed("nowhere", source, "count=nonsense"),
        feed("strict", source, "gap_ms=2&padding_bytes=20000", 'retain_events = 16\nlag = "close"'),
    ]
    started = LocalGateway(logs, configuration([(source, [MODEL])], sections) + "\n".join(feeds), KEYS)
    try:
        yield started
    finally:
        started.close()


def numbers(events: list[Event]) -> list[int]:
    return [event.json["n"] for event in events]


def described(gateway: Gateway, name: str) -> dict[str, object]:
    [found] = [
        entry for entry in json.loads(call(gateway, "GET", "/v1/feeds").body)["data"] if entry["id"] == f"feed:{name}"
    ]
    return dict(found)


def test_subscribers_share_one_connection_and_keep_the_names_of_the_events(
    gateway: Gateway, source: Upstream
) -> None:
    before = source.statistics().requests
    with Subscriber(gateway.port, TICKER) as first, Subscriber(gateway.port, TICKER) as second:
        events, also = first.events(5), second.events(5)
    assert [event.name for event in events] == ["tick"] * 5
    assert numbers(events) == list(range(1, 6))
    assert [event.id for event in events] == [event.id for event in also]
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
            events = numbers(late.events(12))
    assert events == list(range(events[0], events[0] + 12))
    assert events[0] > 20


def test_a_subscriber_that_comes_back_after_the_ring_has_turned_is_told_how_much_is_missing(gateway: Gateway) -> None:
    with Subscriber(gateway.port, TICKER) as first:
        seen = first.events(1)[0]
        first.events(40)
        with Subscriber(gateway.port, TICKER, Last_Event_ID=seen.id or "") as back:
            gap, event = back.events(2)
    assert gap.name == "gap"
    assert event.seq == seen.seq + 1 + gap.json["missed"]


def test_a_source_that_ends_is_asked_for_what_follows_the_last_event(gateway: Gateway, source: Upstream) -> None:
    def asked_again(seen: ProviderStatistics) -> bool:
        return seen.last_request is not None and seen.last_request["headers"].get("last-event-id") == "5"

    with Subscriber(gateway.port, "/v1/feeds/short/events") as subscriber:
        assert numbers(subscriber.events(5)) == [1, 2, 3, 4, 5]
        source.wait_until(asked_again, "the feed to ask for what follows", 10.0)


def test_a_source_that_refuses_is_tried_again_and_says_why(gateway: Gateway) -> None:
    with Subscriber(gateway.port, "/v1/feeds/nowhere/events") as subscriber:
        subscriber.wait_for_comment("connected")
        gateway.wait_for_event("feed lost its source")
        assert "HTTP 400" in str(described(gateway, "nowhere")["last_error"])


@pytest.mark.parametrize(
    ("kind", "told"),
    [("secret/word-of-the-source", "something else"), ("Text/HTML; a=secret", "text/html"), ("", "nothing")],
)
def test_no_word_of_a_source_is_told_of_an_answer_that_is_no_stream(
    logs: Path, source: Upstream, tmp_path: Path, kind: str, told: str
) -> None:
    line = f"Content-Type: {kind}\r\n" if kind else ""
    odd = RawUpstream(lambda request: f"HTTP/1.1 200 Secret\r\n{line}Connection: close\r\n\r\nsecret".encode())
    sections = f'[storage]\npath = "{tmp_path / "odd.db"}"\n[[feeds]]\nname = "odd"\nurl = "{odd.base_url}/events"\n'
    gateway = LocalGateway(logs, configuration([(source, [MODEL])], sections), KEYS)
    try:
        with Subscriber(gateway.port, "/v1/feeds/odd/events") as subscriber:
            subscriber.wait_for_comment("connected")
            line = gateway.wait_for_event("feed lost its source")["reason"]
            assert line == described(gateway, "odd")["last_error"] == f"the source answered HTTP 200 with {told}"
        assert "secret" not in gateway.errors().lower()
    finally:
        gateway.close()
        odd.close()


def test_the_ids_of_the_source_stand_in_the_id_for_those_who_can_read_no_other_field(gateway: Gateway) -> None:
    with Subscriber(gateway.port, TICKER + "?ids=source") as subscriber:
        events = subscriber.events(3)
    for event in events:
        position, slash, source_id = (event.id or "").partition("/")
        assert slash
        assert source_id == str(event.json["n"])
        assert position.rpartition("-")[2].isdigit()
    with Subscriber(gateway.port, TICKER + "?ids=source", Last_Event_ID=events[1].id or "") as back:
        assert back.events(1) == [events[2]]
    refused = call(gateway, "GET", TICKER + "?ids=mine")
    assert (refused.status, refused.error()["param"]) == (400, "ids")


def test_a_subscriber_that_falls_out_of_a_strict_ring_is_closed_and_others_are_not(gateway: Gateway) -> None:
    path = "/v1/feeds/strict/events"
    with Subscriber(gateway.port, path) as quick, RawClient(gateway.port) as slow:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.request("GET", path, Accept="text/event-stream")
        seen = quick.events(1)

        def closed() -> bool:
            seen.extend(quick.events(50))
            return any(line["event"] == "reader lagged" for line in gateway.lines())

        wait_for(closed, "the slow subscriber to fall out of the ring", 60.0)
        seen.extend(quick.events(50))
    assert numbers(seen) == list(range(seen[0].json["n"], seen[0].json["n"] + len(seen)))


def minted(gateway: Gateway, storage: Path, audience: str, seconds: float) -> str:
    return mint(ViewerToken(audience, math.ceil(time.time() + seconds)), load(storage)[0])


def test_a_viewer_token_opens_its_feed_and_no_other_and_ends_with_its_time(gateway: Gateway, tmp_path: Path) -> None:
    storage = tmp_path / "feeds.db"
    token = minted(gateway, storage, "feed:ticker", 0.5)
    with Subscriber(gateway.port, f"{TICKER}?token={token}") as viewer:
        events = viewer.all_events()
    assert (events[-1].name, events[-1].json) == ("end", {"ending": "expired"})
    assert numbers(events[:-1])
    for query, status in (
        (f"token={token}", 403),
        (f"token={minted(gateway, storage, 'feed:short', 60)}", 403),
        (f"token={minted(gateway, storage, 'stream:ticker', 60)}", 403),
        (f"token={token[:-2]}", 401),
    ):
        assert call(gateway, "GET", f"{TICKER}?{query}").status == status
    assert token not in gateway.errors()


def test_an_unknown_feed_is_not_found(gateway: Gateway) -> None:
    refused: Answer = call(gateway, "GET", "/v1/feeds/none/events")
    assert refused.status == 404
    assert refused.error()["code"] == "resource_not_found"
    assert "ticker" in refused.error()["message"]


def test_an_id_that_no_request_can_carry_does_not_keep_a_feed_from_its_source(
    logs: Path, source: Upstream, tmp_path: Path
) -> None:
    numbers = itertools.count(1)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 20\n\n"
    odd = RawUpstream(lambda request: head + b"id: \x01odd\ndata: %d\n\n" % next(numbers))
    sections = f'[storage]\npath = "{tmp_path / "odd.db"}"\n[[feeds]]\nname = "odd"\n'
    sections += f'url = "{odd.base_url}/events"\n'
    gateway = LocalGateway(logs, configuration([(source, [MODEL])], sections), KEYS)
    try:
        with Subscriber(gateway.port, "/v1/feeds/odd/events") as subscriber:
            events = subscriber.events(5)
        # What the source may have sent in between nobody knows, and it is told.
        assert [event.name for event in events] == ["message", "gap", "message", "gap", "message"]
        assert [event.data for event in events if event.name == "message"] == ["1", "2", "3"]
        assert not any(b"last-event-id" in head.lower() for head in odd.requests)
    finally:
        gateway.close()
        odd.close()
