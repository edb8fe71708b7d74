"""API keys as the SDKs see them: who is admitted, limits, money, and what a key can ask about itself."""

import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.access.sqlite_books import SqliteBooks
from tests.access.books import NOW, new_key, new_secret
from tests.kit.completions import ENDLESS, MODEL, QUICK, ask, text
from tests.kit.gateway import Gateway
from tests.kit.http_client import call
from tests.kit.keyring import FREE, QUICK_COST, TOKEN_COST, UNPRICED, Keyring, MadeKey, mistyped
from tests.kit.streams import create
from tests.kit.upstreams import Upstream


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


class Sdk:
    """One of the SDKs with one key; counts the requests that it sends."""

    def __init__(self, name: str, gateway: Gateway, secret: str) -> None:
        self.requests = 0
        sdk: Any = importlib.import_module(name)
        self.errors = sdk
        self.client: Any
        if name == "auriko":
            self.client = sdk.Client(api_key=secret, base_url=gateway.url)
            http = self.client._httpx  # noqa: SLF001 - there is no other way to count the tries
            http.event_hooks = {"request": [self._count]}
            self.close = http.close
        else:
            http = sdk.DefaultHttpxClient(event_hooks={"request": [self._count]})
            self.client = sdk.OpenAI(base_url=gateway.url, api_key=secret, http_client=http)
            self.close = self.client.close

    def ask(self, simulate: dict[str, Any] = QUICK, **fields: Any) -> Any:
        return self.client.chat.completions.create(**ask(simulate, **fields))

    def _count(self, request: object) -> None:
        self.requests += 1


SdkOf = Callable[[str, str], Sdk]


@pytest.fixture
def sdk(gateway: Gateway) -> Iterator[SdkOf]:
    """A function that makes a client from the name of an SDK and the secret of a key."""
    with ExitStack() as made:

        def make(name: str, secret: str) -> Sdk:
            client = Sdk(name, gateway, secret)
            made.callback(client.close)
            return client

        yield make


BOTH = pytest.mark.parametrize("name", ["auriko", "openai"])


# --- who is let in


@BOTH
def test_a_key_is_let_in_and_what_it_asked_is_booked_to_it(
    sdk: SdkOf, name: str, key: MadeKey, keyring: Keyring
) -> None:
    client = sdk(name, key.secret)
    assert client.ask().choices[0].message.content == text(8)
    chunks = list(client.ask(stream=True))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == text(8)
    whole, streamed = keyring.records(key, 2)
    assert whole["id"].startswith("whole_")
    assert streamed["id"].startswith("st_")
    for record in (whole, streamed):
        assert (record["model"], record["completion_tokens"], record["estimated"]) == (MODEL, 8, 0)
        assert record["ending"] == "completed"
        assert record["cost"] == QUICK_COST


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
    before, client = alpha.statistics(), sdk(name, secret)
    with pytest.raises(client.errors.AuthenticationError, match=words) as caught:
        client.ask(stream=True)
    assert (caught.value.status_code, caught.value.code) == (401, code)
    assert client.requests == 1
    assert alpha.statistics().requests == before.requests
    assert secret not in str(caught.value)


# --- limits


@BOTH
@pytest.mark.parametrize("streamed", [True, False])
def test_without_money_a_request_is_refused_once_and_no_upstream_is_called(
    sdk: SdkOf, name: str, streamed: bool, keyring: Keyring, alpha: Upstream
) -> None:
    client = sdk(name, keyring.create(balance_usd="0").secret)
    before = alpha.statistics()
    error = client.errors.RateLimitError if name == "auriko" else client.errors.APIStatusError
    with pytest.raises(error) as caught:
        client.ask(stream=streamed)
    assert (caught.value.status_code, caught.value.code) == (402, "insufficient_quota")
    assert client.requests == 1
    assert alpha.statistics().requests == before.requests


@BOTH
def test_a_model_that_is_not_the_keys_is_refused_once(
    sdk: SdkOf, name: str, keyring: Keyring, alpha: Upstream
) -> None:
    client = sdk(name, keyring.create(models="gpt-4o").secret)
    assert client.ask(model="gpt-4o").choices[0].message.content == text(8)
    before = alpha.statistics()
    with pytest.raises(client.errors.PermissionDeniedError) as caught:
        client.ask(stream=True)
    assert (caught.value.status_code, caught.value.code, caught.value.param) == (
        403,
        "insufficient_permissions",
        "model",
    )
    with pytest.raises(client.errors.PermissionDeniedError) as caught:
        client.client.chat.completions.create(
            messages=[{"role": "user", "content": "Hello"}],
            **({"gateway": {"models": ["gpt-4o", MODEL]}} if name == "auriko" else {"model": MODEL}),
        )
    assert caught.value.param == ("gateway.models" if name == "auriko" else "model")
    assert client.requests == 3
    assert alpha.statistics().requests == before.requests


