"""API keys over the wire: who is let in, what it costs, and that nobody spends what is not there."""

import json
import resource
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import auriko
import openai
import pytest

from gateway.access.sqlite_books import SqliteBooks
from gateway.completion.spending import SLICE_TOKENS
from tests.access.books import NOW, balances, new_key, new_secret, rows

from .conftest import KEYS
from .keyring import UNPRICED, Keyring, MadeKey
from .processes import Command, Gateway, wait_for
from .rawhttp import Answer, RawClient, fetch
from .subscribers import Subscriber, call, create, text_of
from .upstreams import ENDLESS, MODEL, QUICK, Upstream, ask, body, text

PROMPT_COST, TOKEN_COST = 25, 10  # micro-dollars: ten tokens at 2.5 by our own count, and each of the answer's
QUICK_COST = 123  # of a QUICK answer by the provider's count: 17 tokens of the prompt, 8 of the answer
CHUNK_COST = 3 * TOKEN_COST  # of the longest word, by its bytes
LONG = {"ttft_ms": 5, "gap_ms": 20, "tokens": 500}  # ten seconds of talk
CLIENTS = 200
REVOKED_SECONDS = 5.0
CHECKED_SECONDS = 30.0  # several times as long as a full disk can go unnoticed
KILLS = 3
_SUMS = "SELECT count(*), sum(cost_microusd + hedge_cost_microusd) FROM usage WHERE key_id = '{}'"


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, alpha: Upstream) -> Keyring:
    return Keyring(tmp_path_factory.mktemp("keys"), [(alpha, [MODEL, "gpt-4o"])])


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring) -> Iterator[Gateway]:
    keyring.create("the first one, so that the gate is closed")
    gateway = keyring.start(logs)
    try:
        yield gateway
    finally:
        gateway.terminate()


@pytest.fixture
def key(keyring: Keyring) -> MadeKey:
    """A key without any limit."""
    return keyring.create()


class Sdk:
    """One of the SDKs with one key; counts the requests that it sends."""

    def __init__(self, name: str, gateway: Gateway, secret: str) -> None:
        self.requests = 0
        self.errors: Any = {"auriko": auriko, "openai": openai}[name]
        self.client: Any
        if name == "auriko":
            self.client = auriko.Client(api_key=secret, base_url=gateway.url)
            http = self.client._httpx  # noqa: SLF001 - there is no other way to count the tries
            http.event_hooks = {"request": [self._count]}
            self.close = http.close
        else:
            http = openai.DefaultHttpxClient(event_hooks={"request": [self._count]})
            self.client = openai.OpenAI(base_url=gateway.url, api_key=secret, http_client=http)
            self.close = self.client.close

    def ask(self, simulate: dict[str, Any] = QUICK, **fields: Any) -> Any:
        return self.client.chat.completions.create(**ask(simulate, **fields))

    def _count(self, request: object) -> None:
        self.requests += 1


SdkOf = Callable[[str, str], Sdk]


@pytest.fixture
def sdk(gateway: Gateway) -> Iterator[SdkOf]:
    """Makes a client: of which SDK, with which key."""
    with ExitStack() as made:

        def make(name: str, secret: str) -> Sdk:
            one = Sdk(name, gateway, secret)
            made.callback(one.close)
            return one

        yield make


BOTH = pytest.mark.parametrize("name", ["auriko", "openai"])


def told(gateway: Gateway, path: str, key: MadeKey) -> Any:
    answer = call(gateway, "GET", path, Authorization=key.bearer)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def mistyped(secret: str) -> str:
    return secret[:12] + ("a" if secret[12] != "a" else "b") + secret[13:]


# --- who is let in


@BOTH
def test_a_key_is_let_in_and_what_it_asked_is_booked_to_it(
    sdk: SdkOf, name: str, key: MadeKey, keyring: Keyring
) -> None:
    one = sdk(name, key.secret)
    assert one.ask().choices[0].message.content == text(8)
    chunks = list(one.ask(stream=True))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == text(8)
    whole, streamed = keyring.records(key, 2)
    assert whole["id"].startswith("whole_")
    assert streamed["id"].startswith("st_")
    for record in (whole, streamed):
        assert (record["model"], record["completion_tokens"], record["estimated"]) == (MODEL, 8, 0)
        assert record["ending"] == "completed"
        assert record["cost"] == QUICK_COST


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


