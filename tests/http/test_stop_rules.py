"""What ends an answer that went on for too long, cost too much or fell silent: each with an ending of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.dialects.chat.prompt import MESSAGE_TOKENS
from tests.kit.completions import CLIENT_KEY, PROMPT, QUICK, text
from tests.kit.configuration import ORDERED
from tests.kit.gateway import Gateway
from tests.kit.http_client import Answer, RawClient, call, fetch
from tests.kit.keyring import prompt_cost
from tests.kit.rivals import (
    METADATA,
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
)
from tests.kit.sdks import LazyModule, auriko_client
from tests.kit.sse_client import Subscriber
from tests.kit.streams import wait_for_state

if TYPE_CHECKING:
    import auriko
    import openai
else:
    auriko = LazyModule("auriko")
    openai = LazyModule("openai")

MAX_TOKENS = 20
MAX_BYTES = 60
WORD = "abc "  # four bytes: a token by either count
LONG = {"ttft_ms": 5, "gap_ms": 10, "text": WORD * 200}  # far longer than any limit here; two seconds of talk
PROMPT_USD = (len(PROMPT) / 4 + MESSAGE_TOKENS) * 2.5 / 1_000_000  # as the gateway counts it
TOKEN_USD = 10.0 / 1_000_000


@pytest.fixture(scope="module")
def gateway(logs: Path, rivals_all_module: Rivals) -> Iterator[Gateway]:
    """A gateway without limits but those that a request asks for."""
    with serving(logs, rivals_all_module.served(), ORDERED) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def terse(logs: Path, rivals_all_module: Rivals) -> Iterator[Gateway]:
    """A gateway that limits the tokens and the silence between them."""
    sections = f"[stream]\nidle_timeout_ms = 400\nmax_output_tokens = {MAX_TOKENS}\n"
    with serving(logs, rivals_all_module.served(), sections + ORDERED) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def brief(logs: Path, rivals_all_module: Rivals) -> Iterator[Gateway]:
    """A gateway that limits the bytes and the time, and sends its headers early."""
    sections = f"[stream]\ncommit_after_ms = 50\nmax_duration_seconds = 0.8\nmax_output_bytes = {MAX_BYTES}\n"
    with serving(logs, rivals_all_module.served(), sections + ORDERED) as gateway:
        yield gateway


TYPES = {"budget_exhausted": "rate_limit_error"}  # the type of each code; a code that is missing has `api_error`


def cut_short(gateway: Gateway, rivals: Rivals, request: dict[str, Any], code: str, ending: str) -> Answer:
    """An answer that ends with this error in the stream, on a connection that then serves another one."""
    before = rivals.first.statistics()
    with RawClient(gateway.port) as client:
        client.post(request)
        answer = client.answer()
        assert answer.status == 200, answer.body
        error = failure(answer)
        assert (error["type"], error["code"], error["param"]) == (TYPES.get(code, "api_error"), code, None)
        line = ended(gateway, answer)
        assert (line["ending"], line["error"]) == (ending, error["message"])
        rivals.first.wait_for_abort(before)
        client.post(request_for(request["model"], QUICK))
        assert client.answer().text() == WHOLE_TEXT
    return answer


def refused(gateway: Gateway, request: dict[str, Any], status: int, code: str, ending: str) -> list[dict[str, Any]]:
    """Send a request that ends with this status; returns the attempts that its error lists."""
    answer = fetch(gateway.port, request)
    assert (answer.status, answer.error()["type"], answer.error()["code"]) == (status, "api_error", code)
    assert ended(gateway, answer)["ending"] == ending
    tried: list[dict[str, Any]] = json.loads(answer.body)["routing_metadata"]["attempts"]
    return tried


class TestSilence:
    def test_a_stall_ends_the_stream(self, terse: Gateway, rivals: Rivals, lone_model: str) -> None:
        request = request_for(lone_model, {**QUICK, "stall_after": 3})
        assert cut_short(terse, rivals, request, "upstream_stalled", "stalled").text() == text(3)

    def test_slow_tokens_are_no_stall(self, terse: Gateway, lone_model: str) -> None:
        answer = fetch(terse.port, request_for(lone_model, {"ttft_ms": 5, "gap_ms": 100, "tokens": 6}))
        assert answer.text() == text(6)
        assert ended(terse, answer)["ending"] == "completed"

    def test_the_silence_before_the_first_token_is_none_between_tokens(self, terse: Gateway, lone_model: str) -> None:
        assert fetch(terse.port, request_for(lone_model, {**QUICK, "ttft_ms": 600})).text() == WHOLE_TEXT


class TestDuration:
    def test_a_stream_that_takes_too_long_is_ended(self, brief: Gateway, rivals: Rivals, lone_model: str) -> None:
        request = request_for(lone_model, {"ttft_ms": 5, "gap_ms": 300, "text": WORD * 10})
        answer = cut_short(brief, rivals, request, "stream_duration_exceeded", "max_duration")
        assert (WORD * 10).startswith(answer.text())
        assert len(answer.text()) < len(WORD * 10)
        assert ended(brief, answer)["duration_ms"] >= 799

    def test_a_stream_that_has_not_begun_is_ended_too(self, brief: Gateway, rivals: Rivals, lone_model: str) -> None:
        request = request_for(lone_model, {"stall_before": "head"})
        answer = cut_short(brief, rivals, request, "stream_duration_exceeded", "max_duration")
        assert [attempt["outcome"] for attempt in attempts(answer)] == ["stopped"]

    def test_a_stream_without_a_subscriber_is_ended_too(
        self, brief: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        before = rivals.first.statistics()
        slow = {"ttft_ms": 5, "gap_ms": 300, "text": WORD * 10}
        created = call(brief, "POST", "/v1/streams", request_for(lone_model, slow))
        described = wait_for_state(brief, created.headers["x-stream-id"], state="ended")
        assert described["ending"] == "max_duration"
        rivals.first.wait_for_abort(before)


class TestOutput:
    def test_an_answer_of_too_many_tokens_is_ended(self, terse: Gateway, rivals: Rivals, lone_model: str) -> None:
        answer = cut_short(terse, rivals, request_for(lone_model, LONG), "stream_output_exceeded", "max_output")
        assert MAX_TOKENS < len(answer.text()) / len(WORD) < 200
        line = ended(terse, answer)
        assert line["completion_tokens"] == len(answer.text()) / len(WORD)
        assert line["usage_estimated"] is True

    def test_an_answer_of_as_many_as_allowed_is_whole(self, terse: Gateway, lone_model: str) -> None:
        answer = fetch(terse.port, request_for(lone_model, {**LONG, "gap_ms": 1, "text": WORD * MAX_TOKENS}))
        assert answer.text() == WORD * MAX_TOKENS
        assert answer.events()[-2]["choices"][0]["finish_reason"] == "stop"
        assert ended(terse, answer)["ending"] == "completed"

    def test_the_chunk_that_goes_beyond_a_limit_is_the_last_one(self, terse: Gateway, lone_model: str) -> None:
        answer = fetch(terse.port, request_for(lone_model, {**LONG, "gap_ms": 0}))
        assert failure(answer)["code"] == "stream_output_exceeded"
        assert answer.text() == WORD * (MAX_TOKENS + 1)

    @pytest.mark.parametrize(
        "script",
        [
            {**QUICK, "gap_ms": 20, "text": f"{'x' * 4 * (MAX_TOKENS + 1)} {WORD * 50}"},
            {**QUICK, "gap_ms": 20, "reasoning_tokens": 100},
            {**QUICK, "gap_ms": 20, "tool_calls": 20},
        ],
        ids=["one long token", "reasoning", "tool calls"],
    )
    def test_all_that_an_upstream_says_counts(
        self, terse: Gateway, rivals: Rivals, lone_model: str, script: dict[str, Any]
    ) -> None:
        cut_short(terse, rivals, request_for(lone_model, script), "stream_output_exceeded", "max_output")

    @pytest.mark.parametrize("word", ["abcd ", "ééé "], ids=["letters", "letters of two bytes"])
    def test_an_answer_of_too_many_bytes_is_ended(
        self, brief: Gateway, rivals: Rivals, lone_model: str, word: str
    ) -> None:
        answer = cut_short(
            brief,
            rivals,
            request_for(lone_model, {**LONG, "text": word * 100}),
            "stream_output_exceeded",
            "max_output",
        )
        assert MAX_BYTES < len(answer.text().encode()) < 100 * len(word.encode())

    def test_an_answer_of_as_many_bytes_as_allowed_is_whole(self, brief: Gateway, lone_model: str) -> None:
        whole = "abcd " * (MAX_BYTES // 5)
        answer = fetch(brief.port, request_for(lone_model, {**QUICK, "text": whole}))
        assert answer.text() == whole
        assert ended(brief, answer)["ending"] == "completed"

    def test_an_answer_that_is_not_streamed_is_not_cut(self, terse: Gateway, brief: Gateway, lone_model: str) -> None:
        for gateway in (terse, brief):
            answer = fetch(gateway.port, request_for(lone_model, {**LONG, "gap_ms": 0}, stream=False))
            assert json.loads(answer.body)["choices"][0]["message"]["content"] == LONG["text"]

    def test_every_subscriber_is_told_the_same_end(self, terse: Gateway, rivals: Rivals, lone_model: str) -> None:
        before = rivals.first.statistics()
        created = json.loads(call(terse, "POST", "/v1/streams", request_for(lone_model, LONG)).body)
        with Subscriber(terse.port, created["events_url"]) as subscriber:
            *_, error, last = subscriber.all_events()
        assert error.json["error"]["code"] == "stream_output_exceeded"
        assert (last.name, last.json["ending"]) == ("end", "max_output")
        assert wait_for_state(terse, created["id"], state="ended")["ending"] == "max_output"
        rivals.first.wait_for_abort(before)


class TestCost:
    def test_an_answer_that_has_cost_enough_is_ended(self, gateway: Gateway, rivals: Rivals, lone_model: str) -> None:
        prompt = prompt_cost(request_for(lone_model, LONG)) / 1_000_000
        limit = prompt + 10 * TOKEN_USD
        request = request_for(lone_model, LONG, gateway={"routing": {"max_cost_usd": limit}})
        answer = cut_short(gateway, rivals, request, "budget_exhausted", "budget_exhausted")
        tokens = len(answer.text()) / len(WORD)
        assert 10 < tokens < 200
        assert float(ended(gateway, answer)["cost_usd"]) == pytest.approx(prompt + tokens * TOKEN_USD)

    @pytest.mark.parametrize("place", ["gateway", "top level"])
    def test_a_prompt_that_is_too_dear_already_ends_the_answer_with_its_first_token(
        self, gateway: Gateway, rivals: Rivals, lone_model: str, place: str
    ) -> None:
        options = {"max_cost_usd": PROMPT_USD / 2}
        fields = {"routing": options} if place == "top level" else {"gateway": {"routing": options}}
        answer = cut_short(
            gateway, rivals, request_for(lone_model, LONG, **fields), "budget_exhausted", "budget_exhausted"
        )
        assert answer.text().startswith(WORD)

    def test_an_answer_that_costs_less_is_whole(self, gateway: Gateway, lone_model: str) -> None:
        answer = stream(gateway, routed(lone_model, max_cost_usd=PROMPT_USD + 100 * TOKEN_USD))
        assert metadata(answer)["cost"]["usd"] < PROMPT_USD + 100 * TOKEN_USD

    def test_the_price_is_that_of_the_upstream_that_answers(
        self, gateway: Gateway, rivals: Rivals, model: str
    ) -> None:
        rivals.first.follow(status=500)
        before = rivals.second.statistics()
        rivals.second.follow(**LONG)
        answer = fetch(gateway.port, routed(model, max_cost_usd=PROMPT_USD + 10 * TOKEN_USD))
        assert failure(answer)["code"] == "budget_exhausted"
        assert ended(gateway, answer)["attempts"] == ["first:upstream_error", "second:won"]
        rivals.second.wait_for_abort(before)

    def test_a_whole_answer_that_is_not_limited_says_so(self, gateway: Gateway, lone_model: str) -> None:
        answer = fetch(gateway.port, {**routed(lone_model, max_cost_usd=1e-9), "stream": False})
        assert answer.status == 200
        assert "max_cost_usd" in json.dumps(metadata(answer)["warnings"])


class TestTimeout:
    """`timeout_ms` is an attempt's, `deadline_ms` the request's."""

    @pytest.mark.parametrize("streamed", [True, False])
    def test_an_attempt_that_has_not_begun_in_time_is_given_up(
        self, gateway: Gateway, rivals: Rivals, lone_model: str, streamed: bool
    ) -> None:
        before = rivals.first.statistics()
        rivals.first.follow(stall_before="head")
        request = {**routed(lone_model, timeout_ms=300), "stream": streamed}
        (tried,) = refused(gateway, request, 504, "upstream_timeout", "upstream_error")
        assert (tried["upstream"], tried["outcome"]) == ("first", "timed_out")
        rivals.first.wait_for_abort(before)

    @pytest.mark.parametrize("streamed", [True, False])
    def test_the_next_upstream_answers_after_a_timeout(
        self, gateway: Gateway, rivals: Rivals, model: str, streamed: bool
    ) -> None:
        before = rivals.first.statistics()
        rivals.first.follow(stall_before="role", ttft_ms=0, gap_ms=0)
        answer = fetch(gateway.port, {**routed(model, timeout_ms=500), "stream": streamed}, **METADATA)
        assert (answer.status, answer.headers["x-upstream"], answer.headers["x-attempts"]) == (200, "second", "2")
        gave_way, won = attempts(answer)
        assert (gave_way["outcome"], won["outcome"]) == ("timed_out", "won")
        assert won["start_ms"] >= 499
        rivals.first.wait_for_abort(before)

    def test_every_attempt_has_the_same_time(self, gateway: Gateway, rivals: Rivals, model: str) -> None:
        before = [upstream.statistics() for upstream in rivals.both()]
        for upstream in rivals.both():
            upstream.follow(stall_before="head")
        answer = fetch(gateway.port, routed(model, timeout_ms=300))
        assert answer.status in (502, 504)
        assert ended(gateway, answer)["duration_ms"] >= 599
        tried = json.loads(answer.body)["routing_metadata"]["attempts"]
        assert [attempt["outcome"] for attempt in tried] == ["timed_out", "timed_out"]
        for upstream, then in zip(rivals.both(), before, strict=True):
            upstream.wait_for_abort(then)

    @pytest.mark.parametrize("option", ["timeout_ms", "deadline_ms"])
    def test_an_answer_that_takes_longer_is_ended_in_the_stream(
        self, gateway: Gateway, rivals: Rivals, lone_model: str, option: str
    ) -> None:
        request = request_for(lone_model, LONG, gateway={"routing": {option: 600}})
        answer = cut_short(gateway, rivals, request, "stream_duration_exceeded", "max_duration")
        assert 0 < len(answer.text()) < len(str(LONG["text"]))
        line = ended(gateway, answer)
        assert line["duration_ms"] >= 599
        assert line["attempts"] == ["first:timed_out"]

    @pytest.mark.parametrize("streamed", [True, False])
    def test_a_request_that_nobody_answers_before_its_deadline_is_given_up(
        self, gateway: Gateway, rivals: Rivals, lone_model: str, streamed: bool
    ) -> None:
        before = rivals.first.statistics()
        rivals.first.follow(stall_before="head")
        request = {**routed(lone_model, deadline_ms=300), "stream": streamed}
        (tried,) = refused(gateway, request, 504, "upstream_timeout", "max_duration")
        assert (tried["upstream"], tried["outcome"]) == ("first", "timed_out")
        rivals.first.wait_for_abort(before)

    def test_the_deadline_counts_over_all_attempts(self, gateway: Gateway, rivals: Rivals, model: str) -> None:
        before = rivals.second.statistics()
        for upstream in rivals.both():
            upstream.follow(stall_before="head")
        request = routed(model, timeout_ms=600, deadline_ms=1000)
        first, second = refused(gateway, request, 504, "upstream_timeout", "max_duration")
        assert (first["outcome"], second["outcome"]) == ("timed_out", "timed_out")
        assert second["start_ms"] >= 599
        rivals.second.wait_for_abort(before)

    def test_the_deadline_of_an_answer_counts_from_the_request(
        self, gateway: Gateway, rivals: Rivals, model: str
    ) -> None:
        before = rivals.second.statistics()
        rivals.first.follow(stall_before="head")
        rivals.second.follow(**LONG)
        answer = fetch(gateway.port, routed(model, timeout_ms=500, deadline_ms=1500))
        error = failure(answer)
        assert error["code"] == "stream_duration_exceeded"
        line = ended(gateway, answer)
        assert line["attempts"] == ["first:timed_out", "second:timed_out"]
        assert line["ending"] == "max_duration"
        assert line["duration_ms"] >= 999
        rivals.second.wait_for_abort(before)

    def test_a_deadline_is_told_in_the_stream_when_the_headers_are_out(
        self, brief: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        fields = {"gateway": {"routing": {"deadline_ms": 300}}}
        request = request_for(lone_model, {"stall_before": "role"}, **fields)
        answer = cut_short(brief, rivals, request, "upstream_timeout", "max_duration")
        assert [attempt["outcome"] for attempt in attempts(answer)] == ["timed_out"]

    def test_an_answer_in_time_is_whole(self, gateway: Gateway, lone_model: str) -> None:
        answer = stream(gateway, routed(lone_model, timeout_ms=30_000, deadline_ms=60_000))
        assert ended(gateway, answer)["ending"] == "completed"


CUTS = {
    "budget_exhausted": {"max_cost_usd": PROMPT_USD + 5 * TOKEN_USD},
    "stream_duration_exceeded": {"deadline_ms": 500},
}


@pytest.mark.parametrize("code", CUTS)
class TestClients:
    def test_auriko_sees_why_an_answer_ended(self, gateway: Gateway, lone_model: str, code: str) -> None:
        request = request_for(lone_model, extra_body={"simulate": LONG}, gateway={"routing": CUTS[code]})
        seen = []
        with auriko_client(gateway) as client, pytest.raises(auriko.AurikoAPIError) as caught:
            seen.extend(client.chat.completions.create(**request))
        assert (caught.value.status_code, caught.value.code) == (200, code)
        assert seen

    def test_openai_sees_why_an_answer_ended(self, gateway: Gateway, lone_model: str, code: str) -> None:
        request = request_for(lone_model, extra_body={"simulate": LONG, "routing": CUTS[code]})
        seen = []
        with (
            openai.OpenAI(base_url=gateway.url, api_key=CLIENT_KEY, max_retries=0) as client,
            client.chat.completions.create(**request) as completion,
            pytest.raises(openai.APIError) as caught,
        ):
            seen.extend(completion)
        assert caught.value.code == code
        assert seen