@BOTH
def test_beyond_the_streams_of_a_key_clients_try_three_times_and_are_let_in_when_one_ends(
    sdk: SdkOf, name: str, gateway: Gateway, keyring: Keyring
) -> None:
    key = keyring.create(max_streams=1)
    client = sdk(name, key.secret)
    running = create(gateway, ENDLESS, Authorization=key.bearer)
    with pytest.raises(client.errors.RateLimitError) as caught:
        client.ask(stream=True)
    assert (caught.value.status_code, caught.value.code) == (429, "rate_limit_exceeded")
    assert name != "openai" or int(caught.value.response.headers["retry-after"]) in range(1, 6)
    assert client.requests == 3
    call(gateway, "DELETE", f"/v1/streams/{running['id']}", Authorization=key.bearer)
    assert client.ask().choices[0].message.content == text(8)
    assert client.requests == 4


def test_a_client_that_waits_as_it_is_told_gets_its_answer(sdk: SdkOf, keyring: Keyring) -> None:
    client = sdk("openai", keyring.create(rpm=60).secret)
    for _ in range(60):
        client.client.with_options(
            max_retries=0
        ).models.list()  # does not count against the rate: only completions do
    key_requests = client.requests
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: client.ask(), range(61)))
    assert len(answers) == 61
    assert client.requests > key_requests + 61  # the last request was told to wait a second, waited, and came again


def test_limits_and_balance_are_read_by_the_typed_accessors(sdk: SdkOf, keyring: Keyring) -> None:
    client = sdk("auriko", keyring.create(rpm=100, balance_usd="1").secret)
    with client.ask(stream=True, max_tokens=8) as stream:
        headers = stream.response_headers
        assert (headers.rate_limit_limit, headers.rate_limit_remaining) == (100, 99)
        assert "T" in headers.rate_limit_reset
        reserved = 1_000_000 - headers.credits_balance_microdollars
        assert 8 * TOKEN_COST < reserved < 100 * TOKEN_COST
        assert headers.request_id.startswith("req_")
        for _ in stream:
            pass


@BOTH
def test_the_sdks_tell_the_end_of_the_money_of_a_whole_answer_and_do_not_try_again(
    sdk: SdkOf, name: str, keyring: Keyring
) -> None:
    client = sdk(name, keyring.create(balance_usd="0.0001").secret)
    with pytest.raises(client.errors.RateLimitError if name == "auriko" else client.errors.APIStatusError) as caught:
        client.ask()
    assert (caught.value.status_code, caught.value.code) == (402, "budget_exhausted")
    assert client.requests == 1


@BOTH
def test_the_sdks_tell_the_end_of_the_money_in_a_stream_and_do_not_try_again(
    sdk: SdkOf, name: str, keyring: Keyring
) -> None:
    client = sdk(name, keyring.create(balance_usd="0.0003").secret)
    with pytest.raises(client.errors.RateLimitError if name == "auriko" else client.errors.APIError) as caught:
        for _ in client.ask({**ENDLESS, "gap_ms": 1}, stream=True):
            pass
    assert caught.value.code == "budget_exhausted"
    assert client.requests == 1


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
    known = {MODEL, "gpt-4o", UNPRICED, FREE}
    listed = {model.id: model for model in models.list().data}
    assert set(listed) == known
    assert listed[UNPRICED].providers == []
    assert listed[MODEL].providers[0].input_price == 2.5
    assert models.retrieve(UNPRICED).id == UNPRICED
    directory = models.list_directory()
    assert set(directory.models) == known
    assert [entry.provider for entry in directory.models[UNPRICED].providers] == ["alpha"]
    registry = models.list_registry()
    assert {model.id for model in registry.models} == known
    assert registry.count == 4
    providers = models.list_providers()
    assert ([entry.id for entry in providers.providers], providers.count) == (["alpha"], 1)


async def test_the_catalogue_is_read_by_the_async_sdk(gateway: Gateway, key: MadeKey) -> None:
    import auriko

    client = auriko.AsyncClient(api_key=key.secret, base_url=gateway.url)
    try:
        assert (await client.me.get()).key_id == key.id
        assert UNPRICED in (await client.models.list_directory()).models
        assert (await client.models.list_registry()).count == 4
        assert (await client.models.list_providers()).count == 1
    finally:
        await client._httpx.aclose()  # noqa: SLF001
