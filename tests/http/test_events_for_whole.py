"""Events in the place of a whole answer: when the answer is told, what is billed, and who answers instead."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.completions import MODEL, body
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import RawClient, call
from tests.kit.keyring import Keyring, prompt_cost
from tests.kit.scripted_upstream import DONE, FINISH, GOOD_TEXT, ROLE, STREAM_HEAD, ScriptedUpstream, Step, event
from tests.kit.waiting import wait_for

WORD = event('{"content":"word "}')
WHOLE = body(stream=False)


@pytest.fixture(scope="module")
def first() -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream("first")
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def second() -> Iterator[ScriptedUpstream]:
    upstream = ScriptedUpstream("second")
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, first: ScriptedUpstream, second: ScriptedUpstream) -> Keyring:
    return Keyring(tmp_path_factory.mktemp("whole"), [(first, [MODEL]), (second, [MODEL])])


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring) -> Iterator[LocalGateway]:
    with keyring.serving(logs) as gateway:
        yield gateway


def test_the_answer_is_told_with_its_terminal_event_although_the_connection_stays_open(
    gateway: LocalGateway, keyring: Keyring, first: ScriptedUpstream
) -> None:
    first.play(lambda request: [STREAM_HEAD + ROLE + WORD, WORD + FINISH + DONE, 60.0])
    key = keyring.create()
    answer = call(gateway, "POST", "/v1/chat/completions", WHOLE, Authorization=key.bearer)
    assert answer.headers["x-upstream"] == "first"
    assert b'"content":"word word "' in answer.body
    [record] = keyring.records(key, 1)
    assert (record["ending"], record["completion_tokens"]) == ("completed", 3)


@pytest.mark.parametrize("end", [b"", event("{}", '"error"'), b'data: {"error":{"message":"died"}}\n\n'])
def test_events_that_break_off_are_replaced_by_the_next_upstream(
    gateway: LocalGateway, keyring: Keyring, first: ScriptedUpstream, end: bytes
) -> None:
    first.play(lambda request: [STREAM_HEAD + ROLE + WORD + end])
    key = keyring.create()
    answer = call(gateway, "POST", "/v1/chat/completions", WHOLE, Authorization=key.bearer)
    assert (answer.status, answer.headers["x-upstream"]) == (200, "second")
    assert GOOD_TEXT.encode() in answer.body


def test_a_client_that_leaves_pays_the_prompt_and_the_words_that_had_come(
    gateway: LocalGateway, keyring: Keyring, first: ScriptedUpstream
) -> None:
    sent = []

    def script(request: bytes) -> Iterator[Step]:
        yield STREAM_HEAD + ROLE + WORD * 5
        sent.append(request)
        yield 60.0

    first.play(script)
    key = keyring.create(balance_usd="1")
    with RawClient(gateway.port) as client:
        client.post(WHOLE, Authorization=key.bearer)
        wait_for(lambda: sent or None, "the words of the upstream")
        gateway.turn()
    [record] = keyring.records(key, 1)
    assert (record["ending"], record["estimated"]) == ("abandoned", 1)
    assert record["cost"] in range(prompt_cost(WHOLE), prompt_cost(WHOLE) + 100)
    assert record["completion_tokens"] <= 10


def test_an_answer_of_events_that_costs_more_than_there_is_is_cut(
    gateway: LocalGateway, keyring: Keyring, first: ScriptedUpstream
) -> None:
    first.play(lambda request: [STREAM_HEAD + ROLE, *[event('{"content":"%s"}' % ("x" * 10_000))] * 200])
    key = keyring.create(balance_usd="0.02")
    answer = call(gateway, "POST", "/v1/chat/completions", WHOLE, Authorization=key.bearer)
    assert (answer.status, answer.error()["code"]) == (402, "budget_exhausted")
    [record] = keyring.records(key, 1)
    assert record["ending"] == "budget_exhausted"
    assert record["cost"] >= 20_000
