"""One budget of time to the first token for all attempts of a request: where it is set, and what it ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.simulate.tally import ProviderStatistics
from tests.kit.completions import CLIENT_KEY, QUICK
from tests.kit.configuration import ORDERED
from tests.kit.gateway import Gateway
from tests.kit.http_client import Answer, RawClient, call, fetch
from tests.kit.rivals import (
    LONE,
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
from tests.kit.upstreams import ClosedPort

if TYPE_CHECKING:
    import auriko
    import openai
else:
    auriko = LazyModule("auriko")
    openai = LazyModule("openai")

BUDGET_MS = 300  # the budget of requests to upstreams that never answer
SHARED_MS = 1000  # the budget of requests that the second upstream answers in its half of the time
AT_ONCE = 30
PLACES = ["gateway.routing", "routing", "header", "configuration"]


class NeverAccepts(ClosedPort):
    """An upstream whose port takes no connection: its backlog is full."""

    name = "deaf"

    def __init__(self) -> None:
        super().__init__()
        self._socket.listen(0)
        self._waiting = [socket.socket() for _ in range(4)]
        for waiting in self._waiting:
            waiting.setblocking(False)
            waiting.connect_ex(self._socket.getsockname())

    def close(self) -> None:
        for waiting in self._waiting:
            waiting.close()
        super().close()


@pytest.fixture(scope="module")
def served(rivals_all_module: Rivals) -> Iterator[list[Any]]:
    deaf = NeverAccepts()
    yield [(deaf, ["deaf"]), *rivals_all_module.served()]
    deaf.close()


@pytest.fixture(scope="module")
def gateway(logs: Path, served: Any) -> Iterator[Gateway]:
    """A gateway without a budget but the one that a request asks for."""
    with serving(logs, served, ORDERED) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def budgeted(logs: Path, served: Any) -> Iterator[Gateway]:
    """A gateway whose configuration sets a budget for every request."""
    with serving(logs, served, f"[ttft]\nbudget_ms = {BUDGET_MS}\n" + ORDERED) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def early(logs: Path, served: Any) -> Iterator[Gateway]:
    """A gateway that sends its headers long before any budget ends."""
    with serving(logs, served, "[stream]\ncommit_after_ms = 50\nkeepalive_seconds = 0.1\n" + ORDERED) as gateway:
        yield gateway


def budget(request: dict[str, Any], place: str, milliseconds: object) -> tuple[dict[str, Any], dict[str, str]]:
    """The request and its headers with a budget in one of the places that a client has."""
    options = {"max_ttft_ms": milliseconds}
    if place == "gateway.routing":
        return {**request, "gateway": {"routing": options}}, {}
    if place == "routing":
        return {**request, "routing": options}, {}
    return request, {"X_Max_TTFT_Ms": str(milliseconds)} if place == "header" else {}


def check_spent(answer: Answer, upstreams: list[str], milliseconds: int = BUDGET_MS) -> list[dict[str, Any]]:
    """Check that the budget ended before any content; returns the attempts, one on each of these upstreams."""
    assert answer.status == 504, answer.body
    error = answer.error()
    assert (error["type"], error["code"], error["param"]) == ("api_error", "ttft_budget_exceeded", None)
    assert f"{milliseconds} ms" in error["message"]
    tried: list[dict[str, Any]] = json.loads(answer.body)["routing_metadata"]["attempts"]
    check_tried(tried, upstreams)
    return tried


def check_tried(tried: list[dict[str, Any]], upstreams: list[str]) -> None:
    assert [attempt["upstream"] for attempt in tried] == upstreams
    assert {attempt["outcome"] for attempt in tried} == {"timed_out"}
    assert {attempt["first_content_ms"] for attempt in tried} == {None}
    assert not any(attempt["hedge"] for attempt in tried)


def check_aborted(rivals: Rivals, before: Sequence[ProviderStatistics]) -> None:
    """Check that both providers saw every request since `before` aborted."""
    for upstream, then in zip(rivals.both(), before, strict=True):
        aborted = then.aborted + len(SILENCES)
        upstream.wait_for_counts("an abort of each", aborted=aborted)


class TestExpiry:
    @pytest.mark.parametrize("place", PLACES)
    def test_a_budget_from_every_place_ends_the_wait_with_a_504(
        self, gateway: Gateway, budgeted: Gateway, rivals: Rivals, lone_model: str, place: str
    ) -> None:
        before = rivals.first.statistics()
        rivals.first.follow(stall_before="head")
        request, headers = budget(request_for(lone_model), place, BUDGET_MS)
        asked_of = budgeted if place == "configuration" else gateway
        answer = fetch(asked_of.port, request, **headers)
        check_spent(answer, ["first"])
        line = ended(asked_of, answer)
        assert (line["ending"], line["attempts"]) == ("ttft_budget_exceeded", ["first:timed_out"])
        assert line["upstream"] == "first"  # it had the prompt, which is paid for
        assert float(line["cost_usd"]) > 0
        assert line["duration_ms"] >= BUDGET_MS - 1
        rivals.first.wait_for_abort(before)

    def test_the_error_tells_how_far_the_only_upstream_came(
        self, gateway: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        before = rivals.first.statistics()
        options = {"routing": {"max_ttft_ms": SHARED_MS}}
        answers = together(
            gateway, [request_for(lone_model, script, gateway=options) for script in SILENCES.values()]
        )
        for silence, answer in zip(SILENCES, answers, strict=True):
            (tried,) = check_spent(answer, ["first"], SHARED_MS)
            assert 0 <= tried["connect_ms"] < SHARED_MS
            if silence == "before the head":
                assert tried["head_ms"] is None
            else:
                assert tried["connect_ms"] <= tried["head_ms"] < SHARED_MS
        rivals.first.wait_until(lambda now: now.aborted == before.aborted + len(SILENCES), "an abort of each")

    def test_two_upstreams_that_stay_silent_share_the_budget_and_both_are_aborted(
        self, gateway: Gateway, rivals: Rivals, model: str
    ) -> None:
        before = [upstream.statistics() for upstream in rivals.both()]
        options = {"routing": {"max_ttft_ms": SHARED_MS}}
        for answer in together(
            gateway, [request_for(model, script, gateway=options) for script in SILENCES.values()]
        ):
            tried = check_spent(answer, ["first", "second"], SHARED_MS)
            assert SHARED_MS / 2 - 1 <= tried[1]["start_ms"] < SHARED_MS
        check_aborted(rivals, before)

    def test_an_upstream_that_takes_no_connection_is_told_without_a_connect_time(self, gateway: Gateway) -> None:
        (tried,) = check_spent(fetch(gateway.port, routed("deaf", max_ttft_ms=BUDGET_MS)), ["deaf"])
        assert (tried["connect_ms"], tried["head_ms"]) == (None, None)

    def test_a_fallback_after_a_failure_has_the_rest_of_the_budget_and_no_more(
        self, gateway: Gateway, rivals: Rivals, model: str
    ) -> None:
        before = rivals.second.statistics()
        rivals.first.follow(status=500)
        rivals.second.follow(stall_before="role")
        answer = fetch(gateway.port, routed(model, max_ttft_ms=SHARED_MS))
        assert (answer.status, answer.error()["code"]) == (504, "ttft_budget_exceeded")
        tried = json.loads(answer.body)["routing_metadata"]["attempts"]
        assert [(attempt["upstream"], attempt["outcome"]) for attempt in tried] == [
            ("first", "upstream_error"),
            ("second", "timed_out"),
        ]
        assert ended(gateway, answer)["duration_ms"] >= SHARED_MS - 1
        rivals.second.wait_for_abort(before)

    def test_a_silent_and_a_failing_upstream_are_both_named(
        self, gateway: Gateway, rivals: Rivals, model: str
    ) -> None:
        rivals.first.follow(stall_before="head")
        rivals.second.follow(status=500)
        answer = fetch(gateway.port, routed(model, max_ttft_ms=SHARED_MS))
        assert answer.status in (502, 504)
        assert "second" in answer.error()["message"]
        assert "first" in answer.error()["message"]

    def test_a_crowd_of_requests_leaves_nothing_open(self, gateway: Gateway, rivals: Rivals, model: str) -> None:
        before = [upstream.statistics() for upstream in rivals.both()]
        for upstream in rivals.both():
            upstream.follow(stall_before="head")
        answers = together(gateway, [request_for(model)] * AT_ONCE, X_Max_TTFT_Ms=str(BUDGET_MS))
        assert [answer.status for answer in answers] == [504] * AT_ONCE
        rivals.wait_until_quiet()
        for upstream, then in zip(rivals.both(), before, strict=True):
            now = upstream.statistics()
            assert now.aborted - then.aborted == now.requests - then.requests == AT_ONCE

    def test_a_stream_without_a_subscriber_has_a_budget_too(
        self, gateway: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        before = rivals.first.statistics()
        rivals.first.follow(stall_before="head")
        created = call(gateway, "POST", "/v1/streams", request_for(lone_model), X_Max_TTFT_Ms=str(BUDGET_MS))
        assert created.status == 201
        described = wait_for_state(gateway, created.headers["x-stream-id"], state="ended")
        assert described["ending"] == "ttft_budget_exceeded"
        check_tried(described["attempts"], ["first"])
        rivals.first.wait_for_abort(before)


class TestEarlyHeaders:
    def test_the_end_of_the_budget_is_told_in_the_stream(self, early: Gateway, rivals: Rivals, model: str) -> None:
        before = [upstream.statistics() for upstream in rivals.both()]
        options = {"routing": {"max_ttft_ms": SHARED_MS}}
        for answer in together(early, [request_for(model, script, gateway=options) for script in SILENCES.values()]):
            assert answer.status == 200
            assert answer.body.startswith(b": keepalive\n\n")
            assert "x-upstream" not in answer.headers
            assert failure(answer)["code"] == "ttft_budget_exceeded"
            assert answer.text() == ""
            check_tried(attempts(answer), ["first", "second"])
            assert ended(early, answer)["ending"] == "ttft_budget_exceeded"
        check_aborted(rivals, before)

    def test_a_fallback_still_answers(self, early: Gateway, rivals: Rivals, model: str) -> None:
        rivals.first.follow(stall_before="head")
        answer = stream(early, routed(model, max_ttft_ms=SHARED_MS))
        assert answer.body.startswith(b": keepalive\n\n")
        assert [attempt["outcome"] for attempt in attempts(answer)] == ["timed_out", "won"]
        assert metadata(answer)["provider"] == "second"

    def test_the_next_request_on_the_connection_is_answered(
        self, early: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        rivals.first.follow(stall_before="head")
        with RawClient(early.port) as client:
            client.post(request_for(lone_model), X_Max_TTFT_Ms=str(BUDGET_MS))
            assert failure(client.answer())["code"] == "ttft_budget_exceeded"
            client.post(request_for(lone_model, {**QUICK, "stall_before": ""}))
            assert client.answer().text() == WHOLE_TEXT


class TestGivingWay:
    def test_a_silent_upstream_gives_way_and_the_second_one_answers(
        self, gateway: Gateway, rivals: Rivals, model: str
    ) -> None:
        before = rivals.first.statistics()
        clients = []
        for silence in SILENCES.values():
            seen = rivals.first.statistics()
            rivals.first.follow(**silence)
            clients.append(RawClient(gateway.port))
            clients[-1].post(routed(model, max_ttft_ms=SHARED_MS))
            rivals.first.wait_for_request(seen)
        for client in clients:
            with client:
                self.check_gave_way(gateway, client.answer())
        rivals.first.wait_until(lambda now: now.aborted == before.aborted + len(SILENCES), "an abort of each")

    def check_gave_way(self, gateway: Gateway, answer: Answer) -> None:
        assert answer.text() == WHOLE_TEXT
        assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("second", "2")
        assert SHARED_MS / 2 - 1 <= float(answer.headers["x-ttft-ms"]) < SHARED_MS
        gave_way, won = attempts(answer)
        assert (gave_way["outcome"], won["outcome"]) == ("timed_out", "won")
        assert gave_way["first_content_ms"] is None
        assert won["start_ms"] >= SHARED_MS / 2 - 1
        assert won["connect_ms"] <= won["head_ms"] <= won["first_content_ms"]
        assert metadata(answer)["ttft_ms"] >= won["start_ms"]
        assert ended(gateway, answer)["attempts"] == ["first:timed_out", "second:won"]
        described = describe(gateway, answer.headers["x-stream-id"])
        assert described["attempts"] == [gave_way, won]
        clocks = described["ttft"]  # counted from the request, not from the attempt that won
        assert SHARED_MS / 2 - 1 <= clocks["first_byte_ms"] <= clocks["first_event_ms"] <= clocks["first_content_ms"]
        assert clocks["first_content_ms"] == pytest.approx(float(answer.headers["x-ttft-ms"]), abs=1)

    def test_an_upstream_that_may_not_be_replaced_has_the_whole_budget(
        self, gateway: Gateway, rivals: Rivals, model: str
    ) -> None:
        rivals.first.follow(**{**QUICK, "ttft_ms": SHARED_MS * 0.6})
        answer = stream(gateway, routed(model, max_ttft_ms=SHARED_MS * 4, allow_fallbacks=False))
        assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("first", "1")

    def test_an_upstream_that_is_known_to_be_too_slow_is_not_asked_first(
        self, gateway: Gateway, rivals: Rivals, model: str
    ) -> None:
        rivals.first.follow(**{**QUICK, "ttft_ms": 600})
        for answer in together(gateway, [request_for(model)] * 6):
            assert answer.headers["x-upstream"] == "first"
        for streamed in (True, False):
            answer = fetch(gateway.port, request_for(model, stream=streamed), X_Max_TTFT_Ms="500")
            assert (answer.status, answer.headers["x-upstream"], answer.headers["x-attempts"]) == (200, "second", "1")
        assert fetch(gateway.port, request_for(model)).headers["x-upstream"] == "first"


class TestNoEffect:
    def test_a_stream_may_take_longer_than_the_budget_once_it_has_content(
        self, gateway: Gateway, lone_model: str
    ) -> None:
        said = {"ttft_ms": 5, "gap_ms": 200, "tokens": 8}
        thought = {"ttft_ms": 5, "gap_ms": 70, "reasoning_tokens": 15, "tokens": 8}
        options = {"routing": {"max_ttft_ms": 1000}}
        for answer in together(
            gateway, [request_for(lone_model, script, gateway=options) for script in (said, thought)]
        ):
            assert answer.text() == WHOLE_TEXT
            assert float(answer.headers["x-ttft-ms"]) < 1000
            assert ended(gateway, answer)["duration_ms"] > 1300

    def test_a_failure_after_the_content_is_no_matter_of_the_budget(
        self, gateway: Gateway, rivals: Rivals, model: str
    ) -> None:
        before = rivals.second.statistics().requests
        rivals.first.follow(ttft_ms=5, gap_ms=100, tokens=8, reset_after=3)
        answer = fetch(gateway.port, routed(model, max_ttft_ms=5000))
        assert failure(answer)["code"] == "upstream_error"
        assert rivals.second.statistics().requests == before

    @pytest.mark.parametrize("place", PLACES)
    def test_a_whole_answer_is_not_cut(
        self, gateway: Gateway, budgeted: Gateway, rivals: Rivals, model: str, place: str
    ) -> None:
        before = rivals.second.statistics().requests
        limit = BUDGET_MS if place == "configuration" else 150
        rivals.first.follow(ttft_ms=limit + 100, gap_ms=0, tokens=8)
        request, headers = budget(request_for(model, stream=False), place, limit)
        answer = fetch((budgeted if place == "configuration" else gateway).port, request, **headers)
        assert (answer.status, answer.headers["x-upstream"], answer.headers["x-attempts"]) == (200, "first", "1")
        assert json.loads(answer.body)["choices"][0]["message"]["content"] == WHOLE_TEXT
        assert rivals.second.statistics().requests == before

    def test_a_request_may_go_without_the_budget_of_the_configuration(
        self, budgeted: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        rivals.first.follow(**{**QUICK, "ttft_ms": BUDGET_MS + 200})
        stream(budgeted, request_for(lone_model), X_Max_TTFT_Ms="0")

    def test_a_request_may_have_more_than_the_budget_of_the_configuration(
        self, budgeted: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        rivals.first.follow(**{**QUICK, "ttft_ms": BUDGET_MS + 200})
        stream(budgeted, routed(lone_model, max_ttft_ms=60_000))

    def test_the_routing_of_a_request_counts_more_than_its_header(
        self, gateway: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        rivals.first.follow(stall_before="head")
        answer = fetch(gateway.port, routed(lone_model, max_ttft_ms=BUDGET_MS), X_Max_TTFT_Ms="60000")
        check_spent(answer, ["first"])


@pytest.mark.parametrize("value", [0, -1, 1.5, 100.0, "100", True, 86_400_001, [100], {"ms": 100}])
@pytest.mark.parametrize("place", ["gateway.routing", "routing"])
def test_a_bad_budget_is_refused_by_name(gateway: Gateway, rivals: Rivals, place: str, value: object) -> None:
    before = rivals.requests()
    request, _ = budget(request_for(LONE[0]), place, value)
    answer = fetch(gateway.port, request)
    assert (answer.status, answer.error()["code"]) == (400, "invalid_parameter_value")
    assert answer.error()["param"].endswith("routing.max_ttft_ms")
    assert answer.headers["x-should-retry"] == "false"
    assert rivals.requests() == before


def test_a_field_is_named_as_it_was_sent(gateway: Gateway) -> None:
    answer = fetch(gateway.port, request_for(LONE[0], routing={"max_ttft_ms": 0}))
    assert answer.error()["param"] == "routing.max_ttft_ms"


@pytest.mark.parametrize("value", ["", "soon", "-1", "+1", "1.5", "1e3", "0x10", "1_000", "²", "100 ms", "999999999"])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_header_that_is_no_budget_is_refused_by_name(
    gateway: Gateway, rivals: Rivals, value: str, streamed: bool
) -> None:
    before = rivals.requests()
    answer = fetch(gateway.port, request_for(LONE[0], stream=streamed), X_Max_TTFT_Ms=value)
    assert (answer.status, answer.error()["code"]) == (400, "invalid_parameter_value")
    assert answer.error()["param"] == "X-Max-TTFT-Ms"
    assert rivals.requests() == before


class TestClients:
    def test_auriko_sees_the_status_and_the_code(self, gateway: Gateway, rivals: Rivals, lone_model: str) -> None:
        rivals.first.follow(stall_before="head")
        request = request_for(lone_model, gateway={"routing": {"max_ttft_ms": BUDGET_MS}})
        with auriko_client(gateway) as client, pytest.raises(auriko.APIStatusError) as caught:
            client.chat.completions.create(**request)
        assert (caught.value.status_code, caught.value.code) == (504, "ttft_budget_exceeded")

    def test_auriko_sees_the_code_in_the_stream(self, early: Gateway, rivals: Rivals, lone_model: str) -> None:
        rivals.first.follow(stall_before="head")
        request = request_for(lone_model, extra_body={"routing": {"max_ttft_ms": BUDGET_MS}})
        with auriko_client(early) as client:
            completion = client.chat.completions.create(**request)
            with pytest.raises(auriko.APIStatusError) as caught:
                list(completion)
        assert (caught.value.status_code, caught.value.code) == (200, "ttft_budget_exceeded")

    def test_openai_sees_the_status_and_the_attempts(self, gateway: Gateway, rivals: Rivals, lone_model: str) -> None:
        rivals.first.follow(stall_before="head")
        with openai.OpenAI(base_url=gateway.url, api_key=CLIENT_KEY, max_retries=0) as client:
            headers = {"X-Max-TTFT-Ms": str(BUDGET_MS)}
            with pytest.raises(openai.InternalServerError) as caught:
                client.chat.completions.create(**request_for(lone_model, extra_headers=headers))
        assert (caught.value.status_code, caught.value.code) == (504, "ttft_budget_exceeded")
        check_tried(caught.value.response.json()["routing_metadata"]["attempts"], ["first"])

    def test_openai_sees_the_code_in_the_stream(self, early: Gateway, rivals: Rivals, lone_model: str) -> None:
        rivals.first.follow(stall_before="head")
        with openai.OpenAI(base_url=early.url, api_key=CLIENT_KEY, max_retries=0) as client:
            request = request_for(lone_model, extra_body={"routing": {"max_ttft_ms": BUDGET_MS}})
            with (
                client.chat.completions.create(**request) as completion,
                pytest.raises(openai.APIError) as caught,
            ):
                list(completion)
        assert caught.value.code == "ttft_budget_exceeded"


def test_a_stream_within_its_budget_is_like_any_other(gateway: Gateway, rivals: Rivals, model: str) -> None:
    before = rivals.second.statistics().requests
    answer = fetch(gateway.port, routed(model, max_ttft_ms=60_000), **METADATA)
    assert answer.text() == WHOLE_TEXT
    assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("first", "1")
    (won,) = attempts(answer)
    assert won["outcome"] == "won"
    assert won["connect_ms"] <= won["head_ms"] <= won["first_content_ms"]
    assert rivals.second.statistics().requests == before


class TestClocks:
    """The times that `GET /v1/streams/{id}` tells."""

    def test_a_stream_has_three_clocks_and_samples_of_its_gaps(self, gateway: Gateway, lone_model: str) -> None:
        script = {"head_ms": 150, "ttft_ms": 450, "gap_ms": 100, "tokens": 25}
        created = call(gateway, "POST", "/v1/streams", request_for(lone_model, script))
        described = wait_for_state(gateway, created.headers["x-stream-id"], state="ended")
        assert described["ending"] == "completed"
        clocks = described["ttft"]
        assert 149 <= clocks["first_byte_ms"] <= clocks["first_event_ms"] < clocks["first_content_ms"]
        assert clocks["first_content_ms"] >= 449
        (won,) = described["attempts"]
        assert won["head_ms"] <= clocks["first_byte_ms"]
        assert won["start_ms"] + won["first_content_ms"] == pytest.approx(clocks["first_content_ms"], abs=100)
        gaps = described["inter_token_gap_ms"]
        assert gaps["samples"] >= 2
        assert 0 < gaps["p50"] <= gaps["p95"]
        assert 20 < gaps["p95"] < 2000

    def test_the_clocks_of_a_stream_that_nobody_answers_stand_still(
        self, gateway: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        rivals.first.follow(stall_after=0, ttft_ms=5)
        created = call(gateway, "POST", "/v1/streams", request_for(lone_model), X_Max_TTFT_Ms=str(BUDGET_MS))
        described = wait_for_state(gateway, created.headers["x-stream-id"], state="ended")
        assert described["ttft"] == {"first_byte_ms": None, "first_event_ms": None, "first_content_ms": None}
        assert described["inter_token_gap_ms"] is None
        usage = described["usage"]
        assert (usage["completion_tokens"], usage["estimated"]) == (0, True)
        assert usage["prompt_tokens"] > 0
