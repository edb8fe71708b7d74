"""Sources as they are: long bursts, silence, pages that reload, keys, and readers that want only what comes now."""

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.kit.gateway import LocalGateway
from tests.kit.http_client import RawClient, call
from tests.kit.raw_upstream import RawUpstream
from tests.kit.scripted_upstream import ScriptedUpstream, Step
from tests.kit.sse_client import Event, Subscriber
from tests.kit.waiting import wait_for

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 10\n\n"
LONG = 60.0  # seconds: longer than any test
FEED = "/v1/feeds/{}/events"

Play = Callable[[bytes], Iterable[Step]]


class Feeds:
    """A gateway, made of the feeds that a test names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()

    def source(self, play: Play) -> ScriptedUpstream:
        source = ScriptedUpstream("source", play)
        self._stack.callback(source.close)
        return source

    def open(
        self, feeds: dict[str, tuple[str, str]], sections: str = "", environment: dict[str, str] | None = None
    ) -> LocalGateway:
        """`feeds`: the URL and more lines of each, by name."""
        parts = ['[server]\nlisten = "127.0.0.1:0"\n', sections]
        parts += [f'[[feeds]]\nname = "{name}"\nurl = "{url}"\n{more}\n' for name, (url, more) in feeds.items()]
        gateway = LocalGateway(self._folder, "".join(parts), environment)
        self._stack.callback(gateway.close)
        return gateway

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def feeds(tmp_path: Path) -> Iterator[Feeds]:
    opened = Feeds(tmp_path)
    yield opened
    opened.close()


def described(gateway: LocalGateway, name: str = "live") -> dict[str, Any]:
    listed = json.loads(call(gateway, "GET", "/v1/feeds").body)["data"]
    return next(entry for entry in listed if entry["id"] == f"feed:{name}")


def ids_of(source: ScriptedUpstream) -> list[str]:
    found = [re.search(rb"\r\nLast-Event-ID: ([^\r]*)", request) for request in source.requests]
    return [id_[1].decode() if id_ else "" for id_ in found]


def data_of(events: list[Event]) -> list[str]:
    return [event.data for event in events]


# --- how much is kept for whom


@pytest.mark.parametrize("readers", [1, 3])
def test_a_burst_that_is_longer_than_the_ring_reaches_whoever_is_up_to_date(feeds: Feeds, readers: int) -> None:
    go = threading.Event()

    def play(request: bytes) -> Iterator[Step]:
        yield HEAD + b"data: first\n\n"
        assert go.wait(LONG)
        yield b"".join(b"data: %b\n\n" % (b"%d" % n).ljust(87, b".") for n in range(20_000))
        yield LONG

    gateway = feeds.open({"live": (feeds.source(play).base_url, "")})
    with ExitStack() as stack:
        subscribers = [stack.enter_context(Subscriber(gateway.port, FEED.format("live"))) for _ in range(readers)]
        for subscriber in subscribers:
            assert subscriber.events(1)[0].data == "first"
        go.set()
        for subscriber in subscribers:
            events = subscriber.events(20_000)
            assert [event.name for event in events if event.name != "message"] == []
            assert [int(event.data.rstrip(".")) for event in events] == list(range(20_000))
        with Subscriber(gateway.port, FEED.format("live")) as late:
            assert late.events(1)[0].data.rstrip(".") == "19000"


def test_who_takes_nothing_falls_behind_and_is_told_how_much_is_missing(feeds: Feeds) -> None:
    go, last = threading.Event(), threading.Event()

    def play(request: bytes) -> Iterator[Step]:
        yield HEAD + b"data: first\n\n"
        assert go.wait(LONG)
        for _ in range(300):
            yield b"data: " + b"x" * 100_000 + b"\n\n"
        yield b"data: last\n\n"
        last.set()
        yield LONG

    gateway = feeds.open({"live": (feeds.source(play).base_url, "")}, "[stream]\nmax_log_bytes = 300000\n")
    with (
        Subscriber(gateway.port, FEED.format("live")) as quick,
        Subscriber(gateway.port, FEED.format("live")) as stuck,
    ):
        assert data_of(stuck.events(1)) == ["first"]
        go.set()
        events = quick.events(302)
        assert (events[0].data, events[-1].data, {event.name for event in events}) == ("first", "last", {"message"})
        assert last.wait(LONG)
        seen, missed = 1, 0
        while (event := stuck.events(1)[0]).data != "last":
            if event.name == "gap":
                missed += event.json["missed"]
            else:
                seen += 1
        assert missed > 0
        assert seen + missed == 301


# --- what comes before the events


def test_comments_and_retry_stand_in_the_block_of_the_next_event(feeds: Feeds) -> None:
    go = threading.Event()

    def play(request: bytes) -> Iterator[Step]:
        yield HEAD
        assert go.wait(LONG)
        yield b"data: 1\n\n"
        yield LONG

    gateway = feeds.open({"live": (feeds.source(play).base_url, "")}, "[stream]\nkeepalive_seconds = 0.05\n")
    with RawClient(gateway.port) as client:
        client.request("GET", FEED.format("live"), Accept="text/event-stream")
        head = client.head()
        assert "connection" not in head.headers
        body = client.chunk()
        for _ in range(3):
            body += client.chunk()
        assert re.fullmatch(rb": connected\nretry: [12]\d{3}\n(: keepalive\n){3}", body)
        go.set()
        while not body.endswith(b"\n\n"):
            body += client.chunk()
        assert re.fullmatch(rb"(: [a-z]+\n|retry: \d+\n)+data: 1\nid: \w+-0\n\n", body)


@pytest.mark.parametrize(
    "name", ["last_event_id", "lastEventId", "lastEventID", "LastEventId", "Last-Event-ID", "last-event-id"]
)
def test_the_last_id_is_read_from_the_query_by_any_of_its_names(feeds: Feeds, name: str) -> None:
    gateway = feeds.open(
        {"live": (feeds.source(lambda _: [HEAD + b"data: 1\n\ndata: 2\n\ndata: 3\n\n", LONG]).base_url, "")}
    )
    path = FEED.format("live")
    with Subscriber(gateway.port, path) as first:
        one, two, three = first.events(3)
        for query in (
            f"{name}={two.id}",
            f"last_event_id={one.id}&{name}={two.id}",
            f"{name}=&{name}={two.id}&from=now",
        ):
            with Subscriber(gateway.port, f"{path}?{query}") as again:
                assert again.events(1) == [three]
        with Subscriber(gateway.port, f"{path}?{name}={one.id}", Last_Event_ID=two.id or "") as again:
            assert again.events(1) == [three]


# --- from now on


def test_who_wants_what_comes_now_gets_nothing_that_was_before(feeds: Feeds) -> None:
    numbers = itertools.count(1)

    def play(request: bytes) -> Iterator[Step]:
        seen = re.search(rb"Last-Event-ID: (\d+)", request)
        if seen is not None:  # what was missed
            yield HEAD + b"".join(b"id: %d\ndata: missed\n\n" % n for n in range(int(seen[1]) + 1, 50))
        else:
            yield HEAD
        for number in numbers:
            yield b"id: %d\ndata: live %d\n\n" % (100 + number, number)
            yield 0.02

    source = feeds.source(play)
    gateway = feeds.open({"live": (source.base_url, "linger_seconds = 0")})
    path = FEED.format("live")
    with Subscriber(gateway.port, path) as first:
        before = first.events(3)
    wait_for(lambda: described(gateway)["state"] == "idle", "the feed to be idle")
    with Subscriber(gateway.port, path + "?from=now") as now:
        live = now.events(3)
        assert [event.name for event in live] == ["message"] * 3
        assert all(event.data.startswith("live") for event in live)
        with Subscriber(gateway.port, path, Last_Event_ID=before[0].id or "") as back:
            events = back.events(4)
    assert ids_of(source) == ["", ""]
    names = [event.name for event in events]
    assert names[:3] == ["message", "message", "gap"]  # whoever was here before is told that something may be missing
    assert events[:2] == before[1:]
    assert events[2].json == {"missed": None}
    assert events[3] == live[0]


# --- the source goes silent, or its readers do


def test_a_source_that_is_silent_for_too_long_is_connected_anew(feeds: Feeds) -> None:
    source = feeds.source(lambda _: [HEAD + b"id: 1\ndata: 1\n\n", LONG])
    gateway = feeds.open({"live": (source.base_url, "idle_timeout_ms = 200")})
    with Subscriber(gateway.port, FEED.format("live")) as subscriber:
        subscriber.events(3)
        assert "idle_timeout_ms (200)" in described(gateway)["last_error"]
    assert ids_of(source)[:3] == ["", "1", "1"]


def test_any_byte_of_a_source_is_a_sign_of_life(feeds: Feeds) -> None:
    alive: list[Step] = [0.05, b":\n\n"] * 16
    source = feeds.source(lambda _: [HEAD, *alive, b"data: 1\n\n", LONG])
    gateway = feeds.open({"live": (source.base_url, "idle_timeout_ms = 400")})
    with Subscriber(gateway.port, FEED.format("live")) as subscriber:
        assert data_of(subscriber.events(1)) == ["1"]
    assert len(source.requests) == 1


def test_the_kernel_finds_out_whether_a_silent_source_is_still_there(feeds: Feeds) -> None:
    source = feeds.source(lambda _: [HEAD + b"data: 1\n\n", LONG])
    gateway = feeds.open({"live": (source.base_url, "")})
    port = int(source.base_url.split(":")[2].split("/")[0])
    with Subscriber(gateway.port, FEED.format("live")) as subscriber:
        subscriber.events(1)

        def probes_in() -> int | None:
            """Hundredths of a second until the kernel probes the gateway's connection."""
            rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            timers = [row[5].split(":") for row in rows if row[2].endswith(f":{port:04X}")]
            return next((int(ticks, 16) for kind, ticks in timers if kind == "02"), None)

        assert 0 < wait_for(probes_in, "a timer of the kernel") <= 3000


