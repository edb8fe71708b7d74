"""A second attempt while the first one is silent: who wins, what becomes of the loser, and how often it may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.dialects.chat.prompt import MESSAGE_TOKENS
from tests.kit.completions import CLIENT_KEY, ENDLESS, PROMPT, QUICK
from tests.kit.configuration import ORDERED
from tests.kit.gateway import Gateway
from tests.kit.http_client import RawClient, call, fetch
from tests.kit.keyring import Keyring
from tests.kit.rivals import (
    METADATA,
    SILENCES,
    WHOLE_TEXT,
    Rivals,
    attempts,
    ended,
    failure,
    metadata,
    request_for,
    routed,
    serving,
    stream,
    together,
)
from tests.kit.sdks import LazyModule, auriko_client
from tests.kit.streams import describe, wait_for_state
from tests.kit.upstreams import Upstream

if TYPE_CHECKING:
    import auriko
    import openai
else:
    auriko = LazyModule("auriko")
    openai = LazyModule("openai")

HEDGE_MS = 150
ALWAYS = f"[ttft]\nhedge_after = {HEDGE_MS}\nhedge_max_share = 1\n" + ORDERED
SHARE = 0.25
KNOWN = 30  # answers after which the p95 of an upstream is known
AT_ONCE = 40
PROMPT_USD = (len(PROMPT) / 4 + MESSAGE_TOKENS) * 2.5 / 1_000_000  # as the gateway counts it


@pytest.fixture(scope="module")
def calm(logs: Path, rivals_all_module: Rivals) -> Iterator[Gateway]:
    """A gateway that does not hedge, which is the default."""
    with serving(logs, rivals_all_module.served(), ORDERED) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def hedging(logs: Path, rivals_all_module: Rivals) -> Iterator[Gateway]:
    """A gateway that may hedge every request after a fixed time."""
    with serving(logs, rivals_all_module.served(), ALWAYS) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def automatic(logs: Path, rivals_all_module: Rivals) -> Iterator[Gateway]:
    """A gateway that may hedge every request once it knows which answers are slow (`hedge_after = "auto"`)."""
    with serving(
        logs, rivals_all_module.served(), '[ttft]\nhedge_after = "auto"\nhedge_max_share = 1\n' + ORDERED
    ) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def throttled(logs: Path, rivals_all_module: Rivals) -> Iterator[Gateway]:
    """A gateway that may hedge one request in four."""
    with serving(
        logs, rivals_all_module.served(), f"[ttft]\nhedge_after = 30\nhedge_max_share = {SHARE}\n" + ORDERED
    ) as gateway:
        yield gateway


class TestFixed:
    @pytest.mark.parametrize("silence", SILENCES)
    def test_a_hedge_wins_over_a_silent_upstream(
        self, hedging: Gateway, rivals: Rivals, model: str, silence: str
    ) -> None:
        before = rivals.first.statistics()
        rivals.first.follow(**SILENCES[silence])
        answer = stream(hedging, request_for(model))
        assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("second", "2")
        assert float(answer.headers["x-ttft-ms"]) >= HEDGE_MS - 1
        lost, won = attempts(answer)
        assert (lost["upstream"], lost["outcome"], lost["hedge"]) == ("first", "lost", False)
        assert (won["upstream"], won["outcome"], won["hedge"]) == ("second", "won", True)
        assert lost["first_content_ms"] is None
        assert won["start_ms"] >= HEDGE_MS - 1
        assert rivals.first.wait_for_abort(before).aborted == before.aborted + 1
        assert ended(hedging, answer)["attempts"] == ["first:lost", "second:won"]

    def test_the_loser_is_closed_and_its_connection_is_not_kept(
        self, hedging: Gateway, rivals: Rivals, model: str
    ) -> None:
        fetch(hedging.port, request_for(model))
        rivals.wait_until_quiet()
        for _ in range(3):
            before = rivals.first.statistics()
            left = max(before.open_connections - 1, 0)
            rivals.first.follow(stall_before="role")
            stream(hedging, request_for(model))
            rivals.first.wait_for_counts("the loser closed", open_connections=left, streams_running=0)
        accepted = rivals.first.statistics().connections_accepted
        rivals.first.follow(**QUICK)
        assert stream(hedging, request_for(model)).headers["x-upstream"] == "first"
        reused = left > 0
        assert rivals.first.statistics().connections_accepted == accepted + (not reused)

    def test_the_winner_of_a_hedge_keeps_its_connection(self, hedging: Gateway, rivals: Rivals, model: str) -> None:
        rivals.first.follow(stall_before="head")
        stream(hedging, request_for(model))
        before = rivals.second.statistics()
        for _ in range(3):
            stream(hedging, request_for(model))
        assert rivals.second.statistics().connections_accepted == before.connections_accepted
        assert rivals.second.statistics().aborted == before.aborted

    def test_an_upstream_that_wakes_up_wins_over_a_silent_hedge(
        self, hedging: Gateway, rivals: Rivals, model: str
    ) -> None:
        before = rivals.second.statistics()
        rivals.first.follow(**{**QUICK, "ttft_ms": 3 * HEDGE_MS})
        rivals.second.follow(stall_before="role")
        answer = stream(hedging, request_for(model))
        assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("first", "2")
        assert [(attempt["outcome"], attempt["hedge"]) for attempt in attempts(answer)] == [
            ("won", False),
            ("lost", True),
        ]
        rivals.second.wait_for_abort(before)

    def test_the_metadata_tells_what_the_hedge_cost(self, hedging: Gateway, rivals: Rivals, model: str) -> None:
        rivals.first.follow(stall_before="head")
        answer = stream(hedging, request_for(model))
        routing = metadata(answer)
        assert routing["hedge_cost_usd"] == pytest.approx(PROMPT_USD)
        usage = answer.events()[-2]["usage"]
        assert usage["completion_tokens"] == 8
        winner_usd = (usage["prompt_tokens"] * 2.5 + 8 * 10.0) / 1_000_000
        assert routing["cost"]["usd"] == pytest.approx(winner_usd)
        line = ended(hedging, answer)
        assert float(line["hedge_cost_usd"]) == pytest.approx(PROMPT_USD)
        assert float(line["cost_usd"]) == pytest.approx(winner_usd)

    def test_an_answer_without_a_hedge_tells_of_no_cost(self, calm: Gateway, model: str) -> None:
        answer = stream(calm, request_for(model))
        assert "hedge_cost_usd" not in metadata(answer)
        assert float(ended(calm, answer)["hedge_cost_usd"]) == 0

    def test_a_hedge_that_fails_leaves_the_first_attempt_running(
        self, hedging: Gateway, rivals: Rivals, model: str
    ) -> None:
        rivals.first.follow(**{**QUICK, "ttft_ms": 5 * HEDGE_MS})
        rivals.second.follow(status=500)
        answer = stream(hedging, request_for(model))
        assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("first", "2")
        assert [attempt["outcome"] for attempt in attempts(answer)] == ["won", "upstream_error"]

    def test_a_hedge_answers_when_the_first_attempt_fails_meanwhile(
        self, hedging: Gateway, rivals: Rivals, model: str
    ) -> None:
        rivals.first.follow(ttft_ms=2 * HEDGE_MS, error_first=True)
        rivals.second.follow(**{**QUICK, "ttft_ms": 3 * HEDGE_MS})
        answer = stream(hedging, request_for(model))
        assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("second", "2")
        assert [attempt["outcome"] for attempt in attempts(answer)] == ["upstream_error", "won"]

    def test_an_upstream_without_an_alternative_is_hedged_with_itself(
        self, hedging: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        before = rivals.first.statistics()
        rivals.first.follow(stall_before="head")
        with RawClient(hedging.port) as client:
            client.post(request_for(lone_model), **METADATA)
            rivals.first.wait_for_request(before)
            rivals.first.follow(**QUICK)
            answer = client.answer()
        assert answer.text() == WHOLE_TEXT
        assert answer.headers["x-attempts"] == "2"
        found = [(attempt["upstream"], attempt["outcome"], attempt["hedge"]) for attempt in attempts(answer)]
        assert found == [("first", "lost", False), ("first", "won", True)]
        assert float(ended(hedging, answer)["hedge_cost_usd"]) == pytest.approx(PROMPT_USD)
        rivals.first.wait_for_abort(before)

    def test_the_budget_ends_both_attempts(self, hedging: Gateway, rivals: Rivals, model: str) -> None:
        before = [upstream.statistics() for upstream in rivals.both()]
        rivals.first.follow(stall_before="head")
        rivals.second.follow(stall_after=0, ttft_ms=0)
        answer = fetch(hedging.port, routed(model, max_ttft_ms=6 * HEDGE_MS))
        assert (answer.status, answer.error()["code"]) == (504, "ttft_budget_exceeded")
        tried = json.loads(answer.body)["routing_metadata"]["attempts"]
        assert [(attempt["upstream"], attempt["outcome"], attempt["hedge"]) for attempt in tried] == [
            ("first", "timed_out", False),
            ("second", "timed_out", True),
        ]
        for upstream, then in zip(rivals.both(), before, strict=True):
            assert upstream.wait_for_abort(then).aborted == then.aborted + 1

    def test_a_client_that_leaves_ends_both_attempts(self, hedging: Gateway, rivals: Rivals, model: str) -> None:
        before = [upstream.statistics() for upstream in rivals.both()]
        for upstream in rivals.both():
            upstream.follow(stall_before="head")
        with RawClient(hedging.port) as client:
            client.post(request_for(model), x_request_id="left-both")
            rivals.second.wait_for_request(before[1])
        for upstream, then in zip(rivals.both(), before, strict=True):
            upstream.wait_for_abort(then)
        line = hedging.ending("left-both")
        assert (line["ending"], line["attempts"]) == ("abandoned", ["first:stopped", "second:stopped"])

    def test_a_stop_ends_both_attempts_that_the_stream_lists(
        self, hedging: Gateway, rivals: Rivals, model: str
    ) -> None:
        before = [upstream.statistics() for upstream in rivals.both()]
        for upstream in rivals.both():
            upstream.follow(stall_before="role")
        stream_id = call(hedging, "POST", "/v1/streams", request_for(model)).headers["x-stream-id"]
        rivals.second.wait_for_request(before[1])
        described = describe(hedging, stream_id)
        assert described["state"] == "pending"
        assert [(attempt["outcome"], attempt["hedge"]) for attempt in described["attempts"]] == [
            ("running", False),
            ("running", True),
        ]
        call(hedging, "DELETE", f"/v1/streams/{stream_id}")
        for upstream, then in zip(rivals.both(), before, strict=True):
            upstream.wait_for_abort(then)
        described = wait_for_state(hedging, stream_id, state="ended")
        assert [attempt["outcome"] for attempt in described["attempts"]] == ["stopped", "stopped"]

    def test_there_is_one_answer_whichever_attempt_is_first(
        self, hedging: Gateway, rivals: Rivals, model: str
    ) -> None:
        rivals.first.follow(**{**QUICK, "ttft_ms": HEDGE_MS + 20})
        rivals.second.follow(**{**QUICK, "ttft_ms": 20})
        answers = together(hedging, [request_for(model)] * AT_ONCE)
        assert {answer.text() for answer in answers} == {WHOLE_TEXT}
        for answer in answers:
            outcomes = sorted(attempt["outcome"] for attempt in attempts(answer))
            assert outcomes in (["won"], ["lost", "won"])
            assert answer.headers["x-attempts"] == str(len(outcomes))
        rivals.wait_until_quiet()


def test_an_answer_that_is_too_dear_from_its_first_token_on_closes_the_other_attempt_too(
    tmp_path: Path, rivals: Rivals, model: str
) -> None:
    before = rivals.first.statistics()
    rivals.first.follow(stall_before="head")
    with serving(tmp_path, rivals.served(), ALWAYS) as gateway:
        answer = fetch(gateway.port, routed(model, max_cost_usd=1e-9))
        assert failure(answer)["code"] == "budget_exhausted"
        rivals.first.wait_for_abort(before)
        assert "Traceback" not in gateway.errors()


@pytest.fixture
def keyring(tmp_path: Path, rivals: Rivals) -> Keyring:
    """The configuration of a gateway with keys that hedges each request at once."""
    return Keyring(tmp_path, rivals.served(), "[ttft]\nhedge_after = 20\nhedge_max_share = 1\n")


@pytest.fixture
def with_keys(logs: Path, keyring: Keyring) -> Iterator[Gateway]:
    with keyring.serving(logs) as gateway:
        yield gateway


LONG_PROMPT = [{"role": "user", "content": "heron " * 2000}]
LONG_PROMPT_COST, TOKEN_COST = 7510, 10  # micro-dollars, as the gateway counts: 3004 tokens


@pytest.mark.parametrize(("prompts", "tried"), [(1, ["first"]), (2, ["first", "second"])])
def test_a_hedge_starts_only_if_the_key_can_pay_for_it_too(
    with_keys: Gateway, keyring: Keyring, rivals: Rivals, model: str, prompts: int, tried: list[str]
) -> None:
    rivals.first.follow(**{**QUICK, "ttft_ms": 3 * HEDGE_MS})
    rivals.second.follow(stall_before="role")
    key = keyring.create(balance_usd=f"{(prompts * LONG_PROMPT_COST + 100 * TOKEN_COST) / 1_000_000:.6f}")
    answer = stream(with_keys, request_for(model, messages=LONG_PROMPT, max_tokens=100), Authorization=key.bearer)
    assert [attempt["upstream"] for attempt in attempts(answer)] == tried


def test_what_a_hedge_has_cost_is_not_there_for_the_answer(
    with_keys: Gateway, keyring: Keyring, rivals: Rivals, model: str
) -> None:
    rivals.first.follow(stall_before="head")
    rivals.second.follow(**{**ENDLESS, "gap_ms": 1})
    key = keyring.create(balance_usd=f"{(2 * LONG_PROMPT_COST + 100 * TOKEN_COST) / 1_000_000:.6f}")
    request = request_for(model, messages=LONG_PROMPT, max_tokens=100)
    answer = fetch(with_keys.port, request, Authorization=key.bearer)
    assert (answer.headers["x-upstream"], failure(answer)["code"]) == ("second", "budget_exhausted")
    keyring.records(key, 1)
    balance = keyring.balance(key)
    assert balance is not None
    assert -3 * TOKEN_COST <= balance <= 0  # the event that used up the balance may cost more than was left


class TestWithout:
    def test_a_whole_answer_is_not_hedged(self, hedging: Gateway, rivals: Rivals, model: str) -> None:
        before = rivals.second.statistics().requests
        rivals.first.follow(ttft_ms=3 * HEDGE_MS, gap_ms=0, tokens=8)
        answer = fetch(hedging.port, request_for(model, stream=False))
        assert (answer.status, answer.headers["x-upstream"], answer.headers["x-attempts"]) == (200, "first", "1")
        assert rivals.second.statistics().requests == before

    def test_a_request_that_wants_no_fallback_is_not_hedged(
        self, hedging: Gateway, rivals: Rivals, model: str
    ) -> None:
        rivals.first.follow(**{**QUICK, "ttft_ms": 3 * HEDGE_MS})
        answer = stream(hedging, routed(model, allow_fallbacks=False))
        assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("first", "1")

    def test_an_upstream_that_may_be_the_only_one_is_hedged_with_itself(
        self, hedging: Gateway, rivals: Rivals, model: str
    ) -> None:
        before = rivals.second.statistics().requests
        rivals.first.follow(**{**QUICK, "ttft_ms": 3 * HEDGE_MS})
        answer = stream(hedging, routed(model, providers=["first"]))
        assert [attempt["upstream"] for attempt in attempts(answer)] == ["first", "first"]
        assert rivals.second.statistics().requests == before

    def test_the_default_is_not_to_hedge(self, calm: Gateway, rivals: Rivals, model: str) -> None:
        rivals.first.follow(**{**QUICK, "ttft_ms": 3 * HEDGE_MS})
        assert stream(calm, request_for(model)).headers["x-attempts"] == "1"


def test_auto_waits_until_it_knows_what_is_slow(automatic: Gateway, rivals: Rivals, model: str) -> None:
    rivals.first.follow(**{**QUICK, "ttft_ms": 300})
    assert stream(automatic, request_for(model)).headers["x-attempts"] == "1"
    rivals.first.follow(**QUICK)
    for _ in range(3):
        together(automatic, [request_for(model)] * (KNOWN // 3))
    rivals.wait_until_quiet()
    before = rivals.first.statistics()
    rivals.first.follow(stall_before="head")
    answer = stream(automatic, request_for(model))
    assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("second", "2")
    assert [(attempt["outcome"], attempt["hedge"]) for attempt in attempts(answer)] == [
        ("lost", False),
        ("won", True),
    ]
    rivals.first.wait_for_abort(before)


def test_hedges_never_exceed_their_share_of_the_requests(throttled: Gateway, rivals: Rivals, model: str) -> None:
    rivals.first.follow(**{**QUICK, "ttft_ms": 120})
    hedged = []
    for _ in range(8):
        hedged.append(attempts(stream(throttled, request_for(model)))[-1]["hedge"])
        assert sum(hedged) <= SHARE * len(hedged)
    assert any(hedged)
    answers = together(throttled, [request_for(model)] * AT_ONCE)
    assert {answer.text() for answer in answers} == {WHOLE_TEXT}
    hedged += [attempts(answer)[-1]["hedge"] for answer in answers]
    assert sum(hedged) <= SHARE * len(hedged)
    lines = [line for line in throttled.lines() if line["event"] == "completion ended"]
    assert sum(len(line["attempts"]) == 2 for line in lines) == sum(hedged)


def follow(path: str, upstream: Upstream) -> None:
    """Let an upstream behave so that a request takes this path."""
    if path == "fallback":
        upstream.follow(status=500)
    elif path == "hedge":
        upstream.follow(stall_before="role")


WINNERS = {"plain": "first", "fallback": "second", "hedge": "second"}
OUTCOMES = {"plain": ["won"], "fallback": ["upstream_error", "won"], "hedge": ["lost", "won"]}


@pytest.mark.parametrize("path", WINNERS)
class TestClients:
    def check(self, path: str, model: str, completion: Any) -> None:
        assert completion.usage.completion_tokens == 8
        assert completion.usage.total_tokens == completion.usage.prompt_tokens + 8
        routing = completion.routing_metadata
        assert isinstance(routing, auriko.route_types.RoutingMetadata)
        assert (routing.provider, routing.model_canonical) == (WINNERS[path], model)
        assert routing.routing_strategy == "priority"
        assert routing.cost.usd > 0
        assert [attempt["outcome"] for attempt in routing.model_extra["attempts"]] == OUTCOMES[path]
        assert ("hedge_cost_usd" in routing.model_extra) == (path == "hedge")

    def test_auriko_reads_usage_metadata_and_headers(
        self, calm: Gateway, hedging: Gateway, rivals: Rivals, model: str, path: str
    ) -> None:
        follow(path, rivals.first)
        with auriko_client(hedging if path == "hedge" else calm) as client:
            completion = client.chat.completions.create(**request_for(model))
            headers = completion.response_headers
            assert headers.request_id.startswith("req_")
            assert headers.get("x-upstream") == WINNERS[path]
            assert headers.get("x-attempts") == str(len(OUTCOMES[path]))
            assert float(headers.get("x-ttft-ms")) > 0
            assert headers.get("x-stream-id").startswith("st_")
            assert completion.usage is None
            text = "".join(choice.delta.content or "" for chunk in completion for choice in chunk.choices)
            assert text == WHOLE_TEXT
            self.check(path, model, completion)

    async def test_auriko_reads_usage_metadata_and_headers_async(
        self, calm: Gateway, hedging: Gateway, rivals: Rivals, model: str, path: str
    ) -> None:
        follow(path, rivals.first)
        gateway = hedging if path == "hedge" else calm
        client = auriko.AsyncClient(api_key=CLIENT_KEY, base_url=gateway.url, max_retries=0)
        try:
            completion = await client.chat.completions.create(**request_for(model))
            assert completion.response_headers.get("x-attempts") == str(len(OUTCOMES[path]))
            text = [choice.delta.content or "" async for chunk in completion for choice in chunk.choices]
            assert "".join(text) == WHOLE_TEXT
            self.check(path, model, completion)
        finally:
            await client._httpx.aclose()  # noqa: SLF001

    def test_openai_reads_the_usage_event(
        self, calm: Gateway, hedging: Gateway, rivals: Rivals, model: str, path: str
    ) -> None:
        follow(path, rivals.first)
        gateway = hedging if path == "hedge" else calm
        with openai.OpenAI(base_url=gateway.url, api_key=CLIENT_KEY, max_retries=0) as client:
            request = request_for(model, stream_options={"include_usage": True})
            chunks = list(client.chat.completions.create(**request))
        assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == WHOLE_TEXT
        assert len({chunk.id for chunk in chunks}) == 1
        assert chunks[-1].usage.completion_tokens == 8
        assert [attempt["outcome"] for attempt in chunks[-1].routing_metadata["attempts"]] == OUTCOMES[path]
