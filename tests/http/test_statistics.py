"""The built-in feed of statistics: one producer for any number of subscribers, idle while there is none."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.run.statistics import MAX_LISTED
from tests.kit.completions import CLIENT_KEY, ENDLESS, MODEL, PROMPT, UPSTREAM_KEY, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.keyring import Keyring
from tests.kit.sse_client import Event, Subscriber
from tests.kit.streams import create
from tests.kit.upstreams import Upstream
from tests.kit.waiting import wait_for

PATH = "/v1/feeds/statistics/events"
SUBSCRIBERS = 20
MAX_EVENT_BYTES = 20_000  # of an event with one upstream and all the streams that it may list


@pytest.fixture
def gateway(tmp_path: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    sections = f'[storage]\npath = "{tmp_path}/s.db"\n'
    gateway = LocalGateway(tmp_path, configuration([(alpha, [MODEL])], sections), KEYS)
    yield gateway
    gateway.close()


def described(gateway: Gateway) -> dict[str, object]:
    feeds = json.loads(call(gateway, "GET", "/v1/feeds").body)["data"]
    return next(dict(item) for item in feeds if item["id"] == "feed:statistics")


def positions(events: list[Event]) -> list[int]:
    return [event.seq for event in events]


def test_the_first_subscriber_gets_an_event_at_once_and_then_each_second(gateway: Gateway) -> None:
    with Subscriber(gateway.port, PATH) as subscriber:
        first, second, third = (event.json for event in subscriber.events(3))
    assert first["ready"] is True
    for earlier, later in ((first, second), (second, third)):
        assert 0.8 < later["at"] - earlier["at"] < 5


def test_one_producer_serves_many_subscribers(gateway: Gateway) -> None:
    with contextlib.ExitStack() as opened:
        subscribers = [opened.enter_context(Subscriber(gateway.port, PATH)) for _ in range(SUBSCRIBERS)]
        received = [viewer.events(3) for viewer in subscribers]
        now = described(gateway)
    assert now["readers"] == SUBSCRIBERS
    by_position: dict[int, set[str]] = {}
    for events in received:
        assert positions(events) == list(range(events[0].seq, events[0].seq + 3))
        for event in events:
            by_position.setdefault(event.seq, set()).add(event.data)
    assert all(len(texts) == 1 for texts in by_position.values())  # every subscriber gets the same event
    assert int(str(now["events"])) < SUBSCRIBERS  # an event is made once, not once for each subscriber


def test_no_event_is_made_without_a_subscriber_and_the_next_subscriber_starts_the_feed_again(
    gateway: Gateway,
) -> None:
    assert (described(gateway)["state"], described(gateway)["events"]) == ("idle", 0)
    with Subscriber(gateway.port, PATH) as viewer:
        last = viewer.events(2)[-1]
        assert described(gateway)["state"] == "reading"
    wait_for(lambda: described(gateway)["state"] == "idle", "the end of the production")
    made = described(gateway)["events"]
    with Subscriber(gateway.port, PATH, Last_Event_ID=last.id or "") as again:
        event = again.events(1)[0]
    assert made == last.seq + 1  # no event was made while there was no subscriber
    assert (event.epoch, event.seq) == (last.epoch, last.seq + 1)


def test_one_of_two_subscribers_that_leaves_does_not_stop_the_feed(gateway: Gateway) -> None:
    with Subscriber(gateway.port, PATH) as stays:
        with Subscriber(gateway.port, PATH) as leaves:
            leaves.events(1)
        stays.events(3)


def test_a_late_subscriber_gets_the_newest_event_and_not_the_past(gateway: Gateway) -> None:
    with Subscriber(gateway.port, PATH) as first:
        seen = first.events(4)
        with Subscriber(gateway.port, PATH) as late:
            events = late.events(1)[0]
    assert events.seq >= seen[-1].seq


def test_an_event_tells_of_streams_of_upstreams_and_of_endings(gateway: Gateway) -> None:
    unhurried = {"ttft_ms": 5, "gap_ms": 40, "tokens": 30}  # a machine that stands still does not make one read of it
    fetch(gateway.port, body(unhurried, stream=True), Authorization=f"Bearer {CLIENT_KEY}")
    fetch(gateway.port, body({"ttft_ms": 60_000}, stream=True), X_Max_TTFT_Ms="50")
    stream = create(gateway, ENDLESS)
    with Subscriber(gateway.port, stream["events_url"]) as reader, Subscriber(gateway.port, PATH) as subscriber:
        reader.events(3)
        event = subscriber.events(2)[-1]
        fields = event.json
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")
    assert fields["streams"]["running"] == 1
    assert fields["streams"]["endings"] == {"completed": 1, "ttft_budget_exceeded": 1}
    assert fields["budget_misses"] == 1
    assert sum(fields["ttft_ms"]["counts"]) == 1
    assert sum(fields["gap_ms"]["counts"]) == 1
    assert fields["readers"] == 1
    assert fields["deliveries"] >= 3
    assert fields["sends"] >= 1
    assert fields["connections"] >= 2
    assert fields["open_fds"] > 5
    assert fields["loop_lag_ms"] >= 0
    assert fields["requests"] == 3
    assert fields["list"][0]["id"] == stream["id"]
    [upstream] = fields["upstreams"]
    assert (upstream["upstream"], upstream["breaker"], upstream["in_flight"]) == ("alpha", "closed", 1)
    for secret in (PROMPT, CLIENT_KEY, UPSTREAM_KEY):
        assert secret not in event.data


def test_any_key_may_read_the_feed_and_an_id_in_it_is_of_no_use_to_another_key(
    logs: Path, tmp_path: Path, alpha: Upstream
) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    owner, stranger = keyring.create("somebody with a name"), keyring.create()
    gateway = keyring.start(logs)
    try:
        assert call(gateway, "GET", PATH).status == 401
        stream = create(gateway, ENDLESS, Authorization=owner.bearer)
        of_the_stream = stream["viewer_url"].rpartition("?")[2]
        assert call(gateway, "GET", f"{PATH}?{of_the_stream}").status == 403
        with Subscriber(gateway.port, stream["viewer_url"]) as reader:
            reader.events(3)
            with Subscriber(gateway.port, PATH, Authorization=stranger.bearer) as subscriber:
                [event] = subscriber.events(1)
        for path in ("history", "failures", "streams"):
            assert call(gateway, "GET", f"/v1/statistics/{path}").status == 401
            assert call(gateway, "GET", f"/v1/statistics/{path}?{of_the_stream}").status == 403
            assert call(gateway, "GET", f"/v1/statistics/{path}", Authorization=stranger.bearer).status == 200
        history = json.loads(call(gateway, "GET", "/v1/statistics/history", Authorization=stranger.bearer).body)
        assert history["sees"] == "its own"
        assert call(gateway, "GET", "/v1/statistics/usage", Authorization=stranger.bearer).status == 403
        [listed] = event.json["list"]
        assert listed["id"] == stream["id"]
        assert set(listed["usage"]) == {"completion_tokens", "estimated"}
        assert "cost_usd" not in listed
        for private in (PROMPT, owner.id, owner.secret, "somebody with a name"):
            assert private not in event.data
        path = f"/v1/streams/{listed['id']}"
        for method, where in (("GET", path), ("GET", f"{path}/events"), ("POST", f"{path}/tokens"), ("DELETE", path)):
            assert call(gateway, method, where, Authorization=stranger.bearer).status == 404
        assert call(gateway, "DELETE", path, Authorization=owner.bearer).status == 200
    finally:
        gateway.close()


def told(gateway: Gateway, path: str) -> Any:
    return json.loads(call(gateway, "GET", f"/v1/statistics/{path}").body)


def test_a_page_that_opens_gets_failures_and_breakers_with_reasons_and_attempts(
    tmp_path: Path, alpha: Upstream
) -> None:
    sections = f'[storage]\npath = "{tmp_path}/s.db"\n[routing]\nbreaker_failures = 2\n'
    gateway = LocalGateway(tmp_path, configuration([(alpha, [MODEL])], sections), KEYS)
    try:
        fetch(gateway.port, body({"tokens": 5}, stream=True))
        answers = [fetch(gateway.port, body({"status": 507}, stream=True)) for _ in range(3)]
        assert [answer.status for answer in answers] == [502, 502, 503]
        failures = told(gateway, "failures")
        refused, second, first = failures["data"]
        assert (refused["outcome"], refused["status"], refused["stream"]) == ("no_provider_available", 503, None)
        assert refused["reason"] == "no upstream of this model is up: alpha"
        assert (first["outcome"], first["status"], first["model"]) == ("upstream_error", 502, MODEL)
        assert first["request_id"] == answers[0].headers["x-request-id"]
        [attempt] = first["attempts"]
        assert (attempt["upstream"], attempt["status"], attempt["reason"]) == ("alpha", 507, "HTTP 507")
        assert told(gateway, f"failures?after={second['number']}")["data"] == [refused]
        history = told(gateway, "history")
        [change] = history["breaker_changes"]["data"]
        assert (change["upstream"], change["to"], change["cause"]) == ("alpha", "open", "failures in a row")
        assert change["reason"] == "HTTP 507"
        assert history["sees"] == "everybody's"
        with Subscriber(gateway.port, PATH) as subscriber:
            fields = subscriber.events(1)[0].json
        assert (fields["failures"], fields["breaker_changes"]) == (failures["count"], 1)
        assert fields["tokens"] == 5
        [used] = told(gateway, "usage")["data"][-1:]
        assert (used["model"], used["key"], used["requests"], used["completion_tokens"]) == (MODEL, None, 3, 5)
        assert PROMPT not in json.dumps([failures, history, used])
        for wrong in ("failures?after=x", "streams?sort=cost", "streams?state=x", "streams?offset=-1"):
            assert call(gateway, "GET", f"/v1/statistics/{wrong}").status == 400
    finally:
        gateway.close()


def test_an_event_lists_the_newest_streams_and_stays_small(gateway: Gateway) -> None:
    made = [create(gateway, {"ttft_ms": 0, "gap_ms": 0, "tokens": 1}) for _ in range(MAX_LISTED + 10)]
    with Subscriber(gateway.port, PATH) as subscriber:
        event = subscriber.events(1)[0]
    assert sorted(row["id"] for row in event.json["list"]) == sorted(row["id"] for row in made[-MAX_LISTED:])
    assert len(event.data) < MAX_EVENT_BYTES


def test_streams_are_found_sorted_and_paged(gateway: Gateway) -> None:
    long = create(gateway, {"ttft_ms": 5, "gap_ms": 0, "tokens": 30})
    short = [create(gateway, {"ttft_ms": 5, "gap_ms": 0, "tokens": 3 + number}) for number in range(2)]
    running = create(gateway, ENDLESS)
    wait_for(lambda: told(gateway, "history") and told_running(gateway) == 1, "the end of the short streams")
    found = told(gateway, "streams?sort=-tokens&state=ended")
    assert (found["found"], found["searched"]) == (3, 4)
    assert [row["id"] for row in found["data"]] == [long["id"], short[1]["id"], short[0]["id"]]
    assert [row["id"] for row in told(gateway, "streams?sort=tokens&state=ended&limit=1&offset=1")["data"]] == [
        short[1]["id"]
    ]
    assert [row["id"] for row in told(gateway, "streams?state=running")["data"]] == [running["id"]]
    assert told(gateway, "streams?state=failed")["found"] == 0
    assert told(gateway, f"streams?search={short[0]['id'].upper()}")["found"] == 1
    call(gateway, "DELETE", f"/v1/streams/{running['id']}")


def told_running(gateway: Gateway) -> int:
    page = json.loads(call(gateway, "GET", "/v1/streams?limit=100").body)
    return sum(stream["ending"] is None for stream in page["data"])


def test_whoever_only_looks_on_does_not_count_as_a_reader(gateway: Gateway) -> None:
    stream = create(gateway, ENDLESS)
    path = stream["events_url"]
    with Subscriber(gateway.port, f"{path}?audience=no") as onlooker, Subscriber(gateway.port, path) as reader:
        assert [event.data for event in onlooker.events(3)] == [event.data for event in reader.events(3)]
        assert json.loads(call(gateway, "GET", f"/v1/streams/{stream['id']}").body)["readers"] == 1
    assert call(gateway, "GET", f"{path}?audience=maybe").status == 400
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")