def test_a_page_that_reloads_finds_its_source_connected(feeds: Feeds) -> None:
    def play(request: bytes) -> Iterator[Step]:
        yield HEAD
        for number in itertools.count(1):
            yield b"data: %d\n\n" % number
            yield 0.01

    source = feeds.source(play)
    gateway = feeds.open({"live": (source.base_url, ""), "brief": (source.base_url, "linger_seconds = 0.05")})
    seen: list[Event] = []
    for _ in range(4):
        last_id = (seen[-1].id or "") if seen else ""
        with Subscriber(gateway.port, FEED.format("live"), Last_Event_ID=last_id) as subscriber:
            seen += subscriber.events(5)
    assert data_of(seen) == [str(number) for number in range(1, 21)]
    assert len(source.requests) == 1
    with Subscriber(gateway.port, FEED.format("brief")) as subscriber:
        subscriber.events(1)
    wait_for(lambda: described(gateway, "brief")["state"] == "idle", "the source to be left")
    assert described(gateway)["state"] == "reading"


# --- keys


def test_a_feed_shows_its_source_the_headers_and_the_key_of_its_configuration(feeds: Feeds, tmp_path: Path) -> None:
    source = feeds.source(lambda _: [HEAD + b"data: 1\n\n", LONG])
    (tmp_path / "token").write_text("file-secret\n")
    settings = {
        "bearer": 'api_key_env = "FEED_KEY"\nheaders = { X-Room = "blue", User-Agent = "mine" }',
        "header": f'api_key_file = "{tmp_path}/token"\nauth_header = "x-api-key"',
        "scheme": 'api_key_env = "FEED_KEY"\nauth_scheme = "Token"\nheader_env = { Cookie = "FEED_COOKIE" }',
    }
    gateway = feeds.open(
        {name: (source.base_url, more) for name, more in settings.items()},
        environment={"FEED_KEY": "env-secret", "FEED_COOKIE": "a=b; c=d"},
    )
    for name in settings:
        with Subscriber(gateway.port, FEED.format(name)) as subscriber:
            subscriber.events(1)
    bearer, header, scheme = (request.decode().split("\r\n") for request in source.requests)
    assert {"Authorization: Bearer env-secret", "X-Room: blue", "User-Agent: mine"} <= set(bearer)
    assert "x-api-key: file-secret" in header
    assert {"Authorization: Token env-secret", "Cookie: a=b; c=d"} <= set(scheme)
    assert "secret" not in gateway.errors() + call(gateway, "GET", "/v1/feeds").body.decode()


