"""Reasoning that is billed, and of which no text comes: how far a balance can sink, and what follows then."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.completion.streamed import USAGE_SECONDS
from tests.kit.completions import MODEL, body
from tests.kit.gateway import Gateway
from tests.kit.http_client import RawClient, call, fetch
from tests.kit.keyring import TOKEN_COST, Keyring, MadeKey
from tests.kit.scripted_upstream import (
    DONE,
    FINISH,
    ROLE,
    STREAM_HEAD,
    Script,
    ScriptedUpstream,
    Step,
    event,
    response,
)

WORD = event('{"content":"word "}')
HIDDEN = 5000  # tokens of reasoning, which cost 50,000 micro-dollars
USAGE = {"prompt_tokens": 10, "completion_tokens": HIDDEN + 1, "total_tokens": HIDDEN + 11}


def told(choices: str = "[]") -> bytes:
    return f'data: {{"id":"c","choices":{choices},"usage":{json.dumps(USAGE)}}}\n\n'.encode()


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream("thinker")
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, upstream: ScriptedUpstream) -> Keyring:
    return Keyring(tmp_path_factory.mktemp("hidden"), [(upstream, [MODEL])])


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring) -> Iterator[Gateway]:
    with keyring.serving(logs) as gateway:
        yield gateway


AT_THE_END = ROLE + WORD + FINISH + told() + DONE
IN_THE_FINISH = ROLE + WORD + told('[{"index":0,"delta":{},"finish_reason":"stop"}]') + DONE
WHOLE = json.dumps(
    {"choices": [{"index": 0, "message": {"content": "word"}, "finish_reason": "stop"}], "usage": USAGE}
)


@pytest.mark.parametrize("events", [AT_THE_END, IN_THE_FINISH], ids=["at the end", "in the finish"])
def test_reasoning_that_is_told_at_the_end_is_paid_and_then_the_key_is_refused(
    gateway: Gateway, keyring: Keyring, upstream: ScriptedUpstream, events: bytes
) -> None:
    upstream.play(lambda request: [STREAM_HEAD + events])
    key = keyring.create(balance_usd="0.02")
    answer = fetch(gateway.port, body(stream=True), Authorization=key.bearer)
    assert (answer.text(), answer.events()[-1]) == ("word ", "[DONE]")
    [record] = keyring.records(key, 1)
    assert (record["ending"], record["completion_tokens"]) == ("completed", HIDDEN + 1)
    assert keyring.balance(key) == 20_000 - record["cost"] < 0
    upstream.requests.clear()
    for stream in (True, False):
        refused = fetch(gateway.port, body(stream=stream), Authorization=key.bearer)
        assert (refused.status, refused.error()["code"]) == (402, "insufficient_quota")
        assert "used up: it is" in refused.error()["message"]
    assert call(gateway, "POST", "/v1/streams", body(), Authorization=key.bearer).status == 402
    assert upstream.requests == []
    keyring.credit(key, "1")


def test_reasoning_that_is_told_before_the_finish_cuts_the_stream(
    gateway: Gateway, keyring: Keyring, upstream: ScriptedUpstream
) -> None:
    def script(request: bytes) -> list[Step]:
        return [STREAM_HEAD + ROLE + WORD + told(), WORD, 0.05, *[WORD] * 50, 60.0]

    upstream.play(script)
    key = keyring.create(balance_usd="0.02")
    answer = fetch(gateway.port, body(stream=True), Authorization=key.bearer)
    assert answer.events()[-2]["error"]["code"] == "budget_exhausted"
    [record] = keyring.records(key, 1)
    assert record["ending"] == "budget_exhausted"
    assert HIDDEN * TOKEN_COST < record["cost"] < (HIDDEN + 100) * TOKEN_COST
    assert fetch(gateway.port, body(stream=True), Authorization=key.bearer).status == 402


def test_a_usage_in_the_midst_that_the_balance_covers_cuts_nothing(
    gateway: Gateway, keyring: Keyring, upstream: ScriptedUpstream
) -> None:
    upstream.play(
        lambda request: [STREAM_HEAD + ROLE + WORD + told() + WORD, 0.05, WORD * 3 + FINISH + told() + DONE]
    )
    key = keyring.create(balance_usd="0.06")
    answer = fetch(gateway.port, body(stream=True), Authorization=key.bearer)
    assert (answer.text(), answer.events()[-1]) == ("word " * 5, "[DONE]")
    assert keyring.records(key, 1)[0]["ending"] == "completed"


def test_a_whole_answer_that_was_thought_about_too_long_is_a_402_and_is_paid(
    gateway: Gateway, keyring: Keyring, upstream: ScriptedUpstream
) -> None:
    upstream.play(lambda request: [response(200, WHOLE.encode())])
    key = keyring.create(balance_usd="0.02")
    answer = fetch(gateway.port, body(), Authorization=key.bearer)
    assert (answer.status, answer.error()["code"]) == (402, "budget_exhausted")
    assert keyring.records(key, 1)[0]["cost"] > HIDDEN * TOKEN_COST
    assert fetch(gateway.port, body(), Authorization=key.bearer).error()["code"] == "insufficient_quota"


def test_silence_with_comments_costs_nothing(gateway: Gateway, keyring: Keyring, upstream: ScriptedUpstream) -> None:
    comments: Script = lambda request: [STREAM_HEAD, b": thinking\n\n" * 500, ROLE + WORD + FINISH + DONE]  # noqa: E731
    upstream.play(comments)
    key = keyring.create(balance_usd="0.02")
    assert fetch(gateway.port, body(stream=True), Authorization=key.bearer).text() == "word "
    assert keyring.records(key, 1)[0]["completion_tokens"] == 2


def leave_at_the_finish(gateway: Gateway, key: MadeKey) -> None:
    with RawClient(gateway.port) as client:
        client.post(body(stream=True), Authorization=key.bearer)
        client.head()
        received = b""
        while b'"finish_reason":"stop"' not in received:
            received += client.chunk()
        client.hang_up("rst")


def test_whoever_leaves_between_the_finish_and_the_usage_pays_the_reasoning(
    gateway: Gateway, keyring: Keyring, upstream: ScriptedUpstream
) -> None:
    upstream.play(lambda request: [STREAM_HEAD + ROLE + WORD + FINISH, 0.3, told() + DONE])
    key = keyring.create(balance_usd="1")
    leave_at_the_finish(gateway, key)
    [record] = keyring.records(key, 1)
    assert (record["completion_tokens"], record["estimated"]) == (HIDDEN + 1, 0)


def test_a_usage_that_does_not_come_behind_the_finish_is_waited_for_a_moment(
    gateway: Gateway, keyring: Keyring, upstream: ScriptedUpstream
) -> None:
    upstream.play(lambda request: [STREAM_HEAD + ROLE + WORD + FINISH, 60.0])
    key = keyring.create(balance_usd="1", max_streams=1)
    began = time.monotonic()
    leave_at_the_finish(gateway, key)
    [record] = keyring.records(key, 1)
    assert (record["ending"], record["completion_tokens"], record["estimated"]) == ("abandoned", 2, 1)
    assert USAGE_SECONDS <= time.monotonic() - began < USAGE_SECONDS + 5
