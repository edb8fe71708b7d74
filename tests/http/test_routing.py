"""Which upstream is asked: strategies, filters, the breaker, cooldowns, and what is said when nobody is left."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.kit.completions import CLIENT_KEY, ENDLESS, QUICK
from tests.kit.configuration import ORDERED
from tests.kit.gateway import Gateway
from tests.kit.http_client import Answer, RawClient, call, fetch
from tests.kit.rivals import (
    LONE,
    METADATA,
    MODELS,
    WHOLE_TEXT,
    Rivals,
    attempts,
    failure,
    metadata,
    request_for,
    routed,
    serving,
    stream,
    together,
)
from tests.kit.sdks import LazyModule, auriko_client
from tests.kit.upstreams import Upstream
from tests.kit.waiting import wait_for

if TYPE_CHECKING:
    import auriko
    import openai
else:
    auriko = LazyModule("auriko")
    openai = LazyModule("openai")

ROUNDS = 5
FAILURES = 5  # after this many failures in a row an upstream is not asked
BREAKER_SECONDS = 0.5
CHEAP = [f"cheap{number}" for number in range(10)]  # models that only the second upstream serves
PRICES = {"first": (10.0, 30.0), "second": (1.0, 2.0)}


@pytest.fixture(scope="module")
def served(rivals_all_module: Rivals) -> list[Any]:
    first, second = rivals_all_module.served()
    return [first, (second[0], [*second[1], *CHEAP])]


@pytest.fixture(scope="module")
def gateway(logs: Path, served: Any) -> Iterator[Gateway]:
    """A gateway that asks the first upstream first, whatever it knows of both."""
    with serving(logs, served, ORDERED) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def priced(logs: Path, served: Any) -> Iterator[Gateway]:
    """A gateway with a dear first upstream and a cheap second one, and defaults for all else."""
    with serving(logs, served, prices=PRICES) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def careful(logs: Path, served: Any) -> Iterator[Gateway]:
    """A gateway with breakers that stay open for the default time."""
    with serving(logs, served, '[routing]\noptimize = "priority"\n') as gateway:
        yield gateway


@pytest.fixture(scope="module")
def forgiving(logs: Path, served: Any) -> Iterator[Gateway]:
    """A gateway with breakers that stay open for a short time only."""
    sections = f'[routing]\noptimize = "priority"\nbreaker_seconds = {BREAKER_SECONDS}\n'
    with serving(logs, served, sections) as gateway:
        yield gateway


def check_refused(answer: Answer, code: str, field: str) -> None:
    assert answer.status == 400, answer.body
    error = answer.error()
    assert (error["type"], error["code"]) == ("invalid_request_error", code)
    assert error["param"] == field
    assert answer.headers["x-should-retry"] == "false"


def fail(gateway: Gateway, upstream: Upstream, model: str, times: int, **behaviour: Any) -> list[Answer]:
    """Let an upstream fail this many times in a row; returns the answers."""
    upstream.follow(**(behaviour or {"status": 500}))
    return [fetch(gateway.port, request_for(model)) for _ in range(times)]


class TestBreaker:
    def test_the_only_upstream_is_not_asked_after_the_configured_failures_in_a_row(
        self, careful: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        answers = fail(careful, rivals.first, lone_model, FAILURES)
        assert {(answer.status, answer.error()["code"]) for answer in answers} == {(502, "upstream_error")}
        before = rivals.first.statistics().requests
        for streamed in (True, False):
            answer = fetch(careful.port, request_for(lone_model, stream=streamed))
            assert answer.status == 503
            assert (answer.error()["type"], answer.error()["code"]) == ("api_error", "no_provider_available")
            assert 1 <= int(answer.headers["retry-after"]) <= 20
            assert "first" in answer.error()["message"]
        assert rivals.first.statistics().requests == before

    def test_one_request_probes_the_upstream_and_its_answer_closes_the_breaker(
        self, forgiving: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        opened_at = time.monotonic()
        fail(forgiving, rivals.first, lone_model, FAILURES)
        rivals.first.follow(stall_before="head")
        before = rivals.first.statistics()
        created = self.probe(forgiving, lone_model)
        assert time.monotonic() - opened_at >= BREAKER_SECONDS * 0.95
        rivals.first.wait_for_request(before)
        assert {fetch(forgiving.port, request_for(lone_model)).status for _ in range(ROUNDS)} == {503}
        assert rivals.first.statistics().requests == before.requests + 1
        call(forgiving, "DELETE", f"/v1/streams/{created.headers['x-stream-id']}")
        rivals.first.follow(**QUICK)
        wait_for(lambda: fetch(forgiving.port, request_for(lone_model)).status == 200, "an answer")
        assert [answer.status for answer in together(forgiving, [request_for(lone_model)] * 10)] == [200] * 10

    def test_a_failed_probe_doubles_the_time(self, forgiving: Gateway, rivals: Rivals, lone_model: str) -> None:
        fail(forgiving, rivals.first, lone_model, FAILURES)
        wait_for(lambda: fetch(forgiving.port, request_for(lone_model)).status == 502, "a try")
        tried_at = time.monotonic()
        wait_for(lambda: fetch(forgiving.port, request_for(lone_model)).status == 502, "another try")
        assert time.monotonic() - tried_at >= BREAKER_SECONDS * 2 * 0.9

    def test_the_next_upstream_answers_at_the_first_try(self, careful: Gateway, rivals: Rivals, model: str) -> None:
        answers = fail(careful, rivals.first, model, FAILURES)
        assert {answer.headers["x-attempts"] for answer in answers} == {"2"}
        before = rivals.first.statistics().requests
        for streamed in (True, False):
            answer = fetch(careful.port, request_for(model, stream=streamed))
            assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("second", "1")
        assert rivals.first.statistics().requests == before

    def test_a_failure_in_mid_stream_counts(self, careful: Gateway, rivals: Rivals, lone_model: str) -> None:
        fail(careful, rivals.first, lone_model, FAILURES, **{**QUICK, "reset_after": 3})
        assert fetch(careful.port, request_for(lone_model)).status == 503

    def test_another_model_of_the_same_upstream_is_asked(
        self, careful: Gateway, rivals: Rivals, unused_lone_models: Iterator[str]
    ) -> None:
        fail(careful, rivals.first, next(unused_lone_models), FAILURES)
        rivals.first.follow(**QUICK)
        assert fetch(careful.port, request_for(next(unused_lone_models))).status == 200

    def test_an_answer_in_between_starts_the_count_anew(
        self, careful: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        fail(careful, rivals.first, lone_model, FAILURES - 1)
        rivals.first.follow(**QUICK)
        assert fetch(careful.port, request_for(lone_model)).text() == WHOLE_TEXT
        answers = fail(careful, rivals.first, lone_model, FAILURES)
        assert {answer.status for answer in answers} == {502}

    def test_an_answer_that_its_client_left_starts_the_count_anew_too(
        self, careful: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        fail(careful, rivals.first, lone_model, FAILURES - 1)
        before = rivals.first.statistics()
        rivals.first.follow(**ENDLESS)
        with RawClient(careful.port) as client:
            client.post(request_for(lone_model))
            assert client.head().status == 200
            client.chunk()
        rivals.first.wait_for_abort(before)
        answers = fail(careful, rivals.first, lone_model, FAILURES)
        assert {answer.status for answer in answers} == {502}

    def test_a_refusal_is_no_failure_of_the_upstream(self, careful: Gateway, rivals: Rivals, lone_model: str) -> None:
        answers = fail(careful, rivals.first, lone_model, FAILURES + 2, status=400)
        assert {answer.status for answer in answers} == {400}

    @pytest.mark.parametrize("options", [{"max_ttft_ms": 100}, {"timeout_ms": 100}, {"deadline_ms": 100}])
    def test_the_impatience_of_a_client_is_no_failure_of_the_upstream(
        self, careful: Gateway, rivals: Rivals, lone_model: str, options: dict[str, int]
    ) -> None:
        rivals.first.follow(stall_before="head")
        answers = together(careful, [routed(lone_model, **options)] * (FAILURES + 2))
        assert {answer.status for answer in answers} == {504}
        rivals.first.follow(**QUICK)
        assert fetch(careful.port, request_for(lone_model)).status == 200

    def test_auriko_and_openai_see_that_nobody_is_up(self, careful: Gateway, rivals: Rivals, lone_model: str) -> None:
        fail(careful, rivals.first, lone_model, FAILURES)
        with auriko_client(careful) as client, pytest.raises(auriko.APIStatusError) as caught:
            client.chat.completions.create(**request_for(lone_model))
        assert (caught.value.status_code, caught.value.code) == (503, "no_provider_available")
        with (
            openai.OpenAI(base_url=careful.url, api_key=CLIENT_KEY, max_retries=0) as other,
            pytest.raises(openai.InternalServerError) as seen,
        ):
            other.chat.completions.create(**request_for(lone_model))
        assert (seen.value.status_code, seen.value.code) == (503, "no_provider_available")

    def test_a_shared_stream_that_runs_is_joined_though_its_upstream_is_left_alone(
        self, careful: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        request = request_for(lone_model, ENDLESS)
        with RawClient(careful.port) as client:
            client.post(request, X_Stream_Key="joined")
            running = client.head()
            client.chunk()
            fail(careful, rivals.first, lone_model, FAILURES)
            with RawClient(careful.port) as other:
                other.post(request, X_Stream_Key="joined")
                joined = other.head()
                assert joined.status == 200
                assert joined.headers["x-stream-id"] == running.headers["x-stream-id"]

    def probe(self, gateway: Gateway, model: str) -> Answer:
        """The first stream that is let through to the upstream."""

        def look() -> Answer | None:
            created = call(gateway, "POST", "/v1/streams", request_for(model))
            return created if created.status == 201 else None

        return wait_for(look, "a request that is let through")


class TestCooldown:
    def test_an_upstream_that_asks_for_time_gets_it(self, careful: Gateway, rivals: Rivals, lone_model: str) -> None:
        (answer,) = fail(careful, rivals.first, lone_model, 1, status=429, retry_after=30)
        assert (answer.status, answer.headers["retry-after"]) == (429, "30")
        before = rivals.first.statistics().requests
        again = fetch(careful.port, request_for(lone_model))
        assert (again.status, again.error()["type"]) == (429, "rate_limit_error")
        assert again.error()["code"] == "rate_limit_exceeded"
        assert 1 <= int(again.headers["retry-after"]) <= 30
        assert rivals.first.statistics().requests == before

    def test_the_next_upstream_answers_at_the_first_try(self, careful: Gateway, rivals: Rivals, model: str) -> None:
        (answer,) = fail(careful, rivals.first, model, 1, status=429, retry_after=30)
        assert (answer.headers["x-upstream"], answer.headers["x-attempts"]) == ("second", "2")
        before = rivals.first.statistics().requests
        again = fetch(careful.port, request_for(model))
        assert (again.headers["x-upstream"], again.headers["x-attempts"]) == ("second", "1")
        assert rivals.first.statistics().requests == before

    def test_an_upstream_that_does_not_say_how_long_is_asked_again_soon(
        self, careful: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        asked_at = time.monotonic()
        fail(careful, rivals.first, lone_model, 1, status=429)
        rivals.first.follow(**QUICK)
        wait_for(lambda: fetch(careful.port, request_for(lone_model)).status == 200, "an answer")
        assert time.monotonic() - asked_at >= 0.9

    def test_a_gateway_that_ignores_retry_after_asks_at_once(
        self, gateway: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        fail(gateway, rivals.first, lone_model, 1, status=429, retry_after=30)
        rivals.first.follow(**QUICK)
        assert fetch(gateway.port, request_for(lone_model)).status == 200

    def test_an_upstream_that_is_overloaded_is_no_limit_of_the_client(
        self, careful: Gateway, rivals: Rivals, lone_model: str
    ) -> None:
        (answer,) = fail(careful, rivals.first, lone_model, 1, status=503, retry_after=30)
        assert answer.status == 502
        again = fetch(careful.port, request_for(lone_model))
        assert (again.status, again.error()["code"]) == (503, "no_provider_available")


def upstreams_of(gateway: Gateway, request: dict[str, Any]) -> set[str]:
    """The upstreams that answer this request when it is sent many times, each time at the first attempt."""
    answers = [stream(gateway, request) for _ in range(ROUNDS)]
    assert {answer.headers["x-attempts"] for answer in answers} == {"1"}
    return {answer.headers["x-upstream"] for answer in answers}


class TestPrice:
    @pytest.mark.parametrize(
        ("word", "strategy"), [("cost", "cost"), ("cost-focus", "cost-focus"), ("cheapest", "cost")]
    )
    @pytest.mark.parametrize("place", ["gateway", "top level"])
    def test_the_cheaper_upstream_is_asked(
        self, priced: Gateway, model: str, place: str, word: str, strategy: str
    ) -> None:
        options = {"optimize": word}
        request = request_for(model, routing=options) if place == "top level" else routed(model, **options)
        assert upstreams_of(priced, request) == {"second"}
        assert metadata(stream(priced, request))["routing_strategy"] == strategy

    def test_the_dear_upstream_answers_when_the_cheaper_one_fails(
        self, priced: Gateway, rivals: Rivals, model: str
    ) -> None:
        rivals.second.follow(status=500)
        answer = stream(priced, routed(model, optimize="cost"))
        assert [attempt["upstream"] for attempt in attempts(answer)] == ["second", "first"]
        assert metadata(answer)["cost"]["usd"] == pytest.approx((17 * 10.0 + 8 * 30.0) / 1_000_000, rel=0.2)

    def test_a_whole_answer_is_routed_alike(self, priced: Gateway, model: str) -> None:
        request = {**routed(model, optimize="cost"), "stream": False}
        for _ in range(ROUNDS):
            answer = fetch(priced.port, request)
            assert answer.headers["x-upstream"] == "second"
            assert metadata(answer)["routing_strategy"] == "cost"

    def test_equal_prices_share_the_load(self, gateway: Gateway, rivals: Rivals, model: str) -> None:
        answers = together(gateway, [routed(model, optimize="cost-focus")] * 40)
        assert {answer.headers["x-upstream"] for answer in answers} == {"first", "second"}

    def test_a_price_above_the_limit_is_left_out(self, priced: Gateway, model: str) -> None:
        assert upstreams_of(priced, routed(model, max_cost_per_1m=5, weights={"ttft": 1})) == {"second"}

    def test_the_default_is_balanced(self, priced: Gateway, model: str) -> None:
        assert metadata(stream(priced, request_for(model)))["routing_strategy"] == "balanced"


@pytest.fixture(scope="module")
def known(priced: Gateway, rivals_all_module: Rivals, unused_models: Iterator[str]) -> str:
    """A model of which the gateway has seen enough answers to know how fast its upstreams are."""
    model = next(unused_models)
    rivals_all_module.second.follow(ttft_ms=700, gap_ms=60, tokens=8)
    for name in ("first", "second"):
        answers = together(priced, [routed(model, providers=[name])] * 8)
        assert {answer.headers["x-upstream"] for answer in answers} == {name}
    rivals_all_module.reset()
    return model


class TestSpeed:
    """Strategies by speed: the dear first upstream is quick, the cheap second one is slow to begin and to go on."""

    @pytest.mark.parametrize(
        ("word", "strategy"),
        [("ttft-focus", "ttft-focus"), ("ttft", "ttft"), ("speed", "ttft"), ("tps-focus", "tps-focus")],
    )
    def test_the_quicker_upstream_is_asked(self, priced: Gateway, known: str, word: str, strategy: str) -> None:
        answer = stream(priced, routed(known, optimize=word))
        assert answer.headers["x-upstream"] == "first"
        assert metadata(answer)["routing_strategy"] == strategy

    def test_throughput_is_another_word_for_tps(self, priced: Gateway, known: str) -> None:
        assert metadata(stream(priced, routed(known, optimize="throughput")))["routing_strategy"] == "tps"

    def test_the_cheaper_upstream_is_asked_where_time_does_not_matter(self, priced: Gateway, known: str) -> None:
        assert stream(priced, routed(known, optimize="cost-focus")).headers["x-upstream"] == "second"

    @pytest.mark.parametrize(
        ("weights", "upstream"),
        [({"cost": 1}, "second"), ({"ttft": 0.5}, "first"), ({"cost": 0, "ttft": 3, "throughput": 1}, "first")],
    )
    def test_the_weights_of_a_request_are_told_as_custom(
        self, priced: Gateway, known: str, weights: dict[str, float], upstream: str
    ) -> None:
        answer = stream(priced, routed(known, weights=weights, optimize="balanced"))
        assert answer.headers["x-upstream"] == upstream
        assert metadata(answer)["routing_strategy"] == "custom"

    @pytest.mark.parametrize(
        ("ending", "upstream", "strategy"),
        [
            ("ttft-focus", "first", "ttft-focus"),
            ("fast", "first", "ttft"),
            ("nitro", "first", "tps"),
            ("tps-focus", "first", "tps-focus"),
            ("cost-focus", "second", "cost-focus"),
        ],
    )
    def test_a_shortcut_behind_the_model_chooses_the_strategy(
        self, priced: Gateway, known: str, ending: str, upstream: str, strategy: str
    ) -> None:
        answer = fetch(priced.port, request_for(f"{known}:{ending}"), **METADATA)
        routing = metadata(answer)
        if ending != "nitro":  # `:nitro` is `tps`, which looks at the price as well
            assert routing["provider"] == upstream
        assert (routing["routing_strategy"], routing["model_canonical"]) == (strategy, known)

    def test_a_strategy_in_the_options_wins_over_a_shortcut(self, priced: Gateway, known: str) -> None:
        answer = stream(priced, routed(f"{known}:ttft-focus", optimize="cost-focus"))
        assert (metadata(answer)["routing_strategy"], answer.headers["x-upstream"]) == ("cost-focus", "second")

    def test_a_limit_on_the_ttft_leaves_out_slower_upstreams(self, priced: Gateway, known: str) -> None:
        answer = stream(priced, routed(known, optimize="cost-focus", max_ttft_ms=400))
        assert answer.headers["x-upstream"] == "first"

    def test_a_floor_for_the_throughput_leaves_out_slower_upstreams(self, priced: Gateway, known: str) -> None:
        answer = stream(priced, routed(known, optimize="cost-focus", min_throughput_tps=25))
        assert answer.headers["x-upstream"] == "first"

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"max_ttft_ms": 400}, "latency_constraint_exceeded"),
            ({"min_throughput_tps": 5000}, "throughput_constraint_not_met"),
        ],
    )
    def test_a_limit_that_no_upstream_keeps_is_named_in_the_refusal(
        self, priced: Gateway, rivals: Rivals, known: str, options: dict[str, Any], code: str
    ) -> None:
        before = rivals.requests()
        answer = fetch(priced.port, routed(known, providers=["second"], **options))
        check_refused(answer, code, f"gateway.routing.{next(iter(options))}")
        assert rivals.requests() == before


@pytest.mark.parametrize("ending", ["unknown", "", "COST", "cost:cost"])
def test_an_ending_that_is_no_shortcut_is_part_of_the_name(gateway: Gateway, ending: str) -> None:
    answer = fetch(gateway.port, request_for(f"{MODELS[0]}:{ending}"))
    assert (answer.status, answer.error()["code"]) == (404, "model_not_found")


class TestNames:
    def test_only_named_upstreams_are_asked(self, gateway: Gateway, model: str) -> None:
        assert upstreams_of(gateway, routed(model, providers=["second"])) == {"second"}

    def test_excluded_upstreams_are_not_asked(self, gateway: Gateway, rivals: Rivals, model: str) -> None:
        before = rivals.requests()
        assert upstreams_of(gateway, routed(model, exclude_providers=["first"])) == {"second"}
        rivals.second.follow(status=500)
        answer = fetch(gateway.port, routed(model, exclude_providers=["first"]))
        assert (answer.status, answer.error()["code"]) == (502, "upstream_error")
        assert rivals.requests()[0] == before[0]

    def test_the_preferred_upstream_is_asked_first_and_the_other_one_if_it_fails(
        self, gateway: Gateway, rivals: Rivals, model: str
    ) -> None:
        assert upstreams_of(gateway, routed(model, prefer="second")) == {"second"}
        rivals.second.follow(status=500)
        answer = stream(gateway, routed(model, prefer="second"))
        assert [attempt["upstream"] for attempt in attempts(answer)] == ["second", "first"]

    @pytest.mark.parametrize("name", ["nobody", "second"])
    def test_a_preference_that_cannot_be_met_is_told_as_a_warning(
        self, gateway: Gateway, lone_model: str, name: str
    ) -> None:
        answer = stream(gateway, routed(lone_model, prefer=name))
        assert answer.headers["x-upstream"] == "first"
        (warning,) = metadata(answer)["warnings"]
        assert warning["type"] == "unknown_provider"
        assert name in warning["message"]

    @pytest.mark.parametrize("field", ["providers", "exclude_providers"])
    def test_a_name_of_no_upstream_is_refused(self, gateway: Gateway, rivals: Rivals, model: str, field: str) -> None:
        before = rivals.requests()
        answer = fetch(gateway.port, routed(model, **{field: ["first", "frist"]}))
        check_refused(answer, "invalid_parameter_value", f"gateway.routing.{field}")
        assert "frist" in answer.error()["message"]
        assert rivals.requests() == before

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"providers": ["second"]}, "provider_not_in_allowlist"),
            ({"exclude_providers": ["first"]}, "provider_blocked"),
            ({"max_cost_per_1m": 0.01}, "cost_constraint_exceeded"),
        ],
    )
    @pytest.mark.parametrize("streamed", [True, False])
    def test_a_filter_that_leaves_no_upstream_is_named_in_the_refusal(
        self, gateway: Gateway, rivals: Rivals, options: dict[str, Any], code: str, streamed: bool
    ) -> None:
        before = rivals.requests()
        answer = fetch(gateway.port, {**routed(LONE[0], **options), "stream": streamed})
        check_refused(answer, code, f"gateway.routing.{next(iter(options))}")
        assert rivals.requests() == before

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"providers": ["second"]}, "provider_not_in_allowlist"),
            ({"max_cost_per_1m": 0.01}, "cost_constraint_exceeded"),
            ({"exclude_providers": ["frist"]}, "invalid_parameter_value"),
            ({"max_ttft_ms": -5}, "invalid_parameter_value"),
        ],
    )
    def test_the_field_at_fault_is_named_where_the_client_put_it(
        self, gateway: Gateway, options: dict[str, Any], code: str
    ) -> None:
        answer = fetch(gateway.port, request_for(LONE[0], routing=options))
        check_refused(answer, code, f"routing.{next(iter(options))}")

    def test_auriko_sees_which_filter_it_was(self, gateway: Gateway) -> None:
        with auriko_client(gateway) as client, pytest.raises(auriko.BadRequestError) as caught:
            client.chat.completions.create(**routed(LONE[0], providers=["second"]))
        assert caught.value.code == "provider_not_in_allowlist"
        assert caught.value.param == "gateway.routing.providers"


def models(*names: str, **options: Any) -> dict[str, Any]:
    """A streamed request for any of these models."""
    request = request_for("", gateway={"models": list(names), "routing": options})
    del request["model"]
    return request


class TestModels:
    """`gateway.models`: the first model is dear and served by the first upstream; the second model is cheap."""

    def test_the_best_model_of_a_pool_is_taken(self, priced: Gateway) -> None:
        for order in ((LONE[0], CHEAP[0]), (CHEAP[0], LONE[0])):
            answer = stream(priced, models(*order, mode="pool", optimize="cost"))
            assert (metadata(answer)["model_canonical"], answer.headers["x-upstream"]) == (CHEAP[0], "second")

    def test_the_default_mode_is_the_pool(self, priced: Gateway) -> None:
        answer = stream(priced, models(LONE[0], CHEAP[0], optimize="cost"))
        assert metadata(answer)["model_canonical"] == CHEAP[0]

    def test_in_fallback_mode_the_order_counts(self, priced: Gateway) -> None:
        answer = stream(priced, models(LONE[0], CHEAP[0], mode="fallback", optimize="cost"))
        assert metadata(answer)["model_canonical"] == LONE[0]

    @pytest.mark.parametrize("mode", ["pool", "fallback"])
    @pytest.mark.parametrize("streamed", [True, False])
    def test_the_next_model_answers_when_one_fails(
        self, gateway: Gateway, rivals: Rivals, mode: str, streamed: bool
    ) -> None:
        rivals.first.follow(status=500)
        answer = fetch(gateway.port, {**models(LONE[1], CHEAP[1], mode=mode), "stream": streamed})
        routing = metadata(answer)
        assert (routing["model_canonical"], routing["provider_model_id"]) == (CHEAP[1], f"{CHEAP[1]}-2024")
        assert [attempt["upstream"] for attempt in routing["attempts"]] == ["first", "second"]
        sent = rivals.second.statistics().last_request
        assert sent is not None
        assert sent["body"]["model"] == f"{CHEAP[1]}-2024"
        assert "gateway" not in sent["body"]

    def test_every_upstream_of_a_model_is_tried_before_the_next_model(
        self, gateway: Gateway, rivals: Rivals, model: str
    ) -> None:
        for upstream in rivals.both():
            upstream.follow(status=500)
        answer = fetch(gateway.port, models(model, LONE[2], CHEAP[2], mode="fallback"))
        assert (answer.status, answer.error()["code"]) == (502, "upstream_error")
        tried = json.loads(answer.body)["routing_metadata"]["attempts"]
        assert [attempt["upstream"] for attempt in tried] == ["first", "second", "first", "second"]

    @pytest.mark.parametrize("streamed", [True, False])
    def test_an_unknown_model_is_refused_with_the_field_that_names_it(
        self, gateway: Gateway, model: str, streamed: bool
    ) -> None:
        answer = fetch(gateway.port, models(model, "gpt-17") | {"stream": streamed})
        error = answer.error()
        assert (answer.status, error["code"], error["param"]) == (404, "model_not_found", "gateway.models")
        assert "'gpt-17'" in error["message"]
        assert fetch(gateway.port, request_for("gpt-17")).error()["param"] == "model"

    def test_a_preference_counts_among_the_upstreams_of_a_model(self, gateway: Gateway, model: str) -> None:
        answer = stream(gateway, models(LONE[4], model, mode="fallback", prefer="second"))
        assert metadata(answer)["model_canonical"] == LONE[4]
        answer = stream(gateway, models(model, LONE[4], mode="fallback", prefer="second"))
        assert (metadata(answer)["model_canonical"], answer.headers["x-upstream"]) == (model, "second")

    def test_a_model_that_is_named_twice_is_tried_once(self, gateway: Gateway, rivals: Rivals) -> None:
        rivals.first.follow(status=500)
        answer = fetch(gateway.port, models(LONE[5], LONE[5]))
        assert len(json.loads(answer.body)["routing_metadata"]["attempts"]) == 1

    def test_a_model_that_is_not_there_is_told_by_name(self, gateway: Gateway) -> None:
        answer = fetch(gateway.port, models(LONE[0], "no-such-model"))
        assert (answer.status, answer.error()["code"]) == (404, "model_not_found")
        assert "no-such-model" in answer.error()["message"]

    def test_a_model_and_models_contradict_each_other(self, gateway: Gateway) -> None:
        answer = fetch(gateway.port, {**models(LONE[0]), "model": LONE[0]})
        check_refused(answer, "invalid_parameter_value", "gateway.models")

    def test_a_shortcut_works_in_a_list_of_models_too(self, priced: Gateway) -> None:
        answer = stream(priced, models(f"{LONE[0]}:cost", CHEAP[0]))
        assert (metadata(answer)["model_canonical"], metadata(answer)["routing_strategy"]) == (CHEAP[0], "cost")


class TestAttempts:
    @pytest.mark.parametrize("streamed", [True, False])
    def test_a_request_may_want_no_fallback(
        self, gateway: Gateway, rivals: Rivals, model: str, streamed: bool
    ) -> None:
        before = rivals.second.statistics().requests
        rivals.first.follow(status=500)
        answer = fetch(gateway.port, {**routed(model, allow_fallbacks=False), "stream": streamed})
        assert (answer.status, answer.error()["code"]) == (502, "upstream_error")
        (tried,) = json.loads(answer.body)["routing_metadata"]["attempts"]
        assert (tried["upstream"], tried["outcome"]) == ("first", "upstream_error")
        assert rivals.second.statistics().requests == before

    def test_a_request_may_limit_how_many_are_tried(self, gateway: Gateway, rivals: Rivals, model: str) -> None:
        for upstream in rivals.both():
            upstream.follow(status=500)
        tried = []
        for limit in (1, 2, 3):
            answer = fetch(gateway.port, models(model, LONE[3], CHEAP[3], max_fallback_attempts=limit))
            assert answer.status == 502
            tried.append(len(json.loads(answer.body)["routing_metadata"]["attempts"]))
        # No document says whether the first attempt counts as one; that each more allows one more is sure.
        assert tried in ([1, 2, 3], [2, 3, 4])

    def test_the_error_lists_every_attempt_when_all_fail(self, gateway: Gateway, rivals: Rivals, model: str) -> None:
        rivals.first.follow(status=500)
        rivals.second.follow(ttft_ms=0, error_first=True)
        answer = fetch(gateway.port, request_for(model))
        assert (answer.status, answer.error()["code"]) == (502, "upstream_error")
        tried = json.loads(answer.body)["routing_metadata"]["attempts"]
        assert [(attempt["upstream"], attempt["outcome"]) for attempt in tried] == [
            ("first", "upstream_error"),
            ("second", "upstream_error"),
        ]
        assert all(attempt["connect_ms"] <= attempt["head_ms"] for attempt in tried)
        assert all(attempt["first_content_ms"] is None for attempt in tried)

    def test_a_failure_after_the_content_is_told_in_the_stream(
        self, gateway: Gateway, rivals: Rivals, model: str
    ) -> None:
        rivals.first.follow(**{**QUICK, "error_after": 3})
        assert failure(fetch(gateway.port, request_for(model)))["code"] == "upstream_error"


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"optimize": "fastest"}, "optimize"),
    ({"optimize": 1}, "optimize"),
    ({"weights": {"cost": 0, "ttft": 0}}, "weights"),
    ({"weights": {}}, "weights"),
    ({"weights": {"cost": -1}}, "weights.cost"),
    ({"weights": {"cost": "1"}}, "weights.cost"),
    ({"weights": {"speed": 1}}, "weights"),
    ({"weights": [1, 1, 1]}, "weights"),
    ({"max_cost_per_1m": 0}, "max_cost_per_1m"),
    ({"max_cost_usd": 0}, "max_cost_usd"),
    ({"max_cost_usd": "0.1"}, "max_cost_usd"),
    ({"min_throughput_tps": -1}, "min_throughput_tps"),
    ({"ttft_percentile": "p99"}, "ttft_percentile"),
    ({"throughput_percentile": 50}, "throughput_percentile"),
    ({"providers": []}, "providers"),
    ({"providers": "first"}, "providers"),
    ({"exclude_providers": [1]}, "exclude_providers.0"),
    ({"prefer": 1}, "prefer"),
    ({"mode": "all"}, "mode"),
    ({"allow_fallbacks": "no"}, "allow_fallbacks"),
    ({"max_fallback_attempts": 0}, "max_fallback_attempts"),
    ({"max_fallback_attempts": 20}, "max_fallback_attempts"),
    ({"max_fallback_attempts": True}, "max_fallback_attempts"),
    ({"timeout_ms": 0}, "timeout_ms"),
    ({"deadline_ms": 1.5}, "deadline_ms"),
    ({"timeout_ms": 2000, "deadline_ms": 1000}, "deadline_ms"),
    ({"only_byok": True, "only_platform": True}, "only_platform"),
    ({"only_byok": 1}, "only_byok"),
    ({"data_policy": "some"}, "data_policy"),
    ({"tier": 5}, "tier"),
]


@pytest.mark.parametrize(("options", "field"), FAULTS, ids=[json.dumps(options) for options, _ in FAULTS])
def test_an_option_with_a_bad_value_is_refused_by_name(
    gateway: Gateway, rivals: Rivals, options: dict[str, Any], field: str
) -> None:
    before = rivals.requests()
    answer = fetch(gateway.port, routed(LONE[0], **options))
    check_refused(answer, "invalid_parameter_value", f"gateway.routing.{field}")
    assert field.partition(".")[0] in answer.error()["message"]
    assert rivals.requests() == before


@pytest.mark.parametrize("given", [[], "cost", 1])
def test_options_that_are_no_object_are_refused_by_name(gateway: Gateway, given: object) -> None:
    answer = fetch(gateway.port, request_for(LONE[0], gateway={"routing": given}))
    check_refused(answer, "invalid_parameter_value", "gateway.routing")
    answer = fetch(gateway.port, request_for(LONE[0], routing=given))
    check_refused(answer, "invalid_parameter_value", "routing")


class TestWarnings:
    @pytest.mark.parametrize(
        "options",
        [
            {"data_policy": "zdr"},
            {"only_byok": True},
            {"only_platform": True},
            {"require_parameters": True},
            {"tier": "flex"},
        ],
    )
    @pytest.mark.parametrize("streamed", [True, False])
    def test_an_option_that_is_not_acted_on_is_listed_in_the_warnings(
        self, gateway: Gateway, model: str, options: dict[str, Any], streamed: bool
    ) -> None:
        answer = fetch(gateway.port, {**routed(model, **options), "stream": streamed}, **METADATA)
        (warning,) = metadata(answer)["warnings"]
        assert warning["type"] == "unsupported_feature"
        assert next(iter(options)) in warning["message"]

    def test_an_unknown_option_is_told(self, gateway: Gateway, model: str) -> None:
        (warning,) = metadata(stream(gateway, routed(model, optimise="cost")))["warnings"]
        assert warning["type"] == "unsupported_field"
        assert "optimise" in warning["message"]

    @pytest.mark.parametrize("options", [{}, {"data_policy": "none"}, {"only_byok": False}, {"optimize": "cost"}])
    def test_there_is_no_warning_about_an_option_that_asks_for_nothing(
        self, gateway: Gateway, model: str, options: dict[str, Any]
    ) -> None:
        assert "warnings" not in metadata(stream(gateway, routed(model, **options)))

    def test_auriko_reads_all_warnings(self, gateway: Gateway, model: str) -> None:
        options = {"data_policy": "zdr", "tier": "flex", "prefer": "nobody", "max_speed": 1}
        with auriko_client(gateway) as client:
            completion = client.chat.completions.create(**routed(model, **options))
            assert len(list(completion)) > 8
        kinds = sorted(warning.type for warning in completion.routing_metadata.warnings)
        assert kinds == ["unknown_provider", "unsupported_feature", "unsupported_feature", "unsupported_field"]

    def test_auriko_may_send_every_option_it_knows(self, gateway: Gateway, model: str) -> None:
        options = auriko.route_types.RoutingOptions(
            optimize="cost",
            weights={"cost": 1, "ttft": 1},
            max_cost_per_1m=100,
            max_ttft_ms=60_000,
            min_throughput_tps=0.1,
            ttft_percentile="p95",
            throughput_percentile="p95",
            providers=["first", "second"],
            exclude_providers=["second"],
            prefer="first",
            mode="pool",
            allow_fallbacks=True,
            max_fallback_attempts=3,
            timeout_ms=30_000,
            deadline_ms=60_000,
            data_policy="none",
            only_byok=False,
            only_platform=False,
            require_parameters=False,
            tier="standard",
        ).to_dict()
        with auriko_client(gateway) as client:
            completion = client.chat.completions.create(**request_for(model, gateway={"routing": options}))
            assert len(list(completion)) > 8
        assert (completion.routing_metadata.provider, completion.routing_metadata.routing_strategy) == (
            "first",
            "custom",
        )