def test_a_redirect_takes_no_key_to_another_origin(feeds: Feeds) -> None:
    other = feeds.source(lambda _: [HEAD + b"id: 7\ndata: there\n\n"])
    location = f"Location: {other.base_url}/there\r\n".encode()
    source = feeds.source(lambda _: [b"HTTP/1.1 307 T\r\nContent-Length: 0\r\n" + location + b"\r\n"])
    gateway = feeds.open(
        {"live": (source.base_url, 'api_key_env = "K"\nheaders = { X-Room = "blue" }')}, environment={"K": "s3cret"}
    )
    with Subscriber(gateway.port, FEED.format("live")) as subscriber:
        assert data_of(subscriber.events(2)) == ["there", "there"]
    assert all(b"Bearer s3cret" in request for request in source.requests)
    assert not any(b"s3cret" in request or b"X-Room" in request for request in other.requests)
    assert ids_of(other)[:2] == ["", "7"]


# --- what is told of a source


def test_the_state_of_a_source_is_told_with_its_reason_and_since_when(feeds: Feeds) -> None:
    is_open = threading.Event()
    good = b"data: 1\n\n"
    bad = b"HTTP/1.1 403 Secret\r\nContent-Length: 0\r\n\r\n"
    source = feeds.source(lambda _: [HEAD + good, LONG] if is_open.is_set() else [bad])
    gateway = feeds.open({"live": (source.base_url, "linger_seconds = 0")})
    idle = described(gateway)
    assert (idle["state"], idle["attempts"], idle["last_error"]) == ("idle", 0, None)
    with Subscriber(gateway.port, FEED.format("live")) as subscriber:
        begun = time.time()
        [told] = subscriber.events(1)
        reason = "the source answered HTTP 403 with nothing"
        assert (told.name, told.json) == ("source", {"state": "refused", "error": reason})
        refused = wait_for(lambda: (told := described(gateway))["attempts"] >= 2 and told, "a second attempt")
        assert refused["state"] in ("refused", "connecting")
        assert (refused["last_error"], refused["connections"]) == (reason, 0)
        assert begun - 2 <= refused["since"] <= begun + 1
        is_open.set()
        again, event = subscriber.events(2)
        assert (again.name, again.json, event.data) == ("source", {"state": "reading"}, "1")
        reading = described(gateway)
        assert (reading["state"], reading["attempts"], reading["connections"]) == ("reading", 0, 1)
        assert reading["since"] >= refused["since"]
    with Subscriber(gateway.port, FEED.format("live")) as late:
        assert [event.name for event in late.events(3)] == ["source", "source", "message"]


def test_an_ended_feed_is_over_for_its_readers_and_their_next_requests(feeds: Feeds) -> None:
    source = RawUpstream(
        lambda request: (
            b"HTTP/1.1 204 No Content\r\n\r\n" if b"Last-Event-ID" in request else HEAD + b"id: 1\ndata: 1\n\n"
        )
    )
    gateway = feeds.open({"live": (source.base_url, "")})
    try:
        with Subscriber(gateway.port, FEED.format("live")) as subscriber:
            events = subscriber.all_events()
        assert [event.name for event in events] == ["message", "end"]
        assert (
            call(gateway, "GET", FEED.format("live"), Last_Event_ID=events[-1].id or "", Connection="close").status
            == 204
        )
        with Subscriber(gateway.port, FEED.format("live")) as late:
            assert late.all_events() == events
        assert len(source.requests) == 2
        assert described(gateway)["state"] == "ended"
    finally:
        source.close()
