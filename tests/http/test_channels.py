"""Several streams and feeds over one connection: what comes, where it goes on, and who may read what."""

import json
import math
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.access.token_keys import load
from gateway.access.viewer_token import ViewerToken, mint
from tests.http.test_cuts import KINDS, by_the_book, read, unchunked
from tests.kit.completions import ENDLESS, MODEL, QUICK, body, text
from tests.kit.configuration import feed
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, call
from tests.kit.keyring import Keyring, MadeKey
from tests.kit.sse_client import Event, Subscriber, text_of
from tests.kit.upstreams import Upstream
from tests.kit.waiting import wait_for

FEEDS = """
[[feeds]]
name = "news"
publish = true

[[feeds]]
name = "orders"
publish = true
retain_events = 4
"""
EVENTS = 11  # of a QUICK stream: the role, 8 tokens, the finish and the end


class Scene:
    """A gateway with keys, streams and feeds."""

    def __init__(self, gateway: LocalGateway, keyring: Keyring) -> None:
        self.gateway = gateway
        self.storage = keyring.path
        self.key = keyring.create("page", publish=True)
        self.other = keyring.create("somebody else")

    def stream(self, simulate: dict[str, Any] = QUICK, key: MadeKey | None = None) -> str:
        answer = self.call("POST", "/v1/streams", body(simulate), key)
        assert answer.status == 201, answer.body
        return str(json.loads(answer.body)["id"])

    def stop(self, stream_id: str) -> None:
        self.call("DELETE", f"/v1/streams/{stream_id}")

    def publish(self, name: str, *data: str, event: str | None = None) -> None:
        lines = [json.dumps({"data": line, **({"event": event} if event else {})}) for line in data]
        content = "\n".join(lines).encode()
        answer = self.call("POST", f"/v1/feeds/{name}/events", content, content_type="application/x-ndjson")
        assert answer.status == 202, answer.body

    def call(
        self, method: str, path: str, content: Any = b"", key: MadeKey | None = None, content_type: str = ""
    ) -> Answer:
        headers = {"Authorization": (key or self.key).bearer} | (
            {"Content-Type": content_type} if content_type else {}
        )
        return call(self.gateway, method, path, content, **headers)

    def open(self, query: str, last_event_id: str = "", key: MadeKey | None = None, **headers: str) -> Subscriber:
        fields: dict[str, Any] = {"Authorization": (key or self.key).bearer, **headers}
        if last_event_id:
            fields["Last_Event_ID"] = last_event_id
        subscriber = Subscriber(self.gateway.port, f"/v1/events?{query}", **fields)
        assert subscriber.response.status == 200
        return subscriber

    def view(self, query: str) -> Subscriber:
        """Subscribe with nothing but what the query has."""
        return Subscriber(self.gateway.port, f"/v1/events?{query}")

    def refused(self, query: str, key: MadeKey | None = None) -> tuple[int, str]:
        answer = self.call("GET", f"/v1/events?{query}", key=key)
        return answer.status, answer.error()["code"]

    def token(self, *audiences: str, seconds: float = 60) -> str:
        expires_at = math.ceil(time.time() + seconds)
        return mint(ViewerToken(" ".join(audiences), expires_at), load(self.storage)[0])


@pytest.fixture(scope="module")
def scene(logs: Path, tmp_path_factory: pytest.TempPathFactory, alpha: Upstream) -> Iterator[Scene]:
    keyring = Keyring(tmp_path_factory.mktemp("channels"), [(alpha, [MODEL])])
    keyring.configuration += FEEDS + feed("ticker", alpha, "gap_ms=2")
    keyring.file.write_text(keyring.configuration)
    with keyring.serving(logs) as gateway:
        yield Scene(gateway, keyring)


def of(name: str, events: Sequence[Event]) -> list[Event]:
    """The events of one channel, its control events included."""
    return [event for event in events if event.name.split("/")[0] == name or channel_of(event) == name]


def channel_of(event: Event) -> str | None:
    return str(event.json["channel"]) if event.name in ("gap", "reset", "end") else None


def data_of(events: Sequence[Event]) -> list[str]:
    return [event.data for event in events]


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_each_channel_is_told_by_its_name_in_order_and_its_end_by_a_control_event(scene: Scene, version: str) -> None:
    first, second = scene.stream(), scene.stream()
    with scene.open(f"stream={first}&stream={second}", version=version) as page:
        events = page.all_events()
    assert len({event.id for event in events}) == len(events) == 2 * EVENTS
    for stream_id in (first, second):
        *told, end = of(stream_id, events)
        assert text_of([Event("message", event.data, event.id) for event in told]) == text(8)
        assert {event.name for event in told} == {stream_id}
        assert (end.name, end.json) == ("end", {"channel": stream_id, "ending": "completed"})