@BOTH
@pytest.mark.parametrize("fault", ["mistyped", "unknown", "foreign", "revoked", "expired"])
def test_a_key_that_is_no_good_is_refused_once_and_told_why(
    sdk: SdkOf, name: str, fault: str, keyring: Keyring, alpha: Upstream
) -> None:
    secret, words, code = new_secret(), "does not exist", "invalid_api_key"
    if fault == "mistyped":
        secret, words = mistyped(secret), "mistyped"
    elif fault == "foreign":
        secret = "sk-proj-of-another-place"
    elif fault == "revoked":
        made = keyring.create()
        keyring.revoke(made)
        secret, words = made.secret, "revoked"
    elif fault == "expired":
        ledger = SqliteBooks.open(keyring.path)
        ledger.create(new_key(secret, expires_at=NOW - 100_000_000))
        ledger.close()
        words, code = "expired", "expired_api_key"
    before, one = alpha.statistics(), sdk(name, secret)
    with pytest.raises(one.errors.AuthenticationError, match=words) as caught:
        one.ask(stream=True)
    assert (caught.value.status_code, caught.value.code) == (401, code)
    assert one.requests == 1
    assert alpha.statistics().requests == before.requests
    assert secret not in str(caught.value)


def test_a_revocation_on_the_command_line_works_in_a_running_gateway(
    gateway: Gateway, logs: Path, keyring: Keyring, key: MadeKey
) -> None:
    assert call(gateway, "GET", "/v1/me", Authorization=key.bearer).status == 200
    stream = create(gateway, LONG, Authorization=key.bearer)
    with Subscriber(gateway.port, stream["viewer_url"]) as running:
        running.events(2)
        command = Command(logs, "keys", "revoke", key.id, "--config", str(keyring.file), environment=KEYS)
        assert command.wait() == 0
        assert command.output() == f"{key.id} is revoked\n"

        def is_refused() -> bool:
            return call(gateway, "GET", "/v1/me", Authorization=key.bearer).status == 401

        wait_for(is_refused, "a refusal", REVOKED_SECONDS)
        running.events(2)  # what runs goes on
    assert fetch(gateway.port, body(QUICK), Authorization=key.bearer).status == 401


def test_a_key_is_known_to_all_its_clients_as_soon_as_it_is_made(gateway: Gateway, keyring: Keyring) -> None:
    fetch(gateway.port, body(QUICK), Authorization=f"Bearer {new_secret()}")
    key = keyring.create()
    with ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(call, gateway, "GET", "/v1/me", Authorization=key.bearer) for _ in range(40)]
    assert {one.result().status for one in asked} == {200}


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
        gateway.terminate()


def test_a_gateway_without_keys_closes_with_the_first_one(logs: Path, tmp_path: Path, alpha: Upstream) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    gateway = keyring.start(logs)
    try:
        assert fetch(gateway.port, body(QUICK)).status == 200
        keyring.create()
        wait_for(lambda: fetch(gateway.port, body(QUICK)).status == 401, "a refusal", REVOKED_SECONDS)
    finally:
        gateway.terminate()


# --- limits


@BOTH
@pytest.mark.parametrize("streamed", [True, False])
def test_without_money_a_request_is_refused_once_and_no_upstream_is_called(
    sdk: SdkOf, name: str, streamed: bool, keyring: Keyring, alpha: Upstream
) -> None:
    one = sdk(name, keyring.create(balance_usd="0").secret)
    before = alpha.statistics()
    error = auriko.RateLimitError if name == "auriko" else openai.APIStatusError
    with pytest.raises(error) as caught:
        one.ask(stream=streamed)
    assert (caught.value.status_code, caught.value.code) == (402, "insufficient_quota")
    assert one.requests == 1
    assert alpha.statistics().requests == before.requests


