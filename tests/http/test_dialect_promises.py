"""What is promised for chat holds in every dialect that streams: ends, hedges, shared streams, money."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.wire import sse
from tests.kit.completions import ENDLESS, MODEL, PROMPT, QUICK, text
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, RawClient, call
from tests.kit.keyring import TOKEN_COST, Keyring, MadeKey
from tests.kit.upstreams import Upstream

PAIR = "pair"  # two upstreams serve it
LIMITS = "[stream]\nidle_timeout_ms = 300\n"
HEDGED = "[ttft]\nhedge_after = 100\nhedge_max_share = 1\n"
ASKED: dict[str, dict[str, Any]] = {
    "responses": {"input": PROMPT},
    "messages": {"messages": [{"role": "user", "content": PROMPT}]},
    "completions": {"prompt": PROMPT},
}
LIMIT_NAMES = {"responses": "max_output_tokens", "messages": "max_tokens", "completions": "max_tokens"}
FIRST = {"responses": "response.created", "messages": "message_start", "completions": "text_completion"}


class Stage:
    """A gateway with keys before two providers, of which the frail one is asked first for a pair."""

    gateway: LocalGateway

    def __init__(self, folder: Path, frail: Upstream, alpha: Upstream, sections: str) -> None:
        self.alpha = alpha
        self.keyring = Keyring(folder, [(frail, [PAIR]), (alpha, [MODEL, PAIR])], sections)
        self.key = self.keyring.create("rich")

    def post(self, dialect: str, simulate: object = None, key: MadeKey | None = None, **more: Any) -> Answer:
        headers = {"X_Stream_Key": more.pop("shared")} if "shared" in more else {}
        told = {} if simulate is None else {"simulate": simulate}
        limit = {LIMIT_NAMES[dialect]: most} if (most := more.pop("most", None)) is not None else {}
        body = {"model": MODEL, "stream": True, **ASKED[dialect], **limit, **told, **more}
        bearer = (key or self.key).bearer
        return call(self.gateway, "POST", f"/v1/{dialect}", body, Authorization=bearer, **headers)


@pytest.fixture(scope="module")
def stage(
    logs: Path, tmp_path_factory: pytest.TempPathFactory, frail_all_session: Upstream, alpha: Upstream
) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("promises"), frail_all_session, alpha, LIMITS)
    with stage.keyring.serving(logs) as stage.gateway:
        yield stage


@pytest.fixture(scope="module")
def hedging(
    logs: Path, tmp_path_factory: pytest.TempPathFactory, frail_all_session: Upstream, alpha: Upstream
) -> Iterator[Stage]:
    """A gateway that asks a second upstream when the first one is silent."""
    stage = Stage(tmp_path_factory.mktemp("hedging"), frail_all_session, alpha, HEDGED)
    with stage.keyring.serving(logs) as stage.gateway:
        yield stage


def events(answer: Answer) -> list[dict[str, Any]]:
    """The objects of all events."""
    assert answer.status == 200, answer.body
    found = [sse.decode(block).data for block in sse.BlockDecoder().feed(answer.body)]
    return [orjson.loads(data) for data in found if data is not None and data != b"[DONE]"]


def said(told: list[dict[str, Any]]) -> str:
    """The text of an answer in any dialect."""
    texts = []
    for event in told:
        delta = event.get("delta")
        if isinstance(delta, dict):
            texts.append(delta.get("text", ""))
        elif event.get("type") == "response.output_text.delta":
            texts.append(delta)
        texts += [choice["text"] for choice in event.get("choices", ())]
    return "".join(texts)


def broken(dialect: str, answer: Answer) -> str:
    """The code of the error by which an answer ends, in the form that the clients of its dialect need."""
    told = events(answer)
    if dialect == "responses":
        error, failed = told[-2:]
        assert (error["type"], failed["type"], failed["response"]["status"]) == ("error", "response.failed", "failed")
        assert error["code"] == error["error"]["code"] == failed["response"]["error"]["code"]
        assert [error["sequence_number"], failed["sequence_number"]] == [len(told) - 2, len(told) - 1]
    elif dialect == "messages":
        error = told[-1]
        assert (error["type"], error["error"].keys() >= {"type", "message"}) == ("error", True)
        return str(error["error"]["details"]["error_code"])
    else:
        assert answer.body.endswith(b"data: [DONE]\n\n")
        (error,) = told[-1:]
    return str(error["error"]["code"])


@pytest.mark.parametrize("dialect", ASKED)
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"stall_after": 3}, "upstream_stalled"),
        ({"error_after": 3}, "upstream_error"),
        ({"reset_after": 3}, "upstream_error"),
        ({"cut_after": 3}, "upstream_error"),
        ({"close_after": 3}, "upstream_error"),
    ],
    ids=["stall", "error", "reset", "cut", "close"],
)
def test_an_answer_that_breaks_off_says_so_in_its_own_form(
    stage: Stage, dialect: str, fault: dict[str, Any], code: str
) -> None:
    answer = stage.post(dialect, {**QUICK, **fault})
    assert broken(dialect, answer) == code
    assert said(events(answer)) in ("", text(3))


@pytest.mark.parametrize("dialect", ASKED)
def test_an_answer_that_uses_up_the_balance_is_cut_and_paid(stage: Stage, dialect: str) -> None:
    key, before = stage.keyring.create(balance_usd="0.000400"), stage.alpha.statistics()
    answer = stage.post(dialect, ENDLESS, key)
    assert broken(dialect, answer) == "budget_exhausted"
    stage.alpha.wait_for_abort(before)
    (record,) = stage.keyring.records(key, 1)
    assert record["ending"] == "budget_exhausted"
    assert 390 <= record["cost"] <= 430 + TOKEN_COST


@pytest.mark.parametrize("dialect", ASKED)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_prompt_that_the_key_cannot_pay_is_refused_before_anybody_is_asked(
    stage: Stage, dialect: str, streamed: bool
) -> None:
    key, before = stage.keyring.create(balance_usd="0.00001"), stage.alpha.statistics()
    answer = stage.post(dialect, QUICK, key, stream=streamed, most=1000)
    assert answer.status == 402, answer.body
    error = answer.error()
    code = error["details"]["error_code"] if dialect == "messages" else error["code"]
    assert code == "insufficient_quota"
    assert stage.alpha.statistics().requests == before.requests
    assert stage.keyring.balance(key) == 10


@pytest.mark.parametrize("dialect", ASKED)
def test_money_for_the_longest_answer_is_reserved_while_it_runs(stage: Stage, dialect: str) -> None:
    key = stage.keyring.create(balance_usd="1")
    with RawClient(stage.gateway.port) as client:
        body = {"model": MODEL, "stream": True, **ASKED[dialect], LIMIT_NAMES[dialect]: 50_000, "simulate": ENDLESS}
        client.request("POST", f"/v1/{dialect}", body, Authorization=key.bearer)
        assert client.head().status == 200
        me = orjson.loads(call(stage.gateway, "GET", "/v1/me", Authorization=key.bearer).body)
        assert 0.499 < me["balance_usd"] < 0.5
    stage.keyring.records(key, 1)


@pytest.mark.parametrize("dialect", ASKED)
@pytest.mark.parametrize("streamed", [True, False])
def test_an_answer_costs_what_its_usage_says(stage: Stage, dialect: str, streamed: bool) -> None:
    key = stage.keyring.create(balance_usd="1")
    answer = stage.post(dialect, QUICK, key, stream=streamed)
    assert answer.status == 200, answer.body
    (record,) = stage.keyring.records(key, 1)
    assert (record["ending"], record["completion_tokens"], record["estimated"]) == ("completed", 8, 0)
    assert record["cost"] == -(-record["prompt_tokens"] * 5 // 2) + 8 * TOKEN_COST
    assert stage.keyring.balance(key) == 1_000_000 - record["cost"]


@pytest.mark.parametrize("dialect", ASKED)
def test_a_hedge_that_wins_is_all_that_the_client_hears_of(hedging: Stage, frail: Upstream, dialect: str) -> None:
    frail.follow(ttft_ms=30_000, seed=7)
    before = frail.statistics()
    answer = hedging.post(dialect, model=PAIR)
    told = events(answer)
    kinds = [event.get("type", event.get("object")) for event in told]
    assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("alpha", "2")
    assert kinds[0] == FIRST[dialect]
    assert dialect == "completions" or kinds.count(FIRST[dialect]) == 1
    assert said(told) == text(8)
    frail.wait_for_abort(before)


@pytest.mark.parametrize("dialect", ASKED)
def test_requests_with_one_stream_key_share_a_stream_and_viewers_read_it(stage: Stage, dialect: str) -> None:
    before = stage.alpha.statistics()
    with ThreadPoolExecutor(3) as threads:
        slow = {**QUICK, "ttft_ms": 150}
        answers = list(threads.map(lambda _: stage.post(dialect, slow, shared=f"shared {dialect}"), range(3)))
    assert len({answer.body for answer in answers}) == 1
    assert said(events(answers[0])) == text(8)
    assert stage.alpha.statistics().requests == before.requests + 1
    path = f"/v1/streams/{answers[0].headers['x-stream-id']}"
    token = orjson.loads(call(stage.gateway, "POST", f"{path}/tokens", b"{}", Authorization=stage.key.bearer).body)
    watched = call(stage.gateway, "GET", f"{path}/events?token={token['token']}")
    assert [event for event in events(watched) if "ending" not in event] == events(answers[0])