def test_the_data_is_that_of_a_subscription_to_the_channel_alone(scene: Scene) -> None:
    stream_id = scene.stream()
    with Subscriber(scene.gateway.port, f"/v1/streams/{stream_id}/events", Authorization=scene.key.bearer) as alone:
        *expected, _ = alone.all_events()
    with scene.open(f"stream={stream_id}") as page:
        *events, _ = page.all_events()
    assert data_of(events) == data_of(expected)


def test_the_name_that_a_source_gives_an_event_stands_behind_the_channel(scene: Scene) -> None:
    scene.publish("news", "one")
    scene.publish("news", "two", event="flash")
    with scene.open("feed=news&feed=ticker") as page:
        assert [(event.name, event.data) for event in page.events(2)] == [
            ("feed:news", "one"),
            ("feed:news/flash", "two"),
        ]
        assert {event.name for event in page.events(5)} == {"feed:ticker/tick"}


def test_a_page_goes_on_behind_the_last_event_whichever_it_was(scene: Scene) -> None:
    scene.publish("orders", "a", "b", "c")
    stream_id = scene.stream()
    query = f"stream={stream_id}&feed=orders"
    with scene.open(query) as page:
        whole = page.events(EVENTS + 3)
    for number, event in enumerate(whole[:-1]):
        with scene.open(query, event.id or "") as page:
            rest = page.events(len(whole) - number - 1)
        for name in (stream_id, "feed:orders"):
            assert data_of(of(name, rest)) == data_of(of(name, whole[number + 1 :]))
    with scene.open(query, whole[-1].id or "") as page:
        scene.publish("orders", "d")
        assert [(event.name, event.data) for event in page.events(1)] == [("feed:orders", "d")]


def test_events_that_come_while_nobody_is_there_are_not_missed(scene: Scene) -> None:
    with scene.open("feed=news&feed=orders&from=now") as page:
        scene.publish("news", "before")
        [seen] = page.events(1)
    scene.publish("orders", "meanwhile")
    scene.publish("news", "and this")
    with scene.open("feed=orders&feed=news", seen.id or "") as page:
        assert sorted(data_of(page.events(2))) == ["and this", "meanwhile"]


