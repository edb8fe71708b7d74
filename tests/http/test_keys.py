"""API keys over the wire: who is let in, what it costs, and that nobody spends what is not there."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.completion.spending import SLICE_TOKENS
from gateway.http.answer_plan import STREAM_TOKENS
from gateway.http.opening import DENSEST_PROMPT
from tests.access.books import new_secret
from tests.kit.completions import ENDLESS, MODEL, QUICK, body, text
from tests.kit.gateway import Gateway
from tests.kit.http_client import Answer, RawClient, call, fetch
from tests.kit.keyring import (
    FREE,
    QUICK_COST,
    TOKEN_COST,
    UNPRICED,
    Keyring,
    MadeKey,
    fetch_json,
    prompt_cost,
)
from tests.kit.sse_client import Subscriber, text_of
from tests.kit.streams import create
from tests.kit.upstreams import Upstream
from tests.kit.waiting import wait_for

CHUNK_COST = 3 * TOKEN_COST  # the cost of the event with the longest word, counted by its bytes
CLIENTS = 200
REVOKED_SECONDS = 5.0


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, alpha: Upstream) -> Keyring:
    return Keyring(tmp_path_factory.mktemp("keys"), [(alpha, [MODEL, "gpt-4o"])])


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring) -> Iterator[Gateway]:
    with keyring.serving(logs) as gateway:
        yield gateway


@pytest.fixture
def key(keyring: Keyring) -> MadeKey:
    """A key without any limit."""
    return keyring.create()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/streams"])
def test_without_a_key_nothing_is_answered_but_health(gateway: Gateway, alpha: Upstream, path: str) -> None:
    before = alpha.statistics()
    answer = call(gateway, "POST", path, body(QUICK))
    assert answer.status == 401
    assert answer.error()["code"] == "invalid_api_key"
    for other in ("/v1/models", "/v1/me", "/v1/usage", "/v1/streams", "/v1/directory/models", "/v1/registry/models"):
        assert call(gateway, "GET", other).status == 401
    assert call(gateway, "GET", "/healthz").status == 200
    assert call(gateway, "GET", "/readyz").status == 200
    assert alpha.statistics().requests == before.requests


def test_a_key_is_known_to_all_its_clients_as_soon_as_it_is_made(gateway: Gateway, keyring: Keyring) -> None:
    fetch(gateway.port, body(QUICK), Authorization=f"Bearer {new_secret()}")
    key = keyring.create()
    with ThreadPoolExecutor(20) as pool:
        requests = [pool.submit(call, gateway, "GET", "/v1/me", Authorization=key.bearer) for _ in range(40)]
    assert {entry.result().status for entry in requests} == {200}


def test_a_listener_that_is_open_to_the_network_serves_where_there_is_a_key(
    logs: Path, tmp_path: Path, alpha: Upstream
) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])], '[server]\nlisten = "0.0.0.0:0"\n')
    key = keyring.create()
    gateway = keyring.start(logs)
    try:
        assert fetch(gateway.port, body(QUICK)).status == 401
        assert fetch(gateway.port, body(QUICK), Authorization=key.bearer).status == 200
    finally:
        gateway.close()


def test_a_gateway_without_keys_closes_with_the_first_one(logs: Path, tmp_path: Path, alpha: Upstream) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    gateway = keyring.start(logs)
    try:
        assert fetch(gateway.port, body(QUICK)).status == 200
        keyring.create()
        wait_for(lambda: fetch(gateway.port, body(QUICK)).status == 401, "a refusal", REVOKED_SECONDS)
    finally:
        gateway.close()


def test_the_limit_is_told_by_every_answer_and_a_refusal_does_not_count(gateway: Gateway, keyring: Keyring) -> None:
    key = keyring.create(rpm=2)
    answers = [fetch(gateway.port, body(QUICK), Authorization=key.bearer) for _ in range(5)]
    assert [item.status for item in answers] == [200, 200, 429, 429, 429]
    assert [item.headers["x-ratelimit-remaining-requests"] for item in answers] == ["1", "0", "0", "0", "0"]
    assert {item.headers["x-ratelimit-limit-requests"] for item in answers} == {"2"}
    waits = [int(item.headers["retry-after"]) for item in answers[2:]]
    assert all(0 < wait <= 30 for wait in waits)  # if refusals counted, each would lengthen the wait
    assert waits == sorted(waits, reverse=True)


# --- money


def test_what_was_reserved_and_not_used_is_given_back(gateway: Gateway, keyring: Keyring) -> None:
    key = keyring.create(balance_usd="0.1")
    answer = fetch(gateway.port, body(QUICK, stream=True), Authorization=key.bearer)
    reserved = DENSEST_PROMPT * prompt_cost(body(QUICK, stream=True)) + STREAM_TOKENS * TOKEN_COST
    assert int(answer.headers["x-credits-balance-microdollars"]) == 100_000 - reserved
    [record] = keyring.records(key, 1)
    assert record["cost"] == QUICK_COST
    assert keyring.balance(key) == 100_000 - record["cost"]
    assert fetch_json(gateway, "/v1/me", key)["balance_usd"] == (100_000 - record["cost"]) / 1_000_000
    failed = fetch(gateway.port, body({"status": 500}, stream=True), Authorization=key.bearer)
    assert failed.status == 502
    assert keyring.records(key, 2)[1]["cost"] == 0
    assert keyring.balance(key) == 100_000 - record["cost"]


def test_a_stream_that_uses_up_the_balance_is_cut_and_its_upstream_aborted(
    gateway: Gateway, keyring: Keyring, alpha: Upstream
) -> None:
    request = body({**ENDLESS, "gap_ms": 1}, stream=True)
    balance = prompt_cost(request) + 30 * TOKEN_COST
    key = keyring.create(balance_usd=f"{balance / 1_000_000:.6f}")
    before = alpha.statistics()
    answer = fetch(gateway.port, request, Authorization=key.bearer)
    *_, error, done = answer.events()
    assert answer.status == 200
    assert (error["error"]["code"], error["error"]["type"], done) == (
        "budget_exhausted",
        "rate_limit_error",
        "[DONE]",
    )
    alpha.wait_for_abort(before)
    [record] = keyring.records(key, 1)
    assert record["ending"] == "budget_exhausted"
    assert record["estimated"] == 1
    assert balance <= record["cost"] <= balance + CHUNK_COST
    assert fetch(gateway.port, body(QUICK, stream=True), Authorization=key.bearer).status == 402
    assert gateway.ending(answer.headers["x-request-id"])["ending"] == "budget_exhausted"


@pytest.mark.parametrize("lax", [{}, {"tokens": 80, "ttft_ms": 0}, {"pretty": True}, {"split": 9}], ids=str)
def test_an_answer_that_comes_all_at_once_is_cut_behind_the_chunk_that_uses_up_the_balance(
    gateway: Gateway, keyring: Keyring, lax: dict[str, Any]
) -> None:
    at_once = {"ttft_ms": 5, "gap_ms": 0, "tokens": 2000, **lax}  # hundreds of events in one read
    request = body(at_once, stream=True)
    balance = prompt_cost(request) + 30 * TOKEN_COST
    key = keyring.create(balance_usd=f"{balance / 1_000_000:.6f}")
    answer = fetch(gateway.port, request, Authorization=key.bearer)
    assert answer.events()[-2]["error"]["code"] == "budget_exhausted"
    [record] = keyring.records(key, 1)
    assert balance <= record["cost"] <= balance + CHUNK_COST
    assert len(answer.text()) < 400


def test_a_whole_answer_that_costs_more_than_there_is_is_refused_and_billed(
    gateway: Gateway, keyring: Keyring
) -> None:
    prompt = prompt_cost(body(QUICK))
    enough, short = (
        keyring.create(balance_usd=f"{(prompt + tokens * TOKEN_COST) / 1_000_000:.6f}") for tokens in (8, 7)
    )
    assert fetch(gateway.port, body(QUICK), Authorization=enough.bearer).status == 200
    answer = fetch(gateway.port, body(QUICK), Authorization=short.bearer)
    assert (answer.status, answer.error()["type"], answer.error()["code"]) == (
        402,
        "rate_limit_error",
        "budget_exhausted",
    )
    assert answer.headers["x-should-retry"] == "false"
    [record] = keyring.records(short, 1)
    assert (record["ending"], record["completion_tokens"], record["cost"]) == ("budget_exhausted", 8, QUICK_COST)
    assert fetch(gateway.port, body(QUICK), Authorization=short.bearer).error()["code"] == "insufficient_quota"


def test_a_whole_answer_of_any_length_takes_what_it_costs(gateway: Gateway, keyring: Keyring) -> None:
    key = keyring.create(balance_usd="0.05")  # more than is reserved at first
    long = {"ttft_ms": 5, "gap_ms": 0, "tokens": 3000}
    assert fetch(gateway.port, body(long), Authorization=key.bearer).status == 200
    [record] = keyring.records(key, 1)
    assert record["completion_tokens"] == 3000
    assert keyring.balance(key) == 50_000 - record["cost"]


def test_a_whole_answer_on_its_way_is_cut_when_it_has_surely_cost_too_much(
    gateway: Gateway, keyring: Keyring
) -> None:
    request = body({"ttft_ms": 5, "gap_ms": 0, "text": "word " * 200_000})
    balance = prompt_cost(request) + 100
    key = keyring.create(balance_usd=f"{balance / 1_000_000:.6f}")
    answer = fetch(gateway.port, request, Authorization=key.bearer)
    assert (answer.status, answer.error()["code"]) == (402, "budget_exhausted")
    [record] = keyring.records(key, 1)
    assert (record["ending"], record["estimated"]) == ("budget_exhausted", 1)  # the usage at the end was not read
    assert balance <= record["cost"] < balance + 200_000 * TOKEN_COST


def test_a_credit_is_spent_from_as_soon_as_it_is_there(gateway: Gateway, keyring: Keyring) -> None:
    key = keyring.create(balance_usd="0")
    assert fetch(gateway.port, body(QUICK), Authorization=key.bearer).status == 402
    keyring.credit(key, "0.5")

    def is_answered() -> bool:
        return fetch(gateway.port, body(QUICK), Authorization=key.bearer).status == 200

    wait_for(is_answered, "an answer", REVOKED_SECONDS)
    keyring.records(key, 1)
    assert keyring.balance(key) == 500_000 - keyring.spent(key)


@pytest.mark.parametrize("tokens", [80, 10_000], ids="answers of {} tokens".format)
def test_two_hundred_clients_of_one_key_cannot_spend_more_than_its_balance_and_a_chunk_each(
    gateway: Gateway, keyring: Keyring, tokens: int
) -> None:
    balance = 20_000
    key = keyring.create(balance_usd="0.02")
    request = body({"ttft_ms": 5, "gap_ms": 2, "tokens": tokens}, stream=True, max_tokens=40)
    with ThreadPoolExecutor(CLIENTS) as pool:
        requests = [pool.submit(fetch, gateway.port, request, Authorization=key.bearer) for _ in range(CLIENTS)]
    answers = [entry.result() for entry in requests]
    served = [entry for entry in answers if entry.status == 200]
    assert {entry.status for entry in answers} == {200, 402}
    records = keyring.records(key, len(served))
    endings = Counter(record["ending"] for record in records)
    assert endings.keys() <= {"completed", "budget_exhausted"}
    assert endings["budget_exhausted"]
    spent = keyring.spent(key)
    assert keyring.balance(key) == balance - spent
    # A completed answer gives back what is left of the slice that it reserved last; all others were cut for want of
    # such a slice.
    prompt = prompt_cost(request)
    given_back = endings["completed"] * (prompt + SLICE_TOKENS * TOKEN_COST)
    assert balance - prompt - TOKEN_COST - given_back <= spent <= balance + len(served) * CHUNK_COST, [
        entry["cost"] for entry in records
    ]
    assert json.loads(call(gateway, "GET", "/v1/me", Authorization=key.bearer).body)["balance_usd"] == pytest.approx(
        (balance - spent) / 1_000_000
    )


@pytest.mark.parametrize(
    ("simulate", "estimated"), [({}, 0), ({"usage": "never", "text": "a b c d e f g h"}, 1)], ids=str
)
def test_the_providers_counts_are_used_where_there_are_any(
    gateway: Gateway, keyring: Keyring, key: MadeKey, simulate: dict[str, Any], estimated: int
) -> None:
    fetch(gateway.port, body({**QUICK, **simulate}, stream=True), Authorization=key.bearer)
    [record] = keyring.records(key, 1)
    assert record["estimated"] == estimated
    assert record["completion_tokens"] == 8
    assert record["cost"] > 80


def test_a_request_without_an_answer_has_no_counts_and_an_answer_that_was_left_has_estimates(
    gateway: Gateway, keyring: Keyring, key: MadeKey
) -> None:
    assert fetch(gateway.port, body({"status": 503}, stream=True), Authorization=key.bearer).status == 502
    [failed] = keyring.records(key, 1)
    assert (failed["prompt_tokens"], failed["completion_tokens"], failed["cost"]) == (None, None, 0)
    with RawClient(gateway.port) as client:
        client.post(body(ENDLESS, stream=True), Authorization=key.bearer)
        client.head()
        for _ in range(5):
            client.chunk()
    left = keyring.records(key, 2)[1]
    assert (left["ending"], left["estimated"]) == ("abandoned", 1)
    assert left["completion_tokens"] >= 3
    assert left["cost"] == prompt_cost(body(ENDLESS, stream=True)) + left["completion_tokens"] * TOKEN_COST


def test_requests_whose_prompt_is_in_their_tools_do_not_pass_a_small_balance(
    gateway: Gateway, keyring: Keyring, alpha: Upstream
) -> None:
    key, before = keyring.create(balance_usd="0.01"), alpha.statistics().requests
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 400_000}}
    request = body(QUICK, stream=True, max_tokens=1, tools=[tool])
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: fetch(gateway.port, request, Authorization=key.bearer), range(10)))
    assert {answer.status for answer in answers} == {402}
    assert "its prompt costs about 0.25" in answers[0].error()["message"]
    assert "0.010000 USD are left" in answers[0].error()["message"]
    assert (keyring.balance(key), alpha.statistics().requests) == (10_000, before)


def test_a_free_model_is_counted_and_costs_nothing(gateway: Gateway, keyring: Keyring) -> None:
    key = keyring.create(balance_usd="0.000001")
    assert fetch(gateway.port, body(QUICK, model=FREE, stream=True), Authorization=key.bearer).status == 200
    [record] = keyring.records(key, 1)
    assert (record["completion_tokens"], record["cost"]) == (8, 0)
    assert keyring.balance(key) == 1


@pytest.mark.parametrize("streamed", [True, False])
def test_a_model_without_a_price_is_not_for_a_key_with_a_balance(
    gateway: Gateway, keyring: Keyring, alpha: Upstream, streamed: bool
) -> None:
    before = alpha.statistics().requests
    request = body(QUICK, model=UNPRICED, stream=streamed)
    refused = fetch(gateway.port, request, Authorization=keyring.create(balance_usd="1").bearer)
    assert (refused.status, refused.error()["code"]) == (403, "insufficient_permissions")
    for word in (UNPRICED, "alpha", "free = true", "input_usd_per_mtok"):
        assert word in refused.error()["message"]
    assert alpha.statistics().requests == before
    assert fetch(gateway.port, request, Authorization=keyring.create().bearer).status == 200


# --- shared streams


def test_a_shared_stream_is_billed_once_and_its_subscribers_cost_nothing(
    gateway: Gateway, keyring: Keyring, alpha: Upstream
) -> None:
    key, other = keyring.create(balance_usd="1"), keyring.create()
    before = alpha.statistics()
    request = body({"ttft_ms": 5, "gap_ms": 5, "tokens": 40}, stream=True)
    shared = {"X_Stream_Key": "one for all"}
    with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
        first.post(request, Authorization=key.bearer, **shared)
        stream_id = first.head().headers["x-stream-id"]
        second.post(request, Authorization=key.bearer, **shared)
        assert second.head().headers["x-stream-id"] == stream_id
        subscriber = Subscriber(gateway.port, f"/v1/streams/{stream_id}/events", Authorization=key.bearer)
        for client in (first, second):
            assert Answer(200, {}, b"".join(iter(client.chunk, b""))).text() == text(40)
        assert text_of(subscriber.all_events()) == text(40)
        subscriber.close()
    late = fetch(gateway.port, request, Authorization=key.bearer, **shared)
    assert late.text() == text(40)
    [record] = keyring.records(key, 1)
    assert record["id"] == stream_id
    assert keyring.balance(key) == 1_000_000 - record["cost"]
    assert alpha.statistics().requests == before.requests + 1
    fetch(gateway.port, request, Authorization=other.bearer, **shared)  # another key uses the same X-Stream-Key
    assert keyring.records(other, 1)[0]["id"] != stream_id
    assert len(keyring.records(key)) == 1


def test_a_stream_does_not_exist_for_another_key_and_a_viewer_needs_none(
    gateway: Gateway, keyring: Keyring, key: MadeKey
) -> None:
    stranger = keyring.create()
    stream = create(gateway, QUICK, Authorization=key.bearer)
    path = f"/v1/streams/{stream['id']}"
    for method, where in (("GET", path), ("GET", stream["events_url"]), ("POST", f"{path}/tokens"), ("DELETE", path)):
        answer = call(gateway, method, where, Authorization=stranger.bearer)
        assert (answer.status, answer.error()["code"]) == (404, "resource_not_found")
        assert call(gateway, method, where).status == 401
    assert fetch_json(gateway, "/v1/streams", stranger)["data"] == []
    assert [entry["id"] for entry in fetch_json(gateway, "/v1/streams", key)["data"]] == [stream["id"]]
    with Subscriber(gateway.port, stream["viewer_url"]) as viewer:
        assert viewer.response.status == 200
        assert text_of(viewer.all_events()) == text(8)
    assert "x-credits-balance-microdollars" not in viewer.response.headers
    assert call(gateway, "GET", stream["viewer_url"] + "x").status == 401
    token = stream["viewer_url"].rpartition("token=")[2]
    assert call(gateway, "POST", f"/v1/chat/completions?token={token}", body(QUICK)).status == 401
    assert call(gateway, "DELETE", f"{path}?token={token}").status == 401
    assert len(keyring.records(key, 1)) == 1


def test_an_admin_key_reads_the_streams_of_all_keys(gateway: Gateway, keyring: Keyring, key: MadeKey) -> None:
    admin = keyring.create(admin=True)
    stream = create(gateway, QUICK, Authorization=key.bearer)
    with Subscriber(gateway.port, stream["events_url"], Authorization=admin.bearer) as subscriber:
        assert text_of(subscriber.all_events()) == text(8)
    assert stream["id"] in {entry["id"] for entry in fetch_json(gateway, "/v1/streams?limit=100", admin)["data"]}
    assert fetch_json(gateway, f"/v1/streams/{stream['id']}", admin)["id"] == stream["id"]
    assert fetch_json(gateway, "/v1/me", admin)["scopes"] == ["inference", "admin"]
    assert fetch_json(gateway, "/v1/me", key)["scopes"] == ["inference"]


# --- what a key is told of itself and of the catalogue


def test_usage_is_told_by_day_and_by_model(gateway: Gateway, keyring: Keyring, key: MadeKey) -> None:
    nothing = fetch_json(gateway, "/v1/usage", key)
    assert (nothing["data"], nothing["total"]["requests"], nothing["total"]["cost_usd"]) == ([], 0, 0)
    for model in (MODEL, MODEL, "gpt-4o"):
        fetch(gateway.port, body(QUICK, model=model), Authorization=key.bearer)
    uncounted = {**QUICK, "usage": "never", "text": "a b c d e f g h"}
    fetch(gateway.port, body(uncounted, model="gpt-4o", stream=True), Authorization=key.bearer)
    keyring.records(key, 4)
    by_model = fetch_json(gateway, "/v1/usage?group_by=model", key)
    assert [(entry["model"], entry["requests"], entry["completion_tokens"]) for entry in by_model["data"]] == [
        ("gpt-4o", 2, 16),
        (MODEL, 2, 16),
    ]
    assert [entry["estimated_requests"] for entry in by_model["data"]] == [1, 0]
    by_day = fetch_json(gateway, "/v1/usage", key)
    assert by_day["group_by"] == "day"
    assert sum(day["requests"] for day in by_day["data"]) == by_day["total"]["requests"] == 4
    assert by_day["total"]["cost_usd"] == by_model["total"]["cost_usd"] == keyring.spent(key) / 1_000_000
    today = by_day["to"]
    assert fetch_json(gateway, f"/v1/usage?from={today}&to={today}", key)["from"] == today
    assert fetch_json(gateway, "/v1/usage?from=2020-01-01&to=2020-12-31", key)["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("group_by=hour", "group_by"),
        ("from=yesterday", "from"),
        ("to=2026-02-30", "to"),
        ("from=", "from"),
        ("from=2026-02-02&to=2026-02-01", "from"),
        ("to=0001-01-01", "to"),
        ("from=1969-12-31", "from"),
    ],
)
def test_a_report_that_cannot_be_made_is_refused(gateway: Gateway, key: MadeKey, query: str, param: str) -> None:
    answer = call(gateway, "GET", f"/v1/usage?{query}", Authorization=key.bearer)
    assert (answer.status, answer.error()["param"]) == (400, param)


@pytest.mark.parametrize("query", ["to=1970-01-01", "to=9999-12-31", "from=1970-01-01"])
def test_a_report_of_any_day_there_is_can_be_made(gateway: Gateway, key: MadeKey, query: str) -> None:
    assert fetch_json(gateway, f"/v1/usage?{query}", key)["object"] == "list"
