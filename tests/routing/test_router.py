"""The router turns a request into a route: its candidates and rules, or the error that says why there is none."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from gateway.config import ModelSettings, RoutingSettings, TtftSettings, UpstreamSettings
from gateway.errors import (
    ConstraintNotMet,
    InvalidParameter,
    ModelNotFound,
    NoProviderAvailable,
    RateLimited,
    UpstreamError,
)
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.health import KNOWN, TAIL_KNOWN, Breaker, Health
from gateway.routing.health import BreakerRules as HealthRules
from gateway.routing.options import parse
from gateway.routing.quota import Quota
from gateway.routing.router import Ask, Route, Router
from gateway.routing.shared_health import SharedHealth
from gateway.routing.throttle import Throttle
from gateway.upstream.endpoint import Endpoint

NOW = 1000.0


def candidate(name: str, model_id: str = "gpt-4o", price: float | None = None, **rules: float) -> Candidate:
    usd = None if price is None else Decimal(str(price))
    model = ModelSettings(id=model_id, input_usd_per_mtok=usd, output_usd_per_mtok=usd)
    upstream = UpstreamSettings(name=name, base_url=f"http://{name}.test/v1", models=(model,))
    health = Health(HealthRules(failures=2, seconds=rules.get("seconds", 10.0), max_cooldown=3600.0))
    return Candidate(Endpoint.build(upstream, 60.0, {}), model, health)


def limited(name: str, model_id: str = "gpt-4o", **limits: int) -> Candidate:
    """A candidate whose upstream has a quota."""
    quota = Quota(**limits)
    return replace(candidate(name, model_id), health=SharedHealth(quota=quota), quota=quota)


def router(
    *candidates: Candidate, default: str = "priority", dice: float = 0.0, jitter: float = 0.0, **ttft: Any
) -> Router:
    routing = RoutingSettings(optimize=default)  # type: ignore[arg-type]
    limits = TtftSettings(**ttft)
    throttle = Throttle(limits.hedge_max_share)
    return Router(Catalog(candidates), routing, limits, lambda: dice, lambda: jitter, throttle)


def ask(
    *model_ids: str, streamed: bool = True, budget_ms: int | None = None, options: dict[str, Any] | None = None
) -> Ask:
    return Ask(model_ids or ("gpt-4o",), parse(options or {}), streamed, budget_ms)


def names(route: Route) -> list[str]:
    return [candidate.endpoint.name for candidate in route.candidates]


def measure(measured: Candidate, ttft: float, times: float = TAIL_KNOWN, now: float = NOW) -> Candidate:
    for _ in range(int(times)):
        measured.health.on_content(measured.health.on_start(now), ttft, now)
        measured.health.on_complete(50.0, now)
    return measured


def open_breaker(measured: Candidate, now: float = NOW) -> Candidate:
    for _ in range(2):
        measured.health.on_failed(measured.health.on_start(now), UpstreamError("HTTP 500"), now)
    assert measured.health.breaker is Breaker.OPEN
    return measured


def cool(measured: Candidate, seconds: int, now: float = NOW) -> Candidate:
    measured.health.on_failed(measured.health.on_start(now), RateLimited("slow", retry_after=seconds), now)
    return measured


# --- models


def test_every_upstream_of_the_model_is_a_candidate_and_no_other() -> None:
    route = router(candidate("a"), candidate("b", "other"), candidate("c")).route(ask(), NOW)
    assert names(route) == ["a", "c"]
    assert (route.strategy, route.warnings) == ("priority", ())


def test_an_unknown_model_is_a_404_that_names_what_there_is() -> None:
    with pytest.raises(ModelNotFound) as raised:
        router(candidate("a")).route(ask("gpt-5"), NOW)
    assert (raised.value.status, raised.value.code, raised.value.param) == (404, "model_not_found", "model")
    assert "gpt-4o" in raised.value.message


def test_one_unknown_model_among_several_is_a_404_too() -> None:
    with pytest.raises(ModelNotFound):
        router(candidate("a")).route(ask("gpt-4o", "gpt-5"), NOW)


def test_several_models_are_a_pool_or_one_after_the_other() -> None:
    routing = router(candidate("a", "big", 10.0), candidate("b", "small", 1.0), default="cost-focus")
    assert names(routing.route(ask("big", "small"), NOW)) == ["b", "a"]
    assert names(routing.route(ask("big", "small", options={"mode": "fallback"}), NOW)) == ["a", "b"]


def test_a_model_that_is_named_twice_is_asked_once() -> None:
    routing = router(candidate("a"), candidate("b"))
    assert names(routing.route(ask("gpt-4o", "gpt-4o", "gpt-4o:cost"), NOW)) == ["a", "b"]


@pytest.mark.parametrize(
    ("shortcut", "strategy", "first"),
    [
        ("gpt-4o:ttft", "ttft", "fast"),
        ("gpt-4o:fast", "ttft", "fast"),
        ("gpt-4o:speed", "ttft", "fast"),
        ("gpt-4o:ttft-focus", "ttft-focus", "fast"),
        ("gpt-4o:cost", "cost", "cheap"),
        ("gpt-4o:floor", "cost", "cheap"),
        ("gpt-4o:cheapest", "cost", "cheap"),
        ("gpt-4o:nitro", "tps", "cheap"),
        ("gpt-4o:balanced", "balanced", "cheap"),
        ("gpt-4o:priority", "priority", "cheap"),
    ],
)
def test_the_ending_of_a_models_name_chooses_a_strategy(shortcut: str, strategy: str, first: str) -> None:
    routing = router(measure(candidate("cheap", price=1.0), 1.0), measure(candidate("fast", price=4.0), 0.5))
    route = routing.route(ask(shortcut), NOW)
    assert route.strategy == strategy
    if strategy != "balanced":
        assert names(route)[0] == first


def test_an_option_wins_over_a_shortcut() -> None:
    routing = router(candidate("a"))
    assert routing.route(ask("gpt-4o:ttft", options={"optimize": "cost"}), NOW).strategy == "cost"
    assert routing.route(ask("gpt-4o:ttft", options={"weights": {"cost": 1}}), NOW).strategy == "custom"


def test_of_two_shortcuts_the_first_counts() -> None:
    routing = router(candidate("a"), candidate("b", "small"))
    assert routing.route(ask("gpt-4o:ttft", "small:cost"), NOW).strategy == "ttft"
    assert routing.route(ask("gpt-4o", "small:cost"), NOW).strategy == "cost"


@pytest.mark.parametrize("model_id", ["gpt-4o:", "gpt-4o:best", ":ttft", "gpt-4o:x:ttft", "gpt-4o::ttft", "no:ttft"])
def test_other_endings_are_part_of_the_name(model_id: str) -> None:
    with pytest.raises(ModelNotFound):
        router(candidate("a")).route(ask(model_id), NOW)


def test_a_model_whose_own_name_ends_like_a_shortcut_is_that_model() -> None:
    routing = router(candidate("a"), candidate("b", "gpt-4o:ttft"))
    route = routing.route(ask("gpt-4o:ttft"), NOW)
    assert (names(route), route.strategy) == (["b"], "priority")


# --- providers


def test_an_unknown_provider_is_refused_before_anything_else() -> None:
    for field in ("providers", "exclude_providers"):
        with pytest.raises(InvalidParameter) as raised:
            router(candidate("a")).route(ask("gpt-5", options={field: ["b"]}), NOW)
        assert raised.value.param == f"gateway.routing.{field}"


def test_a_provider_of_another_model_is_known_and_filtered() -> None:
    routing = router(candidate("a"), candidate("b", "other"))
    with pytest.raises(ConstraintNotMet) as raised:
        routing.route(ask(options={"providers": ["b"]}), NOW)
    assert raised.value.code == "provider_not_in_allowlist"
    assert names(routing.route(ask(options={"exclude_providers": ["b"]}), NOW)) == ["a"]


def test_warnings_of_the_options_and_of_the_ranking_are_told_together() -> None:
    route = router(candidate("a")).route(ask(options={"tier": "flex", "odd": 1, "prefer": "x"}), NOW)
    kinds = [warning["type"] for warning in route.warnings]
    assert kinds == ["unsupported_feature", "unsupported_field", "unknown_provider"]


def test_the_price_of_an_offer_is_the_mean_and_one_price_alone_counts_the_other_as_free() -> None:
    def priced(name: str, **prices: float) -> Candidate:
        unpriced = candidate(name)
        return Candidate(unpriced.endpoint, ModelSettings(id="gpt-4o", **prices), unpriced.health)  # type: ignore[arg-type]

    both = priced("both", input_usd_per_mtok=2.0, output_usd_per_mtok=4.0)
    only_output = priced("one", output_usd_per_mtok=5.0)
    none = priced("none")
    routing = router(both, only_output, none, default="cost-focus")
    assert names(routing.route(ask(), NOW))[0] == "one"
    assert names(routing.route(ask(options={"max_cost_per_1m": 3}), NOW)) == ["one", "both"]
    assert names(routing.route(ask(options={"max_cost_per_1m": 2.5}), NOW)) == ["one"]


def test_what_is_measured_of_a_cold_upstream_says_nothing() -> None:
    slow = measure(candidate("slow"), 9.0, KNOWN - 1)
    assert names(router(slow).route(ask(options={"max_ttft_ms": 100}), NOW)) == ["slow"]
    measure(slow, 9.0, 1)
    with pytest.raises(ConstraintNotMet) as raised:
        router(slow).route(ask(options={"max_ttft_ms": 100}), NOW)
    assert raised.value.code == "latency_constraint_exceeded"


# --- who is left alone


def test_an_upstream_that_is_left_alone_is_no_candidate() -> None:
    routing = router(open_breaker(candidate("a")), cool(candidate("b"), 5), candidate("c"))
    assert names(routing.route(ask(), NOW)) == ["c"]
    assert names(routing.route(ask(), NOW + 5)) == ["b", "c"]
    assert names(routing.route(ask(), NOW + 10)) == ["a", "b", "c"]


def test_all_breakers_open_are_a_503_with_the_soonest_time() -> None:
    routing = router(open_breaker(candidate("a")), open_breaker(candidate("b"), NOW - 4.5))
    with pytest.raises(NoProviderAvailable) as raised:
        routing.route(ask(), NOW)
    assert (raised.value.status, raised.value.code, raised.value.retry_after) == (503, "no_provider_available", 6)
    assert "a, b" in raised.value.message


def test_the_time_of_a_503_is_jittered_up_to_twice() -> None:
    for jitter, seconds in ((0.0, 10), (0.5, 15), (1.0, 20)):
        with pytest.raises(NoProviderAvailable) as raised:
            router(open_breaker(candidate("a")), jitter=jitter).route(ask(), NOW)
        assert raised.value.retry_after == seconds


def test_a_wait_that_is_longer_than_sdks_sleep_is_told_in_words() -> None:
    with pytest.raises(NoProviderAvailable) as raised:
        router(open_breaker(candidate("a", seconds=300.0)), jitter=1.0).route(ask(), NOW)
    assert raised.value.headers() == {"x-should-retry": "false"}
    assert raised.value.message == "no upstream of this model is up: a (retry after 600 seconds)"
    with pytest.raises(RateLimited) as limited:
        router(cool(candidate("a"), 3600)).route(ask(), NOW)
    assert limited.value.headers() == {"x-should-retry": "false"}
    assert "(retry after 3600 seconds)" in limited.value.message


def test_while_a_probe_is_under_way_the_others_are_told_to_come_again() -> None:
    down = open_breaker(candidate("a"))
    routing = router(down)
    routing.route(ask(), NOW + 10)
    down.health.on_start(NOW + 10)
    with pytest.raises(NoProviderAvailable) as raised:
        routing.route(ask(), NOW + 10)
    assert raised.value.retry_after == 1


@pytest.mark.parametrize("waited", [0.0, 0.5, 6.9])
def test_all_cooling_are_a_429_with_the_soonest_whole_second(waited: float) -> None:
    routing = router(cool(candidate("a"), 20), cool(candidate("b"), 7), jitter=1.0)
    with pytest.raises(RateLimited) as raised:
        routing.route(ask(), NOW + waited)
    assert (raised.value.status, raised.value.code) == (429, "rate_limit_exceeded")
    assert raised.value.retry_after == -(-(7 - waited) // 1) >= 1


def test_one_cooling_and_one_open_are_a_503() -> None:
    with pytest.raises(NoProviderAvailable):
        router(cool(candidate("a"), 20), open_breaker(candidate("b"))).route(ask(), NOW)


def test_only_candidates_that_the_options_leave_decide_which_error_it_is() -> None:
    routing = router(cool(candidate("a"), 20), open_breaker(candidate("b")))
    with pytest.raises(RateLimited):
        routing.route(ask(options={"providers": ["a"]}), NOW)


# --- the budget


def test_without_a_budget_there_is_none() -> None:
    rules = router(candidate("a")).route(ask(), NOW).rules
    assert (rules.budget, rules.deadline, rules.timeout, rules.hedge_after) == (None, None, None, ())


@pytest.mark.parametrize(
    ("configured", "header", "option", "budget"),
    [
        (800, None, None, 0.8),
        (800, 500, None, 0.5),
        (800, 0, None, None),
        (800, 500, 300, 0.3),
        (800, 0, 300, 0.3),
        (0, None, None, None),
        (0, 500, None, 0.5),
        (0, None, 300, 0.3),
    ],
)
def test_the_option_wins_over_the_header_and_that_over_the_configuration(
    configured: int, header: int | None, option: int | None, budget: float | None
) -> None:
    routing = router(candidate("a"), budget_ms=configured)
    options = {} if option is None else {"max_ttft_ms": option}
    assert routing.route(ask(budget_ms=header, options=options), NOW).rules.budget == budget


def test_a_budget_puts_upstreams_that_have_not_kept_it_last() -> None:
    routing = router(measure(candidate("slow"), 2.0), measure(candidate("fast"), 0.1))
    assert names(routing.route(ask(), NOW)) == ["slow", "fast"]
    assert names(routing.route(ask(budget_ms=500), NOW)) == ["fast", "slow"]


def test_the_limits_of_time_are_told_to_the_race_in_seconds() -> None:
    rules = router(candidate("a")).route(ask(options={"timeout_ms": 1500, "deadline_ms": 2500}), NOW).rules
    assert (rules.timeout, rules.deadline) == (1.5, 2.5)


def test_a_whole_answer_has_no_budget_and_no_hedge_but_the_budget_ranks() -> None:
    slow, fast = measure(candidate("slow"), 2.0), measure(candidate("fast"), 0.1)
    route = router(slow, fast, budget_ms=500, hedge_after=100).route(ask(streamed=False), NOW)
    assert names(route) == ["fast", "slow"]
    assert (route.rules.budget, route.rules.hedge_after, route.rules.hedge_order) == (None, (), ())


def test_a_whole_answer_keeps_its_deadline_and_timeout() -> None:
    options = {"timeout_ms": 1000, "deadline_ms": 2000}
    rules = router(candidate("a")).route(ask(streamed=False, options=options), NOW).rules
    assert (rules.timeout, rules.deadline) == (1.0, 2.0)


# --- attempts


def test_attempts_are_limited() -> None:
    routing = router(candidate("a"), candidate("b"))
    for fallbacks in (1, 2, 19):
        rules = routing.route(ask(options={"max_fallback_attempts": fallbacks}), NOW).rules
        assert rules.attempts == fallbacks
    assert routing.route(ask(), NOW).rules.attempts == 20


def test_without_fallbacks_there_is_one_attempt_and_no_hedge() -> None:
    routing = router(candidate("a"), candidate("b"), hedge_after=100)
    rules = routing.route(ask(options={"allow_fallbacks": False, "max_fallback_attempts": 5}), NOW).rules
    assert (rules.attempts, rules.hedge_after) == (1, ())


# --- hedging


def test_a_number_hedges_every_candidate_after_that_many_milliseconds() -> None:
    route = router(candidate("a"), candidate("b"), hedge_after=250).route(ask(), NOW)
    assert route.rules.hedge_after == (0.25, 0.25)


def test_auto_hedges_after_the_tail_of_each_candidate_once_the_tail_is_known() -> None:
    known, guess = measure(candidate("a"), 0.4), measure(candidate("b"), 0.4, TAIL_KNOWN - 1)
    after, never = router(known, guess, hedge_after="auto").route(ask(), NOW).rules.hedge_after
    assert after == pytest.approx(0.4, rel=0.09)
    assert never is None


def test_off_hedges_no_candidate() -> None:
    rules = router(measure(candidate("a"), 0.4), hedge_after="off").route(ask(), NOW).rules
    assert (rules.hedge_after, rules.hedge_order) == ((), ())


def test_a_hedge_goes_to_the_fastest_first_and_to_the_unknown_last() -> None:
    routing = router(
        candidate("unknown"),
        measure(candidate("slow"), 3.0),
        measure(candidate("fast"), 0.1),
        measure(candidate("middle"), 0.5),
        hedge_after=100,
    )
    route = routing.route(ask(), NOW)
    assert [names(route)[position] for position in route.rules.hedge_order] == ["fast", "middle", "slow", "unknown"]


def test_delays_and_order_are_by_place_among_those_that_are_asked() -> None:
    routing = router(
        cool(candidate("cooling"), 5),
        measure(candidate("slow"), 3.0),
        measure(candidate("b"), 0.4),
        hedge_after="auto",
    )
    rules = routing.route(ask(), NOW).rules
    assert rules.hedge_after == (pytest.approx(3.0, rel=0.09), pytest.approx(0.4, rel=0.09))
    assert rules.hedge_order == (1, 0)


def test_every_route_shares_one_throttle_of_the_configured_share() -> None:
    routing = router(candidate("a"), hedge_after=100, hedge_max_share=0.5)
    first, second = routing.route(ask(), NOW).throttle, routing.route(ask(), NOW).throttle
    assert first is second is routing.throttle
    first.on_request()
    assert not second.take()
    first.on_request()
    assert second.take()


# --- requests that have no choice


def test_a_plain_request_with_one_upstream_has_the_same_route_every_time() -> None:
    routing = router(candidate("alpha"), candidate("beta", "other"))
    assert routing.route(ask(), NOW) is routing.route(ask(), NOW + 1)
    assert routing.route(ask(streamed=False), NOW) is not routing.route(ask(), NOW)
    assert routing.route(ask(options={"timeout_ms": 5}), NOW).rules.timeout == 0.005
    assert routing.route(ask(budget_ms=70), NOW).rules.budget == 0.07
    assert routing.route(ask(), NOW).rules.budget is None


def test_the_upstream_of_a_plain_request_is_checked_every_time_all_the_same() -> None:
    alpha = candidate("alpha")
    routing = router(alpha)
    routing.route(ask(), NOW)
    open_breaker(alpha)
    with pytest.raises(NoProviderAvailable):
        routing.route(ask(), NOW)
    assert names(routing.route(ask(), NOW + 11)) == ["alpha"]


def test_a_cooldown_of_the_only_upstream_counts_every_time_too() -> None:
    alpha = candidate("alpha")
    routing = router(alpha)
    routing.route(ask(), NOW)
    cool(alpha, 60)
    with pytest.raises(RateLimited):
        routing.route(ask(), NOW)


def test_where_there_is_a_choice_it_is_made_every_time() -> None:
    alpha, beta = candidate("alpha"), candidate("beta")
    routing = router(alpha, beta)
    open_breaker(alpha)
    assert names(routing.route(ask(), NOW)) == ["beta"]
    assert names(routing.route(ask(), NOW + 11)) == ["alpha", "beta"]


def test_where_a_hedge_may_follow_its_time_is_found_every_time() -> None:
    alpha = candidate("alpha")
    routing = router(alpha, hedge_after="auto")
    assert routing.route(ask(), NOW).rules.hedge_after == (None,)
    measure(alpha, 0.1)
    assert routing.route(ask(), NOW).rules.hedge_after != (None,)


# --- quotas


def test_beyond_its_quota_an_upstream_is_passed_over_until_there_is_room() -> None:
    full, free = limited("full", max_concurrency=1), candidate("free")
    router_ = router(full, free)
    assert names(router_.route(ask(), NOW)) == ["full", "free"]
    full.health.on_start(NOW)
    assert names(router_.route(ask(), NOW)) == ["free"]
    full.health.on_complete(None, NOW)
    assert names(router_.route(ask(), NOW)) == ["full", "free"]


@pytest.mark.parametrize("times", [1, 2])
def test_when_all_are_beyond_their_quota_the_client_is_told_when_to_come_back(times: int) -> None:
    candidates = [limited("a", rpm=1), limited("b", rpm=1)][:times]
    router_ = router(*candidates)
    for number, one in enumerate(candidates):
        router_.route(ask(), NOW)
        one.health.on_start(NOW + number)
        one.health.on_complete(None, NOW + number)
    with pytest.raises(RateLimited) as raised:
        router_.route(ask(), NOW + 20.5)
    assert raised.value.retry_after == 40  # the first start is a minute ago at NOW + 60
    assert names(router_.route(ask(), NOW + 60))[0] == "a"


# --- wildcards and aliases


def test_a_shortcut_comes_before_a_wildcard_and_a_whole_name_before_both() -> None:
    wild = router(candidate("a", "gpt-*"))
    assert [one.model.id for one in wild.route(ask("gpt-4o:ttft"), NOW).candidates] == ["gpt-4o"]
    assert wild.route(ask("gpt-4o:ttft"), NOW).strategy == "ttft"
    assert [one.model.id for one in wild.route(ask("gpt-4o:free"), NOW).candidates] == ["gpt-4o:free"]
    exact = router(candidate("a", "gpt-*"), candidate("b", "gpt-4o:ttft"))
    assert names(exact.route(ask("gpt-4o:ttft"), NOW)) == ["b"]


def test_names_that_clients_make_up_leave_no_route_behind() -> None:
    wild = router(candidate("a", "*"))
    first = wild.route(ask("m"), NOW)
    assert wild.route(ask("m"), NOW) is not first
    plain = router(candidate("a", "m"))
    assert plain.route(ask("m"), NOW) is plain.route(ask("m"), NOW)
