"""Shared streams over real sockets: every subscriber gets everything, and whoever must not, nothing."""

import json
import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.access.token_keys import load
from gateway.access.viewer_token import SigningKey, ViewerToken, mint
from tests.kit.certificates import Certificates
from tests.kit.completions import CLIENT_KEY, ENDLESS, MODEL, QUICK, body, text
from tests.kit.configuration import KEYS, ORDERED, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import RawClient, call, encrypted, fetch
from tests.kit.sse_client import Crowd, Subscriber, text_of
from tests.kit.streams import create, describe, wait_for_events, wait_for_state
from tests.kit.upstreams import Upstream, Upstreams
from tests.kit.waiting import wait_for

EVENTS = 10  # the number of events of a QUICK stream: the role, 8 tokens, the finish
LIVE = 2000  # the number of subscribers at the same time
SLOW = {"ttft_ms": 5, "gap_ms": 20, "tokens": 50}  # an answer that takes a second
MINE, YOURS = f"Bearer {CLIENT_KEY}", "Bearer sk-somebody-else-9f8e7d"


def path(stream: dict[str, Any], query: str = "") -> str:
    return str(stream["events_url"]) + (f"?{query}" if query else "")


def subscribe(
    gateway: Gateway, stream: dict[str, Any], query: str = "", *, version: str = "1.1", **headers: str
) -> Subscriber:
    subscriber = Subscriber(gateway.port, path(stream, query), version=version, trust=None, **headers)
    assert subscriber.response.status == 200
    return subscriber


def replay(gateway: Gateway, stream: dict[str, Any]) -> list[Any]:
    """All events, from the start to the end."""
    with subscribe(gateway, stream) as subscriber:
        return subscriber.all_events()


def refused(gateway: Gateway, target: str, **headers: str) -> tuple[int, str]:
    answer = call(gateway, "GET", target, **headers)
    return answer.status, answer.error()["code"]


@pytest.fixture(scope="module")
def origin(upstreams: Upstreams) -> Upstream:
    """A provider that only the gateways of this file know."""
    return upstreams.start("streamed")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("storage") / "gate.db"