@BOTH
def test_a_model_that_is_not_the_keys_is_refused_once(
    sdk: SdkOf, name: str, keyring: Keyring, alpha: Upstream
) -> None:
    one = sdk(name, keyring.create(models="gpt-4o").secret)
    assert one.ask(model="gpt-4o").choices[0].message.content == text(8)
    before = alpha.statistics()
    with pytest.raises(one.errors.PermissionDeniedError) as caught:
        one.ask(stream=True)
    assert (caught.value.status_code, caught.value.code, caught.value.param) == (
        403,
        "insufficient_permissions",
        "model",
    )
    with pytest.raises(one.errors.PermissionDeniedError) as caught:
        one.client.chat.completions.create(
            messages=[{"role": "user", "content": "Hello"}],
            **({"gateway": {"models": ["gpt-4o", MODEL]}} if name == "auriko" else {"model": MODEL}),
        )
    assert caught.value.param == ("gateway.models" if name == "auriko" else "model")
    assert one.requests == 3
    assert alpha.statistics().requests == before.requests


@BOTH
def test_beyond_the_streams_of_a_key_clients_try_three_times_and_are_let_in_when_one_ends(
    sdk: SdkOf, name: str, gateway: Gateway, keyring: Keyring
) -> None:
    key = keyring.create(max_streams=1)
    one = sdk(name, key.secret)
    running = create(gateway, ENDLESS, Authorization=key.bearer)
    with pytest.raises(one.errors.RateLimitError) as caught:
        one.ask(stream=True)
    assert (caught.value.status_code, caught.value.code) == (429, "rate_limit_exceeded")
    assert name != "openai" or int(caught.value.response.headers["retry-after"]) in range(1, 6)
    assert one.requests == 3
    call(gateway, "DELETE", f"/v1/streams/{running['id']}", Authorization=key.bearer)
    assert one.ask().choices[0].message.content == text(8)
    assert one.requests == 4


def test_a_client_that_waits_as_it_is_told_gets_its_answer(sdk: SdkOf, keyring: Keyring) -> None:
    one = sdk("openai", keyring.create(rpm=60).secret)
    for _ in range(60):
        one.client.with_options(max_retries=0).models.list()  # does not count: only completions do
    key_requests = one.requests
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: one.ask(), range(61)))
    assert len(answers) == 61
    assert one.requests > key_requests + 61  # the last one was told to wait a second, and did


def test_the_limit_is_told_by_every_answer_and_a_refusal_does_not_count(gateway: Gateway, keyring: Keyring) -> None:
    key = keyring.create(rpm=2)
    answers = [fetch(gateway.port, body(QUICK), Authorization=key.bearer) for _ in range(5)]
    assert [one.status for one in answers] == [200, 200, 429, 429, 429]
    assert [one.headers["x-ratelimit-remaining-requests"] for one in answers] == ["1", "0", "0", "0", "0"]
    assert {one.headers["x-ratelimit-limit-requests"] for one in answers} == {"2"}
    waits = [int(one.headers["retry-after"]) for one in answers[2:]]
    assert all(0 < wait <= 30 for wait in waits)  # each refusal would have made it longer, had it counted
    assert waits == sorted(waits, reverse=True)


def test_limits_and_balance_are_read_by_the_typed_accessors(sdk: SdkOf, keyring: Keyring) -> None:
    one = sdk("auriko", keyring.create(rpm=100, balance_usd="1").secret)
    with one.ask(stream=True, max_tokens=8) as stream:
        headers = stream.response_headers
        assert (headers.rate_limit_limit, headers.rate_limit_remaining) == (100, 99)
        assert "T" in headers.rate_limit_reset
        assert headers.credits_balance_microdollars == 1_000_000 - PROMPT_COST - 8 * TOKEN_COST  # reserved
        assert headers.request_id.startswith("req_")
        for _ in stream:
            pass


# --- money


def test_what_was_reserved_and_not_used_is_given_back(gateway: Gateway, keyring: Keyring) -> None:
    key = keyring.create(balance_usd="0.1")
    answer = fetch(gateway.port, body(QUICK, stream=True), Authorization=key.bearer)
    assert int(answer.headers["x-credits-balance-microdollars"]) == 100_000 - PROMPT_COST - 1024 * TOKEN_COST
    [record] = keyring.records(key, 1)
    assert record["cost"] == QUICK_COST
    assert keyring.balance(key) == 100_000 - record["cost"]
    assert told(gateway, "/v1/me", key)["balance_usd"] == (100_000 - record["cost"]) / 1_000_000
    failed = fetch(gateway.port, body({"status": 500}, stream=True), Authorization=key.bearer)
    assert failed.status == 502
    assert keyring.records(key, 2)[1]["cost"] == 0
    assert keyring.balance(key) == 100_000 - record["cost"]


