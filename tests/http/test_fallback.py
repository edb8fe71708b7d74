"""Before the first content every failure is free: fallback, true statuses, early commits, limits of time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import QUICK, body, text
from tests.kit.configuration import KEYS, ORDERED, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import RawClient, fetch
from tests.kit.upstreams import Upstream

WHOLE_TEXT = text(8)


@pytest.fixture(scope="module")
def strict(logs: Path, served: Any) -> Iterator[LocalGateway]:
    """A gateway with short limits of time."""
    sections = "[stream]\nidle_timeout_ms = 900\nmax_duration_seconds = 2\n" + ORDERED
    limits = "head_timeout_ms = 300\nfirst_content_timeout_ms = 600\nresponse_timeout_ms = 600\n"
    content = configuration(served, sections).replace("api_key_env", limits + "api_key_env")
    gateway = LocalGateway(logs, content, KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


class TestEarlyCommit:
    def test_silence_is_filled_with_comments_until_the_first_token(self, eager: Gateway) -> None:
        answer = fetch(eager.port, body({**QUICK, "ttft_ms": 1200}, stream=True))
        assert answer.status == 200
        assert "x-upstream" not in answer.headers
        assert 2 <= answer.body.count(b": keepalive\n\n") <= 8
        assert answer.body.startswith(b": keepalive\n\n")
        assert answer.text() == WHOLE_TEXT
        assert answer.events()[-1] == "[DONE]"

    def test_comments_stand_only_between_events(self, eager: Gateway) -> None:
        answer = fetch(eager.port, body({"ttft_ms": 300, "gap_ms": 450, "tokens": 3}, stream=True))
        assert answer.text() == text(3)
        assert answer.body.count(b": keepalive\n\n") >= 3

    @pytest.mark.parametrize("behaviour", [{"error_first": True}, {"reset_after": 0}, {"close_after": 0}])
    def test_a_failure_is_told_in_the_stream(self, eager: Gateway, behaviour: dict[str, Any]) -> None:
        with RawClient(eager.port) as client:
            client.post(body({**QUICK, "ttft_ms": 500, **behaviour}, stream=True))
            answer = client.answer()
            assert answer.status == 200
            *_, error, done = answer.events()
            assert error["error"]["code"] == "upstream_error"
            assert done == "[DONE]"
            client.post(body(QUICK, stream=True))
            assert client.answer().text() == WHOLE_TEXT

    def test_a_status_that_comes_late_is_told_in_the_stream(self, eager: Gateway) -> None:
        late = {"status": 429, "retry_after": 7, "head_ms": 500, "ttft_ms": 500}
        answer = fetch(eager.port, body(late, stream=True))
        assert answer.status == 200
        assert answer.events()[-2]["error"]["code"] == "rate_limit_exceeded"

    def test_the_fallback_still_happens(self, eager: Gateway, frail: Upstream) -> None:
        frail.follow(ttft_ms=500, error_first=True)
        answer = fetch(eager.port, body(model="pair", stream=True))
        assert answer.status == 200
        assert answer.text() == WHOLE_TEXT
        assert eager.ending(answer.headers["x-request-id"])["upstream"] == "alpha"


FAULTS: list[dict[str, Any]] = [
    {"status": 500},
    {"status": 503},
    {"status": 429},
    {"status": 429, "retry_after": 30},
    {"status": 401},
    {"status": 403},
    {"status": 404},
    {"html_error": True, "status": 502},
    {"html_error": True},
    {"reset_after": 0},
    {"close_after": 0},
    {"cut_after": 0},
    {"error_first": True},
    {"json_instead": True},
]


def _id(value: dict[str, Any]) -> str:
    return "-".join(f"{name}-{setting}" for name, setting in value.items())


class TestFallback:
    @pytest.mark.parametrize("streamed", [True, False])
    def test_a_refused_connection_is_answered_by_the_next_upstream(self, gateway: Gateway, streamed: bool) -> None:
        answer = fetch(gateway.port, body(QUICK, model="refused-pair", stream=streamed))
        assert (answer.status, answer.headers["x-upstream"], answer.headers["x-attempts"]) == (200, "alpha", "2")

    @pytest.mark.parametrize("fault", FAULTS, ids=_id)
    def test_a_failure_before_content_is_answered_by_the_next_upstream(
        self, gateway: Gateway, frail: Upstream, fault: dict[str, Any]
    ) -> None:
        frail.follow(ttft_ms=5, **fault)
        answer = fetch(gateway.port, body(model="pair", stream=True))
        assert (answer.status, answer.headers["x-upstream"], answer.headers["x-attempts"]) == (200, "alpha", "2")
        assert answer.text() == WHOLE_TEXT
        assert answer.events()[-1] == "[DONE]"
        assert len(answer.events()) == 11

    @pytest.mark.parametrize("fault", FAULTS, ids=_id)
    def test_a_failure_of_a_whole_answer_is_answered_by_the_next_upstream(
        self, gateway: Gateway, frail: Upstream, fault: dict[str, Any]
    ) -> None:
        frail.follow(ttft_ms=5, tokens=3, gap_ms=0, **fault)
        answer = fetch(gateway.port, body(model="pair"))
        assert (answer.status, answer.headers["x-upstream"], answer.headers["x-attempts"]) == (200, "alpha", "2")
        assert json.loads(answer.body)["choices"][0]["message"]["content"] == WHOLE_TEXT

    @pytest.mark.parametrize("status", [400, 422, 413])
    def test_a_refusal_is_the_clients_fault_and_told_at_once(
        self, gateway: Gateway, frail: Upstream, alpha: Upstream, status: int
    ) -> None:
        before = alpha.statistics()
        frail.follow(status=status)
        answer = fetch(gateway.port, body(model="pair", stream=True))
        assert (answer.status, answer.error()["type"]) == (status, "invalid_request_error")
        assert alpha.statistics().requests == before.requests

    @pytest.mark.parametrize("fault", ["error_after", "reset_after", "cut_after", "close_after"])
    def test_a_failure_after_content_is_told_and_nobody_else_is_asked(
        self, gateway: Gateway, frail: Upstream, alpha: Upstream, fault: str
    ) -> None:
        before = alpha.statistics()
        frail.follow(ttft_ms=5, gap_ms=10, tokens=10, **{fault: 3})
        answer = fetch(gateway.port, body(model="pair", stream=True))
        assert (answer.status, answer.headers["x-upstream"]) == (200, "frail")
        assert answer.text() == text(3)
        *_, error, done = answer.events()
        assert (error["error"]["code"], done) == ("upstream_error", "[DONE]")
        assert alpha.statistics().requests == before.requests

    def test_all_upstreams_over_their_limit_is_a_429_with_the_shortest_wait(
        self, gateway: Gateway, frail: Upstream
    ) -> None:
        frail.follow(status=429, retry_after=30)
        answer = fetch(gateway.port, body({"status": 429, "retry_after": 7}, model="pair", stream=True))
        assert (answer.status, answer.headers["retry-after"]) == (429, "7")

    def test_all_upstreams_failed_is_a_502_with_both_names(self, gateway: Gateway, frail: Upstream) -> None:
        answer = fetch(gateway.port, body({"status": 500}, model="pair", stream=True))
        assert (answer.status, answer.error()["code"]) == (502, "upstream_error")
        assert "frail" in answer.error()["message"]
        assert "alpha" in answer.error()["message"]

    def test_a_finish_without_done_is_a_clean_end(self, gateway: Gateway) -> None:
        answer = fetch(gateway.port, body({**QUICK, "done": False}, stream=True))
        assert answer.events()[-1] == "[DONE]"
        assert answer.events()[-2]["choices"][0]["finish_reason"] == "stop"

    def test_done_without_a_finish_is_a_clean_end(self, gateway: Gateway) -> None:
        answer = fetch(gateway.port, body({**QUICK, "finish": False}, stream=True))
        assert answer.text() == WHOLE_TEXT
        assert answer.events()[-1] == "[DONE]"


class TestLimits:
    @pytest.mark.parametrize("streamed", [True, False])
    @pytest.mark.parametrize("silence", ["head", "role"])
    def test_a_provider_that_stays_silent_is_given_up_for_the_next(
        self, strict: Gateway, frail: Upstream, streamed: bool, silence: str
    ) -> None:
        before = frail.statistics()
        frail.follow(stall_before=silence, ttft_ms=0, gap_ms=0, tokens=1)
        answer = fetch(strict.port, body(model="pair", stream=streamed))
        assert (answer.status, answer.headers["x-upstream"], answer.headers["x-attempts"]) == (200, "alpha", "2")
        frail.wait_for_abort(before)

    def test_silence_between_two_tokens_ends_the_stream_as_stalled(self, strict: Gateway, alpha: Upstream) -> None:
        before = alpha.statistics()
        answer = fetch(strict.port, body({**QUICK, "stall_after": 3}, stream=True))
        assert answer.text() == text(3)
        *_, error, done = answer.events()
        assert (error["error"]["code"], done) == ("upstream_stalled", "[DONE]")
        assert strict.ending(answer.headers["x-request-id"])["ending"] == "stalled"
        alpha.wait_for_abort(before)

    def test_slow_tokens_are_no_silence(self, strict: Gateway) -> None:
        answer = fetch(strict.port, body({"ttft_ms": 5, "gap_ms": 250, "tokens": 5}, stream=True))
        assert answer.text() == text(5)
        assert answer.events()[-2]["choices"][0]["finish_reason"] == "stop"

    def test_a_stream_that_runs_too_long_is_ended(self, strict: Gateway, alpha: Upstream) -> None:
        before = alpha.statistics()
        answer = fetch(strict.port, body({"ttft_ms": 5, "gap_ms": 50, "tokens": 1000}, stream=True))
        *_, error, done = answer.events()
        assert (error["error"]["code"], done) == ("stream_duration_exceeded", "[DONE]")
        alpha.wait_for_abort(before)