@contextmanager
def serving(
    logs: Path, origin: Upstream, storage: Path, stream: str = "", server: str = ""
) -> Iterator[LocalGateway]:
    listen = f'[server]\nlisten = "127.0.0.1:0"\n{server}\n'
    sections = f'{listen}[stream]\n{stream}\n[storage]\npath = "{storage}"\n{ORDERED}'
    gateway = LocalGateway(logs, configuration([(origin, [MODEL])], sections), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


@pytest.fixture(scope="module")
def shared(logs: Path, origin: Upstream, storage: Path) -> Iterator[LocalGateway]:
    """A gateway that waits long for subscribers and lets them read as slowly as they want."""
    with serving(logs, origin, storage) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def strict(logs: Path, origin: Upstream, storage: Path) -> Iterator[LocalGateway]:
    """A gateway with short times and small limits for subscribers."""
    words = "abort_grace_ms = 500\nkeepalive_seconds = 0.1\nsubscriber_stall_seconds = 0.5\nmax_subscribers = 3"
    with serving(logs, origin, storage, words) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def forgetful(logs: Path, origin: Upstream, storage: Path) -> Iterator[LocalGateway]:
    """A gateway that keeps streams for a short time only."""
    with serving(logs, origin, storage, "retain_seconds = 1.0\ndetached_max_seconds = 0.5") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def frugal(logs: Path, origin: Upstream, storage: Path) -> Iterator[LocalGateway]:
    """A gateway that lets each key have one subscription."""
    with serving(logs, origin, storage, "max_subscribers_per_key = 1") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def draining(logs: Path, origin: Upstream, storage: Path) -> Iterator[LocalGateway]:
    """A gateway that reads an upstream to its end although no subscriber is left (`on_last_reader = "drain"`)."""
    with serving(logs, origin, storage, 'on_last_reader = "drain"') as gateway:
        yield gateway


# --- making streams and looking at them


def test_a_stream_begins_without_a_subscriber(shared: Gateway) -> None:
    answer = call(shared, "POST", "/v1/streams", body(QUICK))
    fields = json.loads(answer.body)
    assert answer.status == 201
    assert set(fields) == {"id", "events_url", "viewer_url", "expires_at"}
    assert fields["events_url"] == f"/v1/streams/{fields['id']}/events"
    assert fields["viewer_url"].startswith(fields["events_url"] + "?token=rgv_")
    assert 3590 < fields["expires_at"] - time.time() <= 3601
    assert answer.headers["location"] == f"/v1/streams/{fields['id']}"
    assert answer.headers["x-stream-id"] == fields["id"]
    assert answer.headers["x-request-id"]
    ended = wait_for_state(shared, fields["id"], state="ended")
    assert (ended["ending"], ended["readers_total"]) == ("completed", 0)


def test_a_stream_tells_about_itself(shared: Gateway) -> None:
    stream = create(shared, SLOW)
    with subscribe(shared, stream) as subscriber:
        subscriber.events(3)
        running = describe(shared, stream["id"])
        subscriber.all_events()
    ended = describe(shared, stream["id"])
    assert (running["object"], running["id"], running["model"]) == ("stream", stream["id"], MODEL)
    assert (running["state"], running["ending"], running["readers"]) == ("streaming", None, 1)
    assert (ended["state"], ended["ending"], ended["readers"]) == ("ended", "completed", 0)
    assert (ended["events"], ended["deliveries"], ended["readers_total"]) == (52, 52, 1)
    assert ended["upstream"] == "streamed"
    assert 0 < ended["ttft"]["first_byte_ms"] <= ended["ttft"]["first_event_ms"] <= ended["ttft"]["first_content_ms"]
    assert ended["usage"]["completion_tokens"] == 50
    assert ended["cost_usd"] > 0
    assert (ended["lag_events"], ended["lagged_readers"]) == (0, 0)


def test_streams_are_listed_newest_first(shared: Gateway) -> None:
    made = [create(shared, QUICK)["id"] for _ in range(3)]
    listed = json.loads(call(shared, "GET", "/v1/streams").body)
    assert listed["object"] == "list"
    assert [entry["id"] for entry in listed["data"]][:3] == made[::-1]


def test_a_stream_that_is_not_there_is_not_found(shared: Gateway) -> None:
    for method, target in (
        ("GET", "/v1/streams/st_none"),
        ("DELETE", "/v1/streams/st_none"),
        ("GET", "/v1/streams/st_none/events"),
        ("POST", "/v1/streams/st_none/tokens"),
    ):
        answer = call(shared, method, target)
        assert (answer.status, answer.error()["code"]) == (404, "resource_not_found")


# --- subscriptions


def test_a_subscriber_gets_every_event_with_an_id_and_the_end(shared: Gateway) -> None:
    stream = create(shared, QUICK)
    with subscribe(shared, stream) as subscriber:
        events = subscriber.all_events()
        assert subscriber.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert subscriber.response.headers["cache-control"] == "no-cache, no-transform"
        assert subscriber.response.headers["x-accel-buffering"] == "no"
        assert subscriber.response.headers["x-stream-id"] == stream["id"]
        assert "content-length" not in subscriber.response.headers
        assert subscriber.comments == ["connected"]
        assert subscriber.retry is not None
        assert 1000 <= subscriber.retry < 3000
    assert [event.seq for event in events] == list(range(EVENTS + 1))
    assert len({event.epoch for event in events}) == 1
    assert text_of(events[:-1]) == text(8)
    assert (events[-1].name, events[-1].json) == ("end", {"ending": "completed"})
    assert {event.name for event in events[:-1]} == {"message"}


def test_a_live_and_a_replayed_stream_are_the_same(shared: Gateway) -> None:
    stream = create(shared, SLOW)
    with subscribe(shared, stream) as early, subscribe(shared, stream) as late:
        early.events(20)
        assert early.all_events() == late.all_events()[20:]
    assert text_of(replay(shared, stream)) == text(50)


def test_from_now_begins_with_what_comes_next(shared: Gateway) -> None:
    stream = create(shared, SLOW)
    before = wait_for_events(shared, stream["id"], 5)["events"]
    with subscribe(shared, stream, "from=now") as subscriber:
        events = subscriber.all_events()
    assert events[0].seq >= before
    assert [event.seq for event in events] == list(range(events[0].seq, 53))


def test_from_now_after_the_end_is_the_end(shared: Gateway) -> None:
    stream = create(shared, QUICK)
    wait_for_state(shared, stream["id"], state="ended")
    with subscribe(shared, stream, "from=now") as subscriber:
        assert [event.name for event in subscriber.all_events()] == ["end"]


@pytest.mark.parametrize("seen", [0, 3, EVENTS - 1])
@pytest.mark.parametrize("how", ["header", "query", "both"])
def test_a_subscriber_resumes_behind_the_last_event_it_has_seen(shared: Gateway, seen: int, how: str) -> None:
    stream = create(shared, QUICK)
    everything = replay(shared, stream)
    last_id = everything[seen].id
    headers = {} if how == "query" else {"Last_Event_ID": last_id}
    query = "" if how == "header" else f"last_event_id={everything[0].id if how == 'both' else last_id}"
    with subscribe(shared, stream, query, **headers) as subscriber:
        assert subscriber.all_events() == everything[seen + 1 :]


def test_a_subscriber_that_is_cut_off_live_resumes_without_gap_or_duplicate(shared: Gateway) -> None:
    stream = create(shared, SLOW)
    events: list[Any] = []
    for count in (1, 7, 15):
        headers = {"Last_Event_ID": events[-1].id} if events else {}
        with subscribe(shared, stream, **headers) as subscriber:
            events += subscriber.events(count)
            subscriber.hang_up("rst")
    with subscribe(shared, stream, f"last_event_id={events[-1].id}") as subscriber:
        events += subscriber.all_events()
    assert events == replay(shared, stream)


@pytest.mark.parametrize("how", ["header", "query"])
def test_when_everything_was_delivered_there_is_no_content(shared: Gateway, how: str) -> None:
    stream = create(shared, QUICK)
    last_id = replay(shared, stream)[-1].id
    if how == "header":
        answer = call(shared, "GET", path(stream), Last_Event_ID=last_id, Connection="close")
    else:
        answer = call(shared, "GET", path(stream, f"last_event_id={last_id}"), Connection="close")
    assert (answer.status, answer.body) == (204, b"")


def test_an_id_of_another_epoch_resets_and_replays(shared: Gateway) -> None:
    stream = create(shared, QUICK)
    everything = replay(shared, stream)
    with subscribe(shared, stream, Last_Event_ID="0123456789ab-5") as subscriber:
        reset, *rest = subscriber.all_events()
    assert (reset.name, reset.id, reset.json) == ("reset", None, {"epoch": everything[0].epoch})
    assert rest == everything


@pytest.mark.parametrize(
    "last_id", ["nonsense", "7", "{epoch}-", "{epoch}-x", "{epoch}-99", "{epoch}-11", "{epoch}--1"]
)
def test_an_id_that_cannot_be_ours_resets_and_replays(shared: Gateway, last_id: str) -> None:
    stream = create(shared, QUICK)
    everything = replay(shared, stream)
    given = last_id.format(epoch=everything[0].epoch)
    for query, headers in (("", {"Last_Event_ID": given}), (f"last_event_id={quote(given)}", {})):
        with subscribe(shared, stream, query, **headers) as subscriber:
            reset, *rest = subscriber.all_events()
        assert (reset.name, reset.id, reset.json) == ("reset", None, {"epoch": everything[0].epoch})
        assert rest == everything


def test_an_http_1_0_client_gets_bare_events_up_to_the_end_of_the_connection(shared: Gateway) -> None:
    stream = create(shared, SLOW)
    with subscribe(shared, stream, version="1.0") as subscriber:
        assert "transfer-encoding" not in subscriber.response.headers
        events = subscriber.all_events()
    assert events == replay(shared, stream)


def test_a_head_request_has_no_body(shared: Gateway) -> None:
    stream = create(shared, QUICK)
    with RawClient(shared.port) as client:
        client.request("HEAD", path(stream))
        assert client.head().status in (200, 405)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.rest() == b""


def test_a_subscriber_that_sends_more_than_its_request_loses_nothing(shared: Gateway) -> None:
    stream = create(shared, SLOW)
    with subscribe(shared, stream) as subscriber:
        for _ in range(10):
            subscriber.socket.sendall(b"?" * 1000)
            subscriber.events(2)
        rest = subscriber.all_events()
    assert rest == replay(shared, stream)[20:]


def test_a_silence_is_filled_with_comments(strict: Gateway) -> None:
    stream = create(strict, {**QUICK, "stall_after": 2})
    with subscribe(strict, stream) as subscriber:
        subscriber.events(3)
        for _ in range(3):
            subscriber.wait_for_comment("keepalive")
            subscriber.comments.clear()
        call(strict, "DELETE", f"/v1/streams/{stream['id']}")
        events = subscriber.all_events()
    assert events[-1].json == {"ending": "stopped"}


def test_more_subscribers_than_a_stream_may_have_are_told_to_come_later(strict: Gateway) -> None:
    stream = create(strict, ENDLESS)
    subscribers = [subscribe(strict, stream) for _ in range(3)]
    refusal = call(strict, "GET", path(stream))
    assert (refusal.status, refusal.error()["code"]) == (503, "service_unavailable")
    assert 1 <= int(refusal.headers["retry-after"]) <= 5
    subscribers.pop().close()
    wait_for_state(strict, stream["id"], readers=2)
    subscribers.append(subscribe(strict, stream))
    for subscriber in subscribers:
        subscriber.close()
    call(strict, "DELETE", f"/v1/streams/{stream['id']}")


def test_a_key_with_all_its_subscriptions_is_told_to_come_later_and_no_other_key_is(frugal: Gateway) -> None:
    mine, yours = (create(frugal, ENDLESS, Authorization=whose) for whose in (MINE, YOURS))
    first = subscribe(frugal, mine, Authorization=MINE)
    refusal = call(frugal, "GET", path(mine), Authorization=MINE)
    assert (refusal.status, refusal.error()["code"]) == (429, "rate_limit_exceeded")
    assert 1 <= int(refusal.headers["retry-after"]) <= 5
    with subscribe(frugal, yours, Authorization=YOURS) as other:
        other.events(2)
    first.events(2)
    first.close()
    wait_for_state(frugal, mine["id"], readers=0)
    with subscribe(frugal, mine, Authorization=MINE) as second:
        second.events(2)
    for stream, whose in ((mine, MINE), (yours, YOURS)):
        call(frugal, "DELETE", f"/v1/streams/{stream['id']}", Authorization=whose)


# --- how a stream ends


@pytest.mark.parametrize("failure", [{"cut_after": 3}, {"reset_after": 3}, {"error_after": 3}, {"close_after": 3}])
def test_an_upstream_that_fails_in_mid_stream_ends_it_in_words(shared: Gateway, failure: dict[str, int]) -> None:
    stream = create(shared, {**QUICK, **failure})
    events = replay(shared, stream)
    *content, error, end = events
    assert text_of(content) == text(3)
    assert error.json["error"]["code"] == "upstream_error"
    assert (end.name, end.json) == ("end", {"ending": "upstream_error"})
    assert [event.seq for event in events] == list(range(len(events)))
    assert describe(shared, stream["id"])["ending"] == "upstream_error"
    assert call(shared, "GET", path(stream), Last_Event_ID=end.id, Connection="close").status == 204


def test_a_stream_that_never_begins_tells_its_subscribers_why(shared: Gateway) -> None:
    stream = create(shared, {"status": 500})
    error, end = replay(shared, stream)
    assert error.json["error"]["code"] == "upstream_error"
    assert end.json == {"ending": "upstream_error"}


@pytest.mark.parametrize("moment", ["in silence", "in mid-stream"])
def test_a_stream_is_stopped_on_purpose(shared: Gateway, origin: Upstream, moment: str) -> None:
    before = origin.statistics()
    stream = create(shared, ENDLESS if moment == "in mid-stream" else {"stall_before": "head"})
    with subscribe(shared, stream) as subscriber:
        if moment == "in mid-stream":
            subscriber.events(3)
        else:
            origin.wait_for_request(before)
        stopped = call(shared, "DELETE", f"/v1/streams/{stream['id']}")
        *_, error, end = subscriber.all_events()
    assert stopped.status == 200
    assert (json.loads(stopped.body)["state"], json.loads(stopped.body)["ending"]) == ("ended", "stopped")
    assert error.json["error"]["code"] == "stream_aborted"
    assert end.json == {"ending": "stopped"}
    origin.wait_for_abort(before)


def test_stopping_what_has_ended_changes_nothing(shared: Gateway) -> None:
    stream = create(shared, QUICK)
    everything = replay(shared, stream)
    assert json.loads(call(shared, "DELETE", f"/v1/streams/{stream['id']}").body)["ending"] == "completed"
    assert replay(shared, stream) == everything


def test_what_an_abort_left_can_be_replayed(shared: Gateway, origin: Upstream) -> None:
    before = origin.statistics()
    with RawClient(shared.port) as client:
        client.post(body(ENDLESS, stream=True))
        stream_id = client.head().headers["x-stream-id"]
        client.chunk()
        client.hang_up("fin")
    origin.wait_for_abort(before)
    *_, error, end = replay(shared, {"events_url": f"/v1/streams/{stream_id}/events"})
    assert error.json["error"]["code"] == "stream_aborted"
    assert end.json == {"ending": "abandoned"}


def test_a_finished_stream_is_forgotten_after_its_time(forgetful: Gateway) -> None:
    stream = create(forgetful, QUICK)
    assert replay(forgetful, stream)[-1].name == "end"
    wait_for(lambda: call(forgetful, "GET", f"/v1/streams/{stream['id']}").status == 404, "a 404")
    assert refused(forgetful, path(stream)) == (404, "resource_not_found")
    assert refused(forgetful, stream["viewer_url"]) == (404, "resource_not_found")
    assert stream["id"] not in call(forgetful, "GET", "/v1/streams").body.decode()


def test_a_stream_that_nobody_reads_expires(forgetful: Gateway, origin: Upstream) -> None:
    before = origin.statistics()
    stream = create(forgetful, ENDLESS)
    origin.wait_for_abort(before)
    ended = describe(forgetful, stream["id"])
    assert ended["ending"] == "expired"
    assert replay(forgetful, stream)[-1].json == {"ending": "expired"}


def test_a_stream_with_a_subscriber_does_not_expire_until_the_subscriber_leaves(
    forgetful: Gateway, origin: Upstream
) -> None:
    before = origin.statistics()
    stream = create(forgetful, ENDLESS)
    with subscribe(forgetful, stream) as subscriber:
        subscriber.events(80)  # 0.8 s of talk
        assert describe(forgetful, stream["id"])["state"] == "streaming"
    origin.wait_for_abort(before)


# --- who is listening


def posted(gateway: Gateway, simulate: dict[str, Any], **headers: str) -> tuple[RawClient, dict[str, Any]]:
    """A streamed completion after its first event, and how it is subscribed to."""
    client = RawClient(gateway.port)
    client.post(body(simulate, stream=True), **headers)
    head = client.head()
    assert head.status == 200
    client.chunk()
    stream_id = head.headers["x-stream-id"]
    return client, {"id": stream_id, "events_url": f"/v1/streams/{stream_id}/events"}


def test_a_completion_runs_on_while_a_subscriber_stays_and_no_longer(shared: Gateway, origin: Upstream) -> None:
    before = origin.statistics()
    client, stream = posted(shared, ENDLESS)
    with subscribe(shared, stream) as subscriber:
        subscriber.events(2)
        client.hang_up("fin")
        wait_for_state(shared, stream["id"], readers=1)
        subscriber.events(40)
        assert origin.statistics().aborted == before.aborted
    origin.wait_for_abort(before)
    assert describe(shared, stream["id"])["ending"] == "abandoned"


def test_a_completion_runs_on_when_its_subscribers_leave(shared: Gateway, origin: Upstream) -> None:
    client, stream = posted(shared, SLOW)
    for way in ("fin", "half", "rst"):
        with subscribe(shared, stream) as subscriber:
            subscriber.events(1)
            subscriber.hang_up(way)
            wait_for_state(shared, stream["id"], readers=1)
    with client:
        assert b"".join(iter(client.chunk, b"")).endswith(b"data: [DONE]\n\n")


def test_the_upstream_waits_for_the_grace_before_it_is_aborted(strict: Gateway, origin: Upstream) -> None:
    before = origin.statistics()
    client, stream = posted(strict, ENDLESS)
    left_at = time.monotonic()
    client.hang_up("fin")
    wait_for_state(strict, stream["id"], readers=0, state="streaming")
    aborted_at = origin.wait_for_abort(before).aborts[-1]["at"]
    assert aborted_at - left_at >= 0.49


def test_a_subscriber_within_the_grace_saves_the_stream(strict: Gateway, origin: Upstream) -> None:
    before = origin.statistics()
    client, stream = posted(strict, ENDLESS)
    client.hang_up("rst")
    wait_for_state(strict, stream["id"], readers=0)
    with subscribe(strict, stream) as subscriber:
        subscriber.events(80)  # 0.8 s: longer than the grace
        assert origin.statistics().aborted == before.aborted
    origin.wait_for_abort(before)


def test_a_drained_completion_is_read_to_its_end_for_nobody(draining: Gateway, origin: Upstream) -> None:
    before = origin.statistics()
    client, stream = posted(draining, SLOW)
    client.hang_up("fin")
    wait_for_state(draining, stream["id"], readers=0, state="streaming")
    ended = wait_for_state(draining, stream["id"], state="ended")
    assert ended["ending"] == "completed"
    assert origin.statistics().aborted == before.aborted
    assert text_of(replay(draining, stream)) == text(50)


# --- viewer tokens


@pytest.fixture
def key(shared: Gateway, storage: Path) -> SigningKey:
    """The key that the gateways sign with."""
    return load(storage)[0]


def minted(key: SigningKey, stream: dict[str, Any], seconds: float) -> str:
    return mint(ViewerToken(f"stream:{stream['id']}", math.ceil(time.time() + seconds)), key)


def test_a_viewer_url_opens_its_stream(shared: Gateway) -> None:
    stream = create(shared, QUICK, Authorization=MINE)
    with Subscriber(shared.port, stream["viewer_url"]) as subscriber:
        assert text_of(subscriber.all_events()[:-1]) == text(8)
    token = stream["viewer_url"].partition("?token=")[2]
    described = describe(shared, f"{stream['id']}?token={token}")
    assert described["ending"] == "completed"
    assert "cost_usd" not in described  # only the key that pays sees the cost
    with Subscriber(shared.port, stream["viewer_url"]) as late:  # the upstream that answers is known by now
        assert late.response.headers["x-upstream"] == described["upstream"]
        assert {"x-ttft-ms", "x-attempts", "x-stream-id"} <= late.response.headers.keys()


def test_a_token_is_valid_for_the_time_that_was_asked_for(shared: Gateway) -> None:
    stream = create(shared, QUICK)
    for content, ttl in (
        (b"", 3600),
        (b'{"ttl_seconds": 60}', 60),
        (b"{}", 3600),
        (b'{"ttl_seconds": 2592000}', 2592000),
    ):
        answer = call(shared, "POST", f"/v1/streams/{stream['id']}/tokens", content)
        fields = json.loads(answer.body)
        assert answer.status == 201
        assert ttl - 5 < fields["expires_at"] - time.time() <= ttl + 1
        with Subscriber(shared.port, path(stream, f"token={fields['token']}")) as subscriber:
            assert len(subscriber.all_events()) == EVENTS + 1


@pytest.mark.parametrize(
    "content",
    [b"[]", b"{", b'{"ttl_seconds": 0}', b'{"ttl_seconds": 2592001}', b'{"ttl_seconds": "60"}', b'{"ttl": 60}',
     b'{"ttl_seconds": true}', b'{"ttl_seconds": 1.5}', b'{"ttl_seconds": null}'],
)  # fmt: skip
def test_a_bad_request_for_a_token_is_refused(shared: Gateway, content: bytes) -> None:
    stream = create(shared, QUICK)
    assert call(shared, "POST", f"/v1/streams/{stream['id']}/tokens", content).status == 400


def test_a_token_that_was_tampered_with_is_not_let_in(shared: Gateway, key: SigningKey) -> None:
    stream = create(shared, QUICK)
    good = minted(key, stream, 60)
    for bad in (good[:-1], good[:-1] + ("A" if good[-1] != "A" else "B"), good.replace("rgv", "rgw"), "", "x", "é",
                good.partition(".")[0], quote(good + "\0"), "a" * 5000):  # fmt: skip
        assert refused(shared, path(stream, f"token={quote(bad)}")) == (401, "invalid_api_key")


def test_a_token_for_another_stream_is_not_permitted(shared: Gateway, key: SigningKey) -> None:
    stream, other = create(shared, QUICK), create(shared, QUICK)
    assert refused(shared, path(stream, f"token={minted(key, other, 60)}")) == (403, "insufficient_permissions")


def test_an_expired_token_is_not_permitted(shared: Gateway, key: SigningKey) -> None:
    stream = create(shared, QUICK)
    assert refused(shared, path(stream, f"token={minted(key, stream, -1)}")) == (403, "insufficient_permissions")


def test_a_token_may_only_read(shared: Gateway) -> None:
    stream = create(shared, ENDLESS, Authorization=MINE)
    token = stream["viewer_url"].partition("?token=")[2]
    for method, target in (("DELETE", stream["id"]), ("POST", f"{stream['id']}/tokens")):
        answer = call(shared, method, f"/v1/streams/{target}?token={token}", Authorization=YOURS)
        assert answer.status == 404
    wait_for_state(shared, stream["id"], state="streaming")
    call(shared, "DELETE", f"/v1/streams/{stream['id']}", Authorization=MINE)


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_token_that_expires_sends_its_subscriber_away(shared: Gateway, key: SigningKey, version: str) -> None:
    stream = create(shared, ENDLESS)
    with subscribe(shared, stream) as owner:
        expires_at = math.ceil(time.time() + 0.3)
        token = mint(ViewerToken(f"stream:{stream['id']}", expires_at), key)
        with subscribe(shared, stream, f"token={token}", version=version) as viewer:
            *events, end = viewer.all_events()
        assert expires_at - 0.1 < time.time() < expires_at + 1
        assert [event.seq for event in events] == list(range(len(events)))
        assert (end.name, end.json, end.id) == ("end", {"ending": "expired"}, None)
        assert owner.events(len(events) + 5)[: len(events)] == events
        assert refused(shared, path(stream, f"token={token}"))[0] == 403
    call(shared, "DELETE", f"/v1/streams/{stream['id']}")


def test_no_token_is_ever_logged(shared: Gateway, key: SigningKey) -> None:
    stream = create(shared, QUICK, x_request_id="with-token")
    good = minted(key, stream, 60)
    call(shared, "GET", path(stream, f"token={good}"))
    call(shared, "GET", path(stream, f"token={good}x"))
    call(shared, "GET", path(stream, f"token={good}&last_event_id=nonsense"))
    call(shared, "POST", path(stream, f"token={good}"))
    shared.ending("with-token")
    written = shared.errors()
    assert "rgv_" not in written
    assert good.partition(".")[2] not in written
    assert key.secret.hex() not in written


# --- whose it is


def test_the_stream_of_one_key_does_not_exist_for_another(shared: Gateway) -> None:
    stream = create(shared, QUICK, Authorization=MINE)
    for method, target in (
        ("GET", stream["id"]),
        ("DELETE", stream["id"]),
        ("GET", f"{stream['id']}/events"),
        ("POST", f"{stream['id']}/tokens"),
    ):
        answer = call(shared, method, f"/v1/streams/{target}", Authorization=YOURS)
        assert (answer.status, answer.error()["code"]) == (404, "resource_not_found")
    assert stream["id"] not in call(shared, "GET", "/v1/streams", Authorization=YOURS).body.decode()


def test_its_own_key_and_the_operator_see_a_stream(shared: Gateway) -> None:
    stream = create(shared, QUICK, Authorization=MINE)
    for headers in ({"Authorization": MINE}, {}):
        assert describe(shared, stream["id"], **headers)["id"] == stream["id"]
        assert stream["id"] in call(shared, "GET", "/v1/streams", **headers).body.decode()
        with subscribe(shared, stream, **headers) as subscriber:
            assert len(subscriber.all_events()) == EVENTS + 1


def test_a_stream_without_a_key_is_not_seen_by_a_key(shared: Gateway) -> None:
    stream = create(shared, QUICK)
    assert refused(shared, path(stream), Authorization=MINE) == (404, "resource_not_found")


def test_a_key_of_any_bytes_is_a_key(tmp_path: Path, origin: Upstream) -> None:
    with serving(tmp_path, origin, tmp_path / "gate.db") as gateway:
        with RawClient(gateway.port) as client:
            client.socket.sendall(
                b"GET /v1/streams HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff\xfe\r\n\r\n"
            )
            status = client.answer().status
        assert status in (200, 400, 401)


# --- X-Stream-Key


def test_requests_with_the_same_key_share_one_upstream_stream(shared: Gateway, origin: Upstream) -> None:
    before = origin.statistics()
    first, stream = posted(shared, SLOW, X_Stream_Key="live")
    second, same = posted(shared, SLOW, X_Stream_Key="live")
    assert same == stream
    bodies = [b"".join(iter(client.chunk, b"")) for client in (first, second)]
    assert bodies[0].endswith(b"data: [DONE]\n\n")
    for client in (first, second):
        client.close()
    again = fetch(shared.port, body(SLOW, stream=True), X_Stream_Key="live")
    assert (again.headers["x-stream-id"], again.text()) == (stream["id"], text(50))
    assert again.body.endswith(bodies[0])
    assert origin.statistics().requests == before.requests + 1


def test_one_of_two_clients_that_share_a_stream_may_leave(shared: Gateway, origin: Upstream) -> None:
    before = origin.statistics()
    first, _ = posted(shared, ENDLESS, X_Stream_Key="leaving")
    second, stream = posted(shared, ENDLESS, X_Stream_Key="leaving")
    first.hang_up("fin")
    wait_for_state(shared, stream["id"], readers=1)
    for _ in range(20):
        second.chunk()
    assert origin.statistics().aborted == before.aborted
    second.hang_up("rst")
    origin.wait_for_abort(before)


def test_a_detached_stream_is_shared_by_key_too(shared: Gateway) -> None:
    first = create(shared, QUICK, X_Stream_Key="detached")
    assert create(shared, QUICK, X_Stream_Key="detached")["id"] == first["id"]


def test_another_body_under_the_same_key_is_a_conflict(shared: Gateway) -> None:
    first = create(shared, QUICK, X_Stream_Key="taken")
    replay(shared, first)
    for content in (body(SLOW), body(QUICK, temperature=0.5)):
        answer = call(shared, "POST", "/v1/streams", content, X_Stream_Key="taken")
        assert (answer.status, answer.error()["code"]) == (409, "stream_key_conflict")
    answer = fetch(shared.port, body(SLOW, stream=True), X_Stream_Key="taken")
    assert (answer.status, answer.headers["x-should-retry"]) == (409, "false")


def test_the_same_key_of_another_client_is_another_stream(shared: Gateway) -> None:
    mine = create(shared, QUICK, X_Stream_Key="common", Authorization=MINE)
    yours = create(shared, SLOW, X_Stream_Key="common", Authorization=YOURS)
    assert mine["id"] != yours["id"]


def test_after_a_failure_a_key_begins_a_new_stream(shared: Gateway) -> None:
    first = create(shared, {**QUICK, "cut_after": 2}, X_Stream_Key="failing")
    assert replay(shared, first)[-1].json == {"ending": "upstream_error"}
    assert create(shared, {**QUICK, "cut_after": 2}, X_Stream_Key="failing")["id"] != first["id"]


@pytest.mark.parametrize("bad", ["", "k" * 257, "a\tb"])
def test_a_bad_stream_key_is_refused(shared: Gateway, bad: str) -> None:
    for answer in (
        call(shared, "POST", "/v1/streams", body(QUICK), X_Stream_Key=bad),
        fetch(shared.port, body(QUICK, stream=True), X_Stream_Key=bad),
    ):
        assert answer.status == 400
        assert answer.error()["param"] == "X-Stream-Key"


@pytest.mark.parametrize("good", ["k" * 256, "a b", "schlüssel", "🔑"])
def test_a_stream_key_of_printable_characters_is_accepted(shared: Gateway, good: str) -> None:
    stream = create(shared, QUICK, X_Stream_Key=good)
    assert create(shared, QUICK, X_Stream_Key=good)["id"] == stream["id"]


def test_a_key_whose_stream_has_forgotten_its_start_begins_a_new_one(
    logs: Path, origin: Upstream, storage: Path
) -> None:
    with serving(logs, origin, storage, "max_log_bytes = 4096") as gateway:
        first, stream = posted(gateway, SLOW, X_Stream_Key="long")
        wait_for_events(gateway, stream["id"], 30)
        answer = fetch(gateway.port, body(SLOW, stream=True), X_Stream_Key="long")
        assert answer.headers["x-stream-id"] != stream["id"]
        assert answer.text() == text(50)
        assert b"".join(iter(first.chunk, b"")).endswith(b"data: [DONE]\n\n")
        first.close()


def test_a_stream_that_nobody_reads_waits_when_its_log_is_full(tmp_path: Path, origin: Upstream) -> None:
    with serving(tmp_path, origin, tmp_path / "gate.db", "max_log_bytes = 4096") as gateway:
        stream = create(gateway, SLOW)
        wait_for_state(gateway, stream["id"], state="streaming")
        with subscribe(gateway, stream) as subscriber:
            events = subscriber.all_events()
        assert [event.seq for event in events] == list(range(53))


# --- TLS


def test_a_subscriber_over_tls_gets_everything(logs: Path, origin: Upstream, storage: Path, tmp_path: Path) -> None:
    certificates = Certificates.make(tmp_path)
    files = f'tls_cert_file = "{certificates.good}"\ntls_key_file = "{certificates.good}"'
    with serving(logs, origin, storage, server=files) as gateway:
        trust = certificates.authority
        key_of = {"X_Stream_Key": "over-tls"}
        with RawClient(gateway.port) as client:
            client.socket = encrypted(client.socket, trust)
            client.post(body(SLOW, stream=True), **key_of)
            stream_id = client.head().headers["x-stream-id"]
            target = f"/v1/streams/{stream_id}/events"
            subscribers = [Subscriber(gateway.port, target, trust=trust) for _ in range(5)]
            leaving = Subscriber(gateway.port, target, trust=trust)
            leaving.events(3)
            leaving.close()
            events = [subscriber.all_events() for subscriber in subscribers]
            for subscriber in subscribers:
                subscriber.close()
            assert b"".join(iter(client.chunk, b"")).endswith(b"data: [DONE]\n\n")
        assert text_of(events[0]) == text(50)
        assert [event.seq for event in events[0]] == list(range(53))
        assert all(item == events[0] for item in events)
        with Subscriber(gateway.port, target, trust=trust, Last_Event_ID=str(events[0][40].id)) as late:
            assert late.all_events() == events[0][41:]


# --- many


def test_a_stuck_subscriber_is_closed_as_lagged_and_holds_up_nobody(strict: Gateway) -> None:
    stream = create(strict, {"ttft_ms": 0, "gap_ms": 0, "tokens": 40_000})
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect(("127.0.0.1", strict.port))
    with stuck:
        stuck.sendall(f"GET {path(stream)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_for_state(strict, stream["id"], readers=1)
        began = time.monotonic()
        with subscribe(strict, stream) as other:
            events = other.all_events()
        seconds = time.monotonic() - began
        assert [event.seq for event in events] == list(range(40_003))
        ended = wait_for_state(strict, stream["id"], lagged_readers=1, readers=0)
        assert ended["ending"] == "completed"
        assert seconds < 10
        strict.wait_for_event("reader lagged", stream_id=stream["id"])


def test_two_thousand_live_subscribers_get_every_byte(shared: Gateway) -> None:
    stream = create(shared, {"ttft_ms": 1500, "gap_ms": 20, "tokens": 50})
    crowd = Crowd(shared.port, [path(stream)] * LIVE)
    crowd.read(crowd.have_heads)
    bodies = crowd.bodies()
    crowd.leave(reset=True)
    late = Crowd(shared.port, [path(stream)])
    expected = late.bodies()[0]
    late.leave(reset=False)
    assert text_of(replay(shared, stream)) == text(50)
    assert len(bodies) == LIVE
    assert set(bodies) == {expected}
    described = wait_for_state(shared, stream["id"], readers=0)
    assert (described["lagged_readers"], described["readers_total"]) == (0, LIVE + 2)


def test_no_subscriber_gets_another_streams_bytes(shared: Gateway) -> None:
    words = [" ".join(f"s{number}w{word}" for word in range(40)) for number in range(8)]
    streams = [create(shared, {"ttft_ms": 300, "gap_ms": 5, "tokens": 40, "text": entry}) for entry in words]
    crowd = Crowd(shared.port, [path(stream) for _ in range(25) for stream in streams])
    bodies = crowd.bodies()
    crowd.leave(reset=True)
    for number, stream in enumerate(streams):
        late = Crowd(shared.port, [path(stream)])
        assert set(bodies[number::8]) == set(late.bodies())
        late.leave(reset=False)
        assert text_of(replay(shared, stream)).split() == words[number].split()