def by_channel(events: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The data of the events of each channel, its end among them."""
    found: dict[str, list[str]] = {}
    for name, data in events:
        found.setdefault(json.loads(data)["channel"] if name == "end" else name, []).append(data)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_that_is_cut_anywhere_goes_on_where_it_was(scene: Scene, kind: str) -> None:
    path = "/v1/events?token=" + scene.token(f"stream:{scene.stream()}", f"stream:{scene.stream()}")
    take, whole = KINDS[kind], read(scene.gateway, path, "1.1", "")
    first = unchunked(whole)
    right, last = by_the_book(first, "")
    assert take(first, "")[0] == right  # no block without data
    rests = {"": first, last: b""}
    for cut in range(0, len(whole), 7):
        before = unchunked(whole[:cut])
        if kind == "ids at once" and re.search(rb"\nid: [^\n]*\n\Z", before):
            continue  # the event is lost to such a client, whatever a server does
        events, last_id = take(before, "")
        if last_id not in rests:
            rests[last_id] = unchunked(read(scene.gateway, path, "1.1", last_id))
        assert by_channel(events + take(rests[last_id], last_id)[0]) == by_channel(right), cut


def test_what_a_feed_has_forgotten_meanwhile_is_told_for_this_channel(scene: Scene) -> None:
    with scene.open("feed=news&feed=orders&from=now") as page:
        scene.publish("news", "before")
        [seen] = page.events(1)
    scene.publish("orders", *"123456789")
    with scene.open("feed=news&feed=orders", seen.id or "") as page:
        gap, *rest = page.events(5)
    assert (gap.name, gap.json) == ("gap", {"channel": "feed:orders", "missed": 5})
    assert data_of(rest) == ["6", "7", "8", "9"]


def test_all_channels_or_some_begin_now(scene: Scene) -> None:
    scene.publish("news", "old news")
    scene.publish("orders", "old order")
    with (
        scene.open("feed=news&feed=orders&from=now") as page,
        scene.open("feed=news&feed=orders&from=feed:news:now") as other,
    ):
        scene.publish("news", "new")
        assert [(event.name, event.data) for event in page.events(1)] == [("feed:news", "new")]
        names = [event.name for event in other.events(5)]
    assert names == ["feed:orders"] * 4 + ["feed:news"]


def test_pages_with_the_same_channels_get_the_same_events_with_the_same_ids(scene: Scene) -> None:
    queries = ["feed=news&feed=orders&from=now", "feed=orders&feed=news&feed=news&from=now"]
    with scene.open(queries[0]) as one, scene.open(queries[1]) as two:
        scene.publish("news", "x", "y")
        scene.publish("orders", "z")
        assert one.events(3) == two.events(3)


def test_a_page_may_change_its_channels_and_miss_nothing(scene: Scene) -> None:
    with scene.open("feed=news&from=now") as page:
        scene.publish("news", "one")
        [seen] = page.events(1)
    scene.publish("news", "two")
    stream_id = scene.stream()
    with scene.open(f"feed=news&stream={stream_id}", seen.id or "") as page:
        events = page.events(EVENTS + 1)
    assert data_of(of("feed:news", events)) == ["two"]
    assert len(of(stream_id, events)) == EVENTS


def test_an_unknown_position_begins_anew_and_each_channel_is_told_so(scene: Scene) -> None:
    scene.publish("orders", "1", "2", "3", "4")
    stream_id = scene.stream()
    for position in ("42", "0123456789ab-7", "0123456789abp1-7", "x" * 200):
        with scene.open(f"feed=orders&stream={stream_id}&from=now", position) as page:
            one, two, *events = page.events(2 + 4 + EVENTS)
        assert [one.name, two.name] == ["reset", "reset"]
        assert {one.json["channel"], two.json["channel"]} == {"feed:orders", stream_id}
        assert (len(of("feed:orders", events)), len(of(stream_id, events))) == (4, EVENTS)


def test_a_page_goes_on_although_a_stream_of_it_was_forgotten_meanwhile(
    logs: Path, tmp_path: Path, alpha: Upstream
) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])], "[stream]\nretain_seconds = 0.2\n")
    keyring.configuration += FEEDS
    with keyring.serving(logs) as gateway:
        scene = Scene(gateway, keyring)
        stream_id = scene.stream()
        query = f"stream={stream_id}&feed=news"
        with scene.open(query) as page:
            *_, last = page.events(EVENTS)
        wait_for(lambda: scene.call("GET", f"/v1/streams/{stream_id}").status == 404, "the stream to be forgotten")
        scene.publish("news", "later")
        with scene.open(query, last.id or "") as page:
            assert [(event.name, event.data) for event in page.events(1)] == [("feed:news", "later")]
        with scene.open(query) as page:  # a page that comes new hears that there is no such stream
            assert [event.name for event in page.events(2)] == ["end", "feed:news"]


def test_nothing_comes_any_more_when_all_channels_have_ended(scene: Scene) -> None:
    streams = [scene.stream(), scene.stream()]
    query = "&".join(f"stream={stream_id}" for stream_id in streams)
    with scene.open(query) as page:
        *_, before, last = page.all_events()
    fields: dict[str, Any] = {"Authorization": scene.key.bearer, "Last_Event_ID": last.id or ""}
    with Subscriber(scene.gateway.port, f"/v1/events?{query}", **fields) as page:
        assert page.response.status == 204
    with scene.open(query, before.id or "") as page:
        assert page.all_events() == [last]


def test_a_channel_that_there_is_not_is_told_and_the_others_work(scene: Scene) -> None:
    mine, foreign = scene.stream(), scene.stream(key=scene.other)
    scene.publish("orders", "1", "2", "3", "4")
    query = f"stream={mine}&stream=nowhere&stream={foreign}&feed=orders&feed=gone"
    with scene.open(query) as page:
        events = page.events(3 + EVENTS + 4)
    for name in ("nowhere", foreign, "feed:gone"):
        [told] = of(name, events)
        assert (told.name, told.id, told.json["ending"]) == ("end", None, "refused")
        assert told.json["error"]["code"] == "resource_not_found"
    assert len(of(mine, events)) == EVENTS
    assert len(of("feed:orders", events)) == 4
    assert scene.refused("stream=nowhere&feed=gone") == (404, "resource_not_found")


def test_a_token_for_half_of_the_channels_opens_these(scene: Scene) -> None:
    mine, other = scene.stream(), scene.stream()
    answer = scene.call("POST", "/v1/events/tokens", {"streams": [mine], "feeds": ["orders"], "ttl_seconds": 60})
    fields = json.loads(answer.body)
    assert answer.status == 201
    assert 55 < fields["expires_at"] - time.time() <= 61
    scene.publish("orders", "1", "2", "3", "4")
    with scene.view(f"stream={mine}&stream={other}&feed=orders&token={fields['token']}") as page:
        events = page.events(1 + EVENTS + 4)
    [told] = of(other, events)
    assert told.json["error"]["code"] == "insufficient_permissions"
    assert len(of(mine, events)) == EVENTS
    assert scene.refused(f"stream={other}&token={fields['token']}") == (403, "insufficient_permissions")
    with scene.view(f"token={fields['token']}") as page:  # all that it is for
        assert len(page.events(EVENTS + 4)) == EVENTS + 4
    with Subscriber(scene.gateway.port, f"/v1/streams/{mine}/events?token={fields['token']}") as alone:
        assert len(alone.all_events()) == EVENTS


def test_a_token_that_expires_ends_all_channels_that_go_on(scene: Scene) -> None:
    running, quick = scene.stream(ENDLESS), scene.stream()
    token = scene.token(f"stream:{running}", f"stream:{quick}", seconds=0.2)
    with scene.view(f"token={token}") as page:
        events = page.all_events()
    assert of(quick, events)[-1].json["ending"] == "completed"
    assert (events[-1].id, events[-1].json) == (None, {"channel": running, "ending": "expired"})
    scene.stop(running)


def test_a_list_of_64_channels_is_taken_and_one_more_is_not(scene: Scene) -> None:
    stream_id = scene.stream()
    names = [f"none-{number}" for number in range(63)]
    for method, expected in (("stream", 201), ("streams", 400)):
        listed = [*names, stream_id] if expected == 201 else [*names, stream_id, "one-more"]
        answer = scene.call("POST", "/v1/events", {"streams": [*listed, stream_id]})  # the same twice counts once
        assert answer.status == expected, method
        if expected == 201:
            url = json.loads(answer.body)["events_url"]
            with scene.open(url.partition("?")[2]) as page:
                assert len(page.all_events()) == 63 + EVENTS
    assert scene.refused("&".join(f"stream=none-{number}" for number in range(65))) == (
        400,
        "invalid_parameter_value",
    )


@pytest.mark.parametrize(
    "query",
    [
        "",
        "stream=",
        "feed=",
        "stream=a%20b",
        "stream=a&from=then",
        "feed=news&from=feed:orders:now",
        "feed=news&ids=source",
    ],
)
def test_a_bad_query_is_refused(scene: Scene, query: str) -> None:
    assert scene.refused(query) == (400, "invalid_parameter_value")


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("", b"[]"), ("", b"{"), ("", b"{}"), ("", b'{"streams": "a"}'), ("", b'{"streams": [1]}'),
        ("", b'{"stream": ["a"]}'),
        ("", b'{"feeds": ["news"], "from": "then"}'), ("", b'{"feeds": ["news"], "from": {"feed:news": "then"}}'),
        ("/tokens", b""), ("/tokens", b"{}"), ("/tokens", b'{"feeds": ["news"], "ttl_seconds": 0}'),
        ("/tokens", b'{"feeds": ["news"], "from": "now"}'),
    ],
)  # fmt: skip
def test_a_bad_body_is_refused(scene: Scene, path: str, content: bytes) -> None:
    assert scene.call("POST", f"/v1/events{path}", content).status == 400


def test_a_url_of_a_list_keeps_where_each_channel_begins(scene: Scene) -> None:
    body = {"feeds": ["news", "orders"], "from": {"feed:news": "now"}}
    url = json.loads(scene.call("POST", "/v1/events", body).body)["events_url"]
    assert url == "/v1/events?feed=news&feed=orders&from=feed:news:now"


def test_no_token_is_made_for_what_the_caller_may_not_read(scene: Scene) -> None:
    foreign = scene.stream(key=scene.other)
    for content in ({"streams": [foreign], "feeds": ["news"]}, {"feeds": ["news", "gone"]}):
        assert scene.call("POST", "/v1/events/tokens", content).status == 404


def test_a_page_is_the_audience_of_its_streams(scene: Scene, alpha: Upstream) -> None:
    before = alpha.statistics()
    asked = body(ENDLESS, gateway={"stream": {"on_last_reader": "abort", "abort_grace_ms": 0}})
    stream_id = str(json.loads(scene.call("POST", "/v1/streams", asked).body)["id"])
    with scene.open(f"stream={stream_id}&feed=orders") as page:
        page.events(3)
    alpha.wait_for_abort(before)


def test_a_drain_sends_pages_away_when_their_streams_have_ended(logs: Path, tmp_path: Path, alpha: Upstream) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    keyring.configuration += FEEDS
    with keyring.serving(logs) as gateway:
        scene = Scene(gateway, keyring)
        stream_id = scene.stream(ENDLESS)
        page = scene.open(f"stream={stream_id}&feed=news")
        page.events(3)
    events = page.all_events()
    assert events[-1].json == {"channel": stream_id, "ending": "drained"}
    assert page.retry is not None
    page.socket.close()


def test_the_script_for_pages_is_small_and_any_page_may_load_it(scene: Scene) -> None:
    answer = call(scene.gateway, "GET", "/client.js")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert len(answer.body) <= 3072