def test_a_stream_that_uses_up_the_balance_is_cut_and_its_upstream_aborted(
    gateway: Gateway, keyring: Keyring, alpha: Upstream
) -> None:
    balance = PROMPT_COST + 30 * TOKEN_COST
    key = keyring.create(balance_usd=f"{balance / 1_000_000:.6f}")
    before = alpha.statistics()
    answer = fetch(gateway.port, body({**ENDLESS, "gap_ms": 1}, stream=True), Authorization=key.bearer)
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
    balance = PROMPT_COST + 30 * TOKEN_COST
    key = keyring.create(balance_usd=f"{balance / 1_000_000:.6f}")
    at_once = {"ttft_ms": 5, "gap_ms": 0, "tokens": 2000, **lax}  # hundreds of events in one read
    answer = fetch(gateway.port, body(at_once, stream=True), Authorization=key.bearer)
    assert answer.events()[-2]["error"]["code"] == "budget_exhausted"
    [record] = keyring.records(key, 1)
    assert balance <= record["cost"] <= balance + CHUNK_COST
    assert len(answer.text()) < 400


def test_a_whole_answer_that_costs_more_than_there_is_is_refused_and_billed(
    gateway: Gateway, keyring: Keyring
) -> None:
    enough, short = (
        keyring.create(balance_usd=f"{(PROMPT_COST + tokens * TOKEN_COST) / 1_000_000:.6f}") for tokens in (8, 7)
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


@BOTH
def test_the_sdks_tell_the_end_of_the_money_of_a_whole_answer_and_do_not_try_again(
    sdk: SdkOf, name: str, keyring: Keyring
) -> None:
    one = sdk(name, keyring.create(balance_usd="0.0001").secret)
    with pytest.raises(one.errors.RateLimitError if name == "auriko" else openai.APIStatusError) as caught:
        one.ask()
    assert (caught.value.status_code, caught.value.code) == (402, "budget_exhausted")
    assert one.requests == 1


def test_a_whole_answer_on_its_way_is_cut_when_it_has_surely_cost_too_much(
    gateway: Gateway, keyring: Keyring
) -> None:
    key = keyring.create(balance_usd="0.0001")
    long = {"ttft_ms": 5, "gap_ms": 0, "text": "word " * 200_000}
    answer = fetch(gateway.port, body(long), Authorization=key.bearer)
    assert (answer.status, answer.error()["code"]) == (402, "budget_exhausted")
    [record] = keyring.records(key, 1)
    assert (record["ending"], record["estimated"]) == ("budget_exhausted", 1)  # the usage at the end was not read
    assert 100 <= record["cost"] < 200_000 * TOKEN_COST


@BOTH
def test_the_sdks_tell_the_end_of_the_money_in_a_stream_and_do_not_try_again(
    sdk: SdkOf, name: str, keyring: Keyring
) -> None:
    one = sdk(name, keyring.create(balance_usd="0.0003").secret)
    with pytest.raises(one.errors.RateLimitError if name == "auriko" else openai.APIError) as caught:
        for _ in one.ask({**ENDLESS, "gap_ms": 1}, stream=True):
            pass
    assert caught.value.code == "budget_exhausted"
    assert one.requests == 1


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
        asked = [pool.submit(fetch, gateway.port, request, Authorization=key.bearer) for _ in range(CLIENTS)]
    answers = [one.result() for one in asked]
    served = [one for one in answers if one.status == 200]
    assert {one.status for one in answers} == {200, 402}
    records = keyring.records(key, len(served))
    endings = Counter(record["ending"] for record in records)
    assert endings.keys() <= {"completed", "budget_exhausted"}
    assert endings["budget_exhausted"]
    spent = keyring.spent(key)
    assert keyring.balance(key) == balance - spent
    # Who completes gives back what is left of the slice reserved last; all others were cut for want of it.
    given_back = endings["completed"] * (PROMPT_COST + SLICE_TOKENS * TOKEN_COST)
    assert balance - PROMPT_COST - TOKEN_COST - given_back <= spent <= balance + len(served) * CHUNK_COST, [
        one["cost"] for one in records
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


def test_what_was_never_answered_has_no_counts_and_an_answer_that_was_left_has_our_own(
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
    assert left["cost"] == PROMPT_COST + left["completion_tokens"] * TOKEN_COST


def test_a_model_without_a_price_is_counted_and_costs_nothing(gateway: Gateway, keyring: Keyring) -> None:
    key = keyring.create(balance_usd="0.000001")
    assert fetch(gateway.port, body(QUICK, model=UNPRICED, stream=True), Authorization=key.bearer).status == 200
    [record] = keyring.records(key, 1)
    assert (record["completion_tokens"], record["cost"]) == (8, 0)
    assert keyring.balance(key) == 1


# --- shared streams


def test_a_shared_stream_is_billed_once_and_its_readers_cost_nothing(
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
        reader = Subscriber(gateway.port, f"/v1/streams/{stream_id}/events", Authorization=key.bearer)
        for client in (first, second):
            assert Answer(200, {}, b"".join(iter(client.chunk, b""))).text() == text(40)
        assert text_of(reader.all_events()) == text(40)
        reader.close()
    late = fetch(gateway.port, request, Authorization=key.bearer, **shared)
    assert late.text() == text(40)
    [record] = keyring.records(key, 1)
    assert record["id"] == stream_id
    assert keyring.balance(key) == 1_000_000 - record["cost"]
    assert alpha.statistics().requests == before.requests + 1
    fetch(gateway.port, request, Authorization=other.bearer, **shared)  # the same name of another key
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
    assert told(gateway, "/v1/streams", stranger)["data"] == []
    assert [one["id"] for one in told(gateway, "/v1/streams", key)["data"]] == [stream["id"]]
    with Subscriber(gateway.port, stream["viewer_url"]) as viewer:
        assert viewer.told.status == 200
        assert text_of(viewer.all_events()) == text(8)
    assert "x-credits-balance-microdollars" not in viewer.told.headers
    assert call(gateway, "GET", stream["viewer_url"] + "x").status == 401
    token = stream["viewer_url"].rpartition("token=")[2]
    assert call(gateway, "POST", f"/v1/chat/completions?token={token}", body(QUICK)).status == 401
    assert call(gateway, "DELETE", f"{path}?token={token}").status == 401
    assert len(keyring.records(key, 1)) == 1


# --- what a key is told of itself and of the catalogue


def test_usage_is_told_by_day_and_by_model(gateway: Gateway, keyring: Keyring, key: MadeKey) -> None:
    nothing = told(gateway, "/v1/usage", key)
    assert (nothing["data"], nothing["total"]["requests"], nothing["total"]["cost_usd"]) == ([], 0, 0)
    for model in (MODEL, MODEL, "gpt-4o"):
        fetch(gateway.port, body(QUICK, model=model), Authorization=key.bearer)
    uncounted = {**QUICK, "usage": "never", "text": "a b c d e f g h"}
    fetch(gateway.port, body(uncounted, model="gpt-4o", stream=True), Authorization=key.bearer)
    keyring.records(key, 4)
    by_model = told(gateway, "/v1/usage?group_by=model", key)
    assert [(one["model"], one["requests"], one["completion_tokens"]) for one in by_model["data"]] == [
        ("gpt-4o", 2, 16),
        (MODEL, 2, 16),
    ]
    assert [one["estimated_requests"] for one in by_model["data"]] == [1, 0]
    by_day = told(gateway, "/v1/usage", key)
    assert by_day["group_by"] == "day"
    assert sum(day["requests"] for day in by_day["data"]) == by_day["total"]["requests"] == 4
    assert by_day["total"]["cost_usd"] == by_model["total"]["cost_usd"] == keyring.spent(key) / 1_000_000
    today = by_day["to"]
    assert told(gateway, f"/v1/usage?from={today}&to={today}", key)["from"] == today
    assert told(gateway, "/v1/usage?from=2020-01-01&to=2020-12-31", key)["data"] == []


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
    assert told(gateway, f"/v1/usage?{query}", key)["object"] == "list"


def test_a_key_learns_about_itself_through_the_sdk(sdk: SdkOf, keyring: Keyring) -> None:
    key = keyring.create("Ada", rpm=30, max_streams=3, balance_usd="12.5", models="gpt-4o", expires="90d")
    me = sdk("auriko", key.secret).client.me.get()
    assert (me.status, me.key_id, me.key_name) == ("active", key.id, "Ada")
    assert key.secret.startswith(me.key_prefix)
    assert len(me.key_prefix) < 12
    assert me.rate_limits.inference_rpm == 30
    assert me.expires_at > me.created_at
    assert me.model_extra["balance_usd"] == 12.5
    unlimited = sdk("auriko", keyring.create().secret).client.me.get()
    assert unlimited.expires_at is None


def test_the_catalogue_is_read_by_the_sdk_also_for_models_without_a_price(sdk: SdkOf, key: MadeKey) -> None:
    models = sdk("auriko", key.secret).client.models
    known = {MODEL, "gpt-4o", UNPRICED}
    listed = {model.id: model for model in models.list().data}
    assert set(listed) == known
    assert listed[UNPRICED].providers == []
    assert listed[MODEL].providers[0].input_price == 2.5
    assert models.retrieve(UNPRICED).id == UNPRICED
    directory = models.list_directory()
    assert set(directory.models) == known
    assert [one.provider for one in directory.models[UNPRICED].providers] == ["alpha"]
    registry = models.list_registry()
    assert {model.id for model in registry.models} == known
    assert registry.count == 3
    providers = models.list_providers()
    assert ([one.id for one in providers.providers], providers.count) == (["alpha"], 1)


async def test_the_catalogue_is_read_by_the_async_sdk(gateway: Gateway, key: MadeKey) -> None:
    client = auriko.AsyncClient(api_key=key.secret, base_url=gateway.url)
    try:
        assert (await client.me.get()).key_id == key.id
        assert UNPRICED in (await client.models.list_directory()).models
        assert (await client.models.list_registry()).count == 3
        assert (await client.models.list_providers()).count == 1
    finally:
        await client._httpx.aclose()  # noqa: SLF001


# --- a disk that refuses, a process that dies


def limit_files(gateway: Gateway, size: int) -> None:
    """No file of this process may grow beyond so many bytes: to it the disk is full, also if root runs it."""
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def with_a_long_journal(keyring: Keyring, gateway: Gateway, key: MadeKey) -> int:
    """Ask so often that the journal of the ledger is longer than the log of the process; its length."""
    for _ in range(10):
        fetch(gateway.port, body(QUICK), Authorization=key.bearer)
    keyring.records(key, 10)
    return keyring.path.with_name("keys.db-wal").stat().st_size


def test_with_a_full_disk_what_runs_goes_on_and_is_settled_when_there_is_room(
    logs: Path, tmp_path: Path, alpha: Upstream
) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    key = keyring.create(balance_usd="1")
    gateway = keyring.start(logs)
    try:
        journal = with_a_long_journal(keyring, gateway, key)
        with RawClient(gateway.port) as running:
            running.post(body({"ttft_ms": 5, "gap_ms": 20, "tokens": 100_000}, stream=True), Authorization=key.bearer)
            stream_id = running.head().headers["x-stream-id"]
            limit_files(gateway, journal)
            wait_for(lambda: call(gateway, "GET", "/readyz").status == 503, "readiness to fail", CHECKED_SECONDS)
            gateway.wait_for_event("the ledger cannot be written; new requests of keys are refused")
            refused = fetch(gateway.port, body(QUICK, stream=True), Authorization=key.bearer)
            assert (refused.status, refused.error()["code"]) == (503, "service_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
            assert call(gateway, "GET", "/healthz").status == 200
            assert running.chunk()
            call(gateway, "DELETE", f"/v1/streams/{stream_id}", Authorization=key.bearer)
            rest = Answer(200, {}, b"".join(iter(running.chunk, b"")))
            assert rest.events()[-2]["error"]["code"] == "stream_aborted"
        assert len(keyring.records(key)) == 10
        limit_files(gateway, resource.RLIM_INFINITY)
        wait_for(lambda: call(gateway, "GET", "/readyz").status == 200, "readiness to come back")
        records = keyring.records(key, 11)
        assert keyring.balance(key) == 1_000_000 - keyring.spent(key)
        assert {record["ending"] for record in records} == {"completed", "stopped"}
        gateway.wait_for_event("the ledger can be written again")
        assert fetch(gateway.port, body(QUICK), Authorization=key.bearer).status == 200
    finally:
        gateway.terminate()


def test_a_full_disk_is_noticed_before_anybody_asks(logs: Path, tmp_path: Path, alpha: Upstream) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    key = keyring.create()
    gateway = keyring.start(logs)
    try:
        limit_files(gateway, with_a_long_journal(keyring, gateway, key))
        wait_for(lambda: call(gateway, "GET", "/readyz").status == 503, "readiness to fail", CHECKED_SECONDS)
        refused = fetch(gateway.port, body(QUICK), Authorization=key.bearer)
        assert (refused.status, refused.error()["code"]) == (503, "service_unavailable")
        limit_files(gateway, resource.RLIM_INFINITY)
        wait_for(lambda: call(gateway, "GET", "/readyz").status == 200, "readiness to come back", CHECKED_SECONDS)
        assert len(keyring.records(key)) == 10
    finally:
        gateway.terminate()


def test_what_a_full_disk_keeps_from_the_ledger_at_a_stop_is_in_the_log(
    logs: Path, tmp_path: Path, alpha: Upstream
) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])], '[server]\nlisten = "127.0.0.1:0"\ndrain_seconds = 0\n')
    key = keyring.create(balance_usd="1")
    gateway = keyring.start(logs)
    try:
        journal = with_a_long_journal(keyring, gateway, key)
        with RawClient(gateway.port) as running:
            running.post(body(ENDLESS, stream=True), Authorization=key.bearer)
            headers = running.head().headers
            limit_files(gateway, journal)
            gateway.terminate()
    finally:
        gateway.terminate()
    [line] = [one for one in gateway.lines() if one["event"] == "a record is not in the ledger; book it by hand"]
    assert line["level"] == "error"
    told = line["record"]
    assert (told["id"], told["request_id"]) == (headers["x-stream-id"], headers["x-request-id"])
    assert (told["key_id"], told["model"], told["ending"]) == (key.id, MODEL, "drained")
    assert told["cost_microusd"] > PROMPT_COST
    assert len(keyring.records(key)) == 10


class Load:
    """Clients that ask for short completions, one after the other, until the gateway is gone."""

    def __init__(self, gateway: Gateway, key: MadeKey) -> None:
        self.answered = 0
        self._gateway, self._key = gateway, key
        self._threads = [threading.Thread(target=self._ask) for _ in range(8)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                status = fetch(self._gateway.port, body(QUICK), Authorization=self._key.bearer).status
                assert status == 200
                self.answered += 1


def test_a_gateway_that_is_killed_in_mid_write_books_nothing_twice_and_nothing_by_halves(
    logs: Path, tmp_path: Path, alpha: Upstream
) -> None:
    keyring = Keyring(tmp_path, [(alpha, [MODEL])])
    key = keyring.create(balance_usd="100")
    kept: list[str] = []
    answered = 0
    for number in range(KILLS):
        gateway = keyring.start(logs)
        load = Load(gateway, key)
        try:
            # Each time at another moment, and while records are written.
            wait_for(lambda: load.answered >= 5 + 17 * number, "some answers")  # noqa: B023
            wait_for(lambda: len(keyring.records(key)) > len(kept), "a record")  # noqa: B023
        finally:
            gateway.process.send_signal(signal.SIGKILL)
            gateway.terminate()
            load.join()
        answered += load.answered
        ledger = SqliteBooks.open(keyring.path)
        assert rows(keyring.path, "PRAGMA integrity_check") == [("ok",)]
        found = [record["id"] for record in keyring.records(key)]
        assert found[: len(kept)] == kept  # what was settled stays
        assert len(set(found)) == len(found)
        assert rows(keyring.path, _SUMS.format(key.id)) == [(len(found), keyring.spent(key))]
        assert balances(keyring.path)[key.id] == 100_000_000 - keyring.spent(key)
        ledger.close()
        kept = found
    assert len(kept) <= answered + KILLS * 8
    gateway = keyring.start(logs)
    try:
        assert fetch(gateway.port, body(QUICK), Authorization=key.bearer).status == 200
        keyring.records(key, len(kept) + 1)
        assert keyring.balance(key) == 100_000_000 - keyring.spent(key)
    finally:
        gateway.terminate()
