"""Who is asked first: the filters, the order of each strategy, and how the unknown is treated."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import OPTIMIZE_ALIASES
from gateway.errors import ConstraintNotMet, InvalidParameter
from gateway.routing.options import RoutingOptions, parse
from gateway.routing.strategies import WEIGHTS, Offer, Ranking, check_provider_names, rank

CHEAP = Offer("cheap", "m", 1.0, ttft_p50=1.0, ttft_p95=2.0, tps_p50=20.0, tps_p95=10.0)
QUICK = Offer("quick", "m", 4.0, ttft_p50=0.2, ttft_p95=6.0, tps_p50=30.0, tps_p95=5.0)
WORDY = Offer("wordy", "m", 5.0, ttft_p50=0.9, ttft_p95=1.0, tps_p50=200.0, tps_p95=50.0)
OFFERS = (CHEAP, QUICK, WORDY)


def dice(*numbers: float) -> Callable[[], float]:
    """These numbers, then nothing but a half."""
    rest = list(numbers)
    return lambda: rest.pop(0) if rest else 0.5


def ranked(offers: Sequence[Offer], budget: float | None = None, default: str = "balanced", **given: Any) -> Ranking:
    return rank(offers, parse(given), default, dice(), budget)


def names(offers: Sequence[Offer], budget: float | None = None, default: str = "balanced", **given: Any) -> list[str]:
    return [offers[position].upstream for position in ranked(offers, budget, default, **given).order]


def refused(offers: Sequence[Offer], **given: Any) -> ConstraintNotMet:
    with pytest.raises(ConstraintNotMet) as told:
        ranked(offers, **given)
    assert told.value.status == 400
    return told.value


# --- strategies


@pytest.mark.parametrize(
    ("strategy", "first"),
    [
        ("cost", "cheap"),
        ("cost-focus", "cheap"),
        ("ttft", "quick"),
        ("ttft-focus", "quick"),
        ("tps", "wordy"),
        ("tps-focus", "wordy"),
        ("speed", "quick"),
        ("cheapest", "cheap"),
        ("throughput", "wordy"),
    ],
)
def test_each_strategy_puts_its_best_first_and_is_told_by_its_own_name(strategy: str, first: str) -> None:
    assert names(OFFERS, optimize=strategy)[0] == first
    assert ranked(OFFERS, optimize=strategy).strategy == OPTIMIZE_ALIASES.get(strategy, strategy)
    assert names(OFFERS[::-1], optimize=strategy)[0] == first


@pytest.mark.parametrize(
    ("strategy", "order"),
    [
        ("cost-focus", ["cheap", "quick", "wordy"]),
        ("ttft-focus", ["quick", "wordy", "cheap"]),
        ("tps-focus", ["wordy", "quick", "cheap"]),
    ],
)
def test_a_focus_orders_by_one_thing_alone(strategy: str, order: list[str]) -> None:
    assert names(OFFERS, optimize=strategy) == order


def test_a_plain_strategy_looks_at_the_others_too() -> None:
    dear_and_bad = replace(CHEAP, upstream="bad", usd_per_mtok=0.8, ttft_p50=30.0, tps_p50=0.5)
    assert names((dear_and_bad, CHEAP), optimize="cost") == ["cheap", "bad"]
    assert names((dear_and_bad, CHEAP), optimize="cost-focus") == ["bad", "cheap"]


def test_balanced_prefers_the_good_in_everything_to_the_best_in_one() -> None:
    good = Offer("good", "m", 1.3, ttft_p50=0.3, tps_p50=150.0)
    assert names((*OFFERS, good), optimize="balanced")[0] == "good"


def test_the_shares_of_every_strategy_sum_to_one() -> None:
    for weights in WEIGHTS.values():
        assert sum(weights) == pytest.approx(1.0)


def test_priority_keeps_the_order_of_the_configuration_and_throws_no_dice() -> None:
    def never() -> float:
        raise AssertionError

    for offers in (OFFERS, OFFERS[::-1]):
        ranking = rank(offers, RoutingOptions(optimize="priority"), "cost", never)
        assert (ranking.order, ranking.strategy) == ((0, 1, 2), "priority")


def test_without_a_wish_the_default_decides() -> None:
    for default in WEIGHTS:
        assert ranked(OFFERS, default=default) == ranked(OFFERS, optimize=default)
    assert ranked(OFFERS, default="priority").order == (0, 1, 2)


# --- weights


@pytest.mark.parametrize(
    ("weights", "first"),
    [
        ({"cost": 1}, "cheap"),
        ({"ttft": 3}, "quick"),
        ({"throughput": 0.01}, "wordy"),
        ({"cost": 5e-324}, "cheap"),
        ({"cost": 2**64, "ttft": 0.5}, "cheap"),
        ({"cost": 1e308, "ttft": 1e308, "throughput": 1e300}, "quick"),
    ],
)
def test_weights_decide_whatever_their_scale_and_are_told_as_custom(weights: dict[str, float], first: str) -> None:
    assert names(OFFERS, weights=weights)[0] == first
    assert ranked(OFFERS, weights=weights).strategy == "custom"


def test_weights_win_over_a_strategy_and_over_the_default() -> None:
    assert names(OFFERS, weights={"ttft": 1}, optimize="cost-focus", default="priority")[0] == "quick"


@given(
    st.tuples(*[st.floats(0.01, 100.0)] * 3),
    st.floats(1e-3, 1e3),
    st.lists(st.tuples(*[st.floats(0.1, 100.0)] * 3), min_size=1, max_size=5),
)
def test_only_the_ratio_of_weights_matters(
    weights: tuple[float, ...], factor: float, values: list[tuple[float, ...]]
) -> None:
    offers = [Offer(str(at), "m", usd, ttft_p50=ttft, tps_p50=tps) for at, (usd, ttft, tps) in enumerate(values)]
    as_given = dict(zip(("cost", "ttft", "throughput"), weights, strict=True))
    scaled = {name: weight * factor for name, weight in as_given.items()}
    assert set(ranked(offers, weights=as_given).order) == set(ranked(offers, weights=scaled).order)


# --- percentiles


def test_the_percentile_chooses_the_metric_that_is_compared() -> None:
    assert names(OFFERS, optimize="ttft-focus", ttft_percentile="p50")[0] == "quick"
    assert names(OFFERS, optimize="ttft-focus", ttft_percentile="p95")[0] == "wordy"
    spiky = replace(WORDY, upstream="spiky", tps_p50=300.0, tps_p95=1.0)
    assert names((WORDY, spiky), optimize="tps-focus")[0] == "spiky"
    assert names((WORDY, spiky), optimize="tps-focus", throughput_percentile="p95")[0] == "wordy"


def test_the_percentile_chooses_the_metric_that_is_filtered() -> None:
    assert names(OFFERS, max_ttft_ms=500) == ["quick"]
    assert set(names(OFFERS, max_ttft_ms=2000, ttft_percentile="p95")) == {"cheap", "wordy"}
    assert set(names(OFFERS, min_throughput_tps=25)) == {"quick", "wordy"}
    assert names(OFFERS, min_throughput_tps=25, throughput_percentile="p95") == ["wordy"]


# --- filters


def test_a_filter_keeps_what_is_exactly_at_its_limit() -> None:
    assert names([CHEAP], max_cost_per_1m=1.0, max_ttft_ms=1000, min_throughput_tps=20.0) == ["cheap"]


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({"providers": ["other"]}, "provider_not_in_allowlist", "providers"),
        ({"exclude_providers": ["cheap", "quick", "wordy"]}, "provider_blocked", "exclude_providers"),
        ({"max_cost_per_1m": 0.99}, "cost_constraint_exceeded", "max_cost_per_1m"),
        ({"max_ttft_ms": 199}, "latency_constraint_exceeded", "max_ttft_ms"),
        ({"min_throughput_tps": 200.1}, "throughput_constraint_not_met", "min_throughput_tps"),
        ({"providers": ["cheap"], "exclude_providers": ["cheap"]}, "provider_blocked", "exclude_providers"),
        ({"providers": ["cheap"], "max_ttft_ms": 500}, "latency_constraint_exceeded", "max_ttft_ms"),
    ],
)
def test_a_filter_that_leaves_nobody_is_told_by_code_and_field(given: dict[str, Any], code: str, field: str) -> None:
    error = refused(OFFERS, **given)
    assert (error.code, error.param) == (code, f"gateway.routing.{field}")
    assert error.message.startswith(f"{field}: ")


def test_a_filter_drops_whom_it_excludes_and_only_those() -> None:
    assert set(names(OFFERS, providers=["cheap", "wordy", "other"])) == {"cheap", "wordy"}
    assert set(names(OFFERS, exclude_providers=["cheap", "other"])) == {"quick", "wordy"}
    assert set(names(OFFERS, max_cost_per_1m=4)) == {"cheap", "quick"}


def test_without_offers_there_is_nothing_to_rank_and_no_filter_objects() -> None:
    assert ranked((), max_ttft_ms=1, providers=["x"]).order == ()


# --- what is not known


COLD = Offer("cold", "m", 4.5)


def test_an_unknown_speed_passes_the_filters() -> None:
    assert set(names((COLD, QUICK), max_ttft_ms=500, min_throughput_tps=25)) == {"cold", "quick"}


def test_an_unknown_price_does_not_pass_a_filter_for_the_price() -> None:
    unpriced = replace(QUICK, upstream="unpriced", usd_per_mtok=None)
    assert names((unpriced, CHEAP), max_cost_per_1m=100) == ["cheap"]
    assert refused((unpriced,), max_cost_per_1m=100).code == "cost_constraint_exceeded"


def test_an_unknown_price_counts_as_the_dearest() -> None:
    unpriced = replace(CHEAP, upstream="unpriced", usd_per_mtok=None)
    assert names((unpriced, CHEAP, WORDY), optimize="cost-focus")[0] == "cheap"
    both = {names((unpriced, WORDY), optimize="cost-focus")[0], names((WORDY, unpriced), optimize="cost-focus")[0]}
    assert both == {"unpriced", "wordy"}  # equal, so their place decides


def test_a_free_offer_is_the_cheapest_and_does_not_make_the_others_equal() -> None:
    free = replace(QUICK, upstream="free", usd_per_mtok=0.0)
    assert names((WORDY, CHEAP, free), optimize="cost-focus") == ["free", "cheap", "wordy"]


def test_when_all_are_free_the_price_decides_nothing() -> None:
    offers = [replace(offer, usd_per_mtok=0.0) for offer in OFFERS]
    assert names(offers, optimize="cost")[0] in ("quick", "wordy")


@pytest.mark.parametrize("strategy", ["ttft-focus", "tps-focus"])
def test_a_cold_offer_is_explored_as_an_equal_of_the_best(strategy: str) -> None:
    offers = (CHEAP, QUICK, WORDY, COLD)
    options = RoutingOptions(optimize=strategy)  # type: ignore[arg-type]
    assert offers[rank(offers, options, "cost", dice(0.9, 0.9, 0.9, 0.1)).order[0]].upstream == "cold"
    best = offers[rank(offers, options, "cost", dice(0.1, 0.1, 0.1, 0.9)).order[0]]
    assert best in (QUICK, WORDY)


def test_a_cold_offer_is_not_preferred_where_its_known_price_decides() -> None:
    assert names((COLD, CHEAP), optimize="cost-focus") == ["cheap", "cold"]


def test_a_throughput_of_zero_is_taken_for_an_unknown_one() -> None:
    assert len(names((replace(CHEAP, tps_p50=0.0), QUICK), optimize="tps-focus")) == 2


# --- ties, and failures


def test_equal_offers_are_ordered_by_the_dice() -> None:
    offers = [replace(CHEAP, upstream=name) for name in "abc"]
    options = RoutingOptions(optimize="balanced")
    assert rank(offers, options, "cost", dice(0.3, 0.1, 0.2)).order == (1, 2, 0)
    assert rank(offers, options, "cost", dice(0.1, 0.2, 0.3)).order == (0, 1, 2)


def test_a_difference_below_a_step_is_noise_and_one_of_two_steps_is_not() -> None:
    close, far = replace(CHEAP, upstream="close", usd_per_mtok=1.04), replace(CHEAP, usd_per_mtok=1.2)
    options = RoutingOptions(optimize="cost-focus")
    assert rank((CHEAP, close), options, "cost", dice(0.9, 0.1)).order == (1, 0)
    assert rank((CHEAP, far), options, "cost", dice(0.9, 0.1)).order == (0, 1)


def test_the_dice_give_equal_offers_equal_loads() -> None:
    offers = [replace(CHEAP, upstream=name) for name in "abc"]
    firsts = [rank(offers, RoutingOptions(), "cost", dice(*thrown)).order[0] for thrown in ((0, 1, 2), (2, 0, 1))]
    assert firsts == [0, 1]


def test_a_share_of_failures_makes_an_offer_as_much_dearer() -> None:
    failing = replace(CHEAP, upstream="failing", error_rate=0.5)
    twice = replace(CHEAP, upstream="twice", usd_per_mtok=1.7)
    assert names((failing, twice), optimize="cost-focus") == ["twice", "failing"]
    assert names((replace(failing, error_rate=0.3), twice), optimize="cost-focus") == ["failing", "twice"]


def test_one_that_always_fails_is_still_there_as_the_last_resort() -> None:
    assert names((replace(CHEAP, error_rate=1.0), WORDY), optimize="cost-focus") == ["wordy", "cheap"]


# --- models, preference and budget


def of_models(*pairs: tuple[str, str, float]) -> list[Offer]:
    return [Offer(upstream, model, usd, ttft_p50=1.0, tps_p50=10.0) for upstream, model, usd in pairs]


TWO_MODELS = of_models(("a", "first", 9.0), ("b", "first", 5.0), ("a", "second", 1.0), ("c", "second", 2.0))


def test_a_pool_takes_the_best_over_all_models() -> None:
    assert ranked(TWO_MODELS, optimize="cost-focus", mode="pool").order == (2, 3, 1, 0)
    assert ranked(TWO_MODELS, optimize="cost-focus").order == (2, 3, 1, 0)


def test_fallback_asks_everybody_for_the_first_model_before_the_second() -> None:
    assert ranked(TWO_MODELS, optimize="cost-focus", mode="fallback").order == (1, 0, 2, 3)


def test_fallback_goes_on_with_the_second_model_if_nobody_is_left_of_the_first() -> None:
    assert ranked(TWO_MODELS, optimize="cost-focus", mode="fallback", max_cost_per_1m=2).order == (2, 3)


def test_the_preferred_comes_first_and_the_others_stay_in_their_order() -> None:
    assert names(OFFERS, optimize="cost-focus", prefer="wordy") == ["wordy", "cheap", "quick"]


def test_a_preference_does_not_reverse_the_order_of_the_models() -> None:
    assert ranked(TWO_MODELS, optimize="cost-focus", mode="fallback", prefer="a").order == (0, 1, 2, 3)
    assert ranked(TWO_MODELS, optimize="cost-focus", mode="fallback", prefer="c").order == (1, 0, 3, 2)


def test_a_preference_that_cannot_be_met_is_told_and_does_no_harm() -> None:
    ranking = ranked(OFFERS, optimize="cost-focus", prefer="x" * 500)
    assert ranking.order == (0, 1, 2)
    (warning,) = ranking.warnings
    assert (warning["type"], warning["code"]) == ("unknown_provider", "prefer_ignored")
    assert len(warning["message"]) < 200
    assert ranked(OFFERS, prefer="wordy").warnings == ()


def test_a_preferred_provider_that_a_filter_drops_is_not_asked() -> None:
    assert names(OFFERS, prefer="wordy", max_cost_per_1m=4, optimize="cost-focus") == ["cheap", "quick"]


def test_who_has_not_kept_the_budget_comes_last_and_is_not_dropped() -> None:
    assert names(OFFERS, 0.95, optimize="cost-focus") == ["quick", "wordy", "cheap"]
    assert names(OFFERS, 0.01, optimize="cost-focus") == ["cheap", "quick", "wordy"]
    assert names(OFFERS, 1.0, optimize="cost-focus") == ["cheap", "quick", "wordy"]


def test_the_budget_is_held_against_the_percentile_that_was_asked_for() -> None:
    assert names(OFFERS, 1.5, optimize="cost-focus", ttft_percentile="p95")[0] == "wordy"


def test_an_unknown_ttft_counts_as_within_the_budget() -> None:
    assert names((COLD, CHEAP), 0.5, optimize="cost-focus") == ["cold", "cheap"]


def test_a_budget_ranks_in_priority_order_too() -> None:
    assert names(OFFERS, 0.95, default="priority") == ["quick", "wordy", "cheap"]


# --- names


@pytest.mark.parametrize("field", ["providers", "exclude_providers"])
def test_a_provider_that_is_not_configured_is_a_slip_of_the_pen(field: str) -> None:
    with pytest.raises(InvalidParameter) as told:
        check_provider_names(parse({field: ["alpha", "alhpa"]}), ["alpha", "beta"])
    assert told.value.param == f"gateway.routing.{field}"
    assert told.value.message == "there is no provider 'alhpa'; known providers: alpha, beta"
    check_provider_names(parse({field: ["alpha", "beta"]}), ["alpha", "beta"])


# --- whatever is offered

KNOWN = st.none() | st.just(0.0) | st.floats(1e-6, 1e6)
ANY_OFFER = st.builds(
    Offer,
    st.sampled_from("abc"),
    st.sampled_from(["m", "n"]),
    KNOWN,
    ttft_p50=KNOWN,
    ttft_p95=KNOWN,
    tps_p50=KNOWN,
    tps_p95=KNOWN,
    error_rate=st.floats(0.0, 1.0),
)
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "optimize": st.sampled_from([*WEIGHTS, "priority"]),
        "weights": st.fixed_dictionaries({"cost": st.floats(0.0, 1e308), "ttft": st.floats(1e-300, 1e308)}),
        "max_cost_per_1m": st.floats(0.1, 1e6),
        "max_ttft_ms": st.integers(1, 86_400_000),
        "min_throughput_tps": st.floats(0.1, 1e6),
        "ttft_percentile": st.sampled_from(["p50", "p95"]),
        "throughput_percentile": st.sampled_from(["p50", "p95"]),
        "providers": st.lists(st.sampled_from("abc"), min_size=1),
        "exclude_providers": st.lists(st.sampled_from("abc")),
        "prefer": st.sampled_from("abcd"),
        "mode": st.sampled_from(["pool", "fallback"]),
    },
)


@given(st.lists(ANY_OFFER, min_size=1, max_size=6), WISHES, st.none() | st.floats(0.001, 1e3), st.randoms())
def test_whatever_is_offered_and_wished_somebody_is_asked_once_or_the_refusal_names_a_field(
    offers: list[Offer], wishes: dict[str, Any], budget: float | None, random: Any
) -> None:
    try:
        ranking = rank(offers, parse(wishes), "balanced", random.random, budget)
    except ConstraintNotMet as error:
        field = (error.param or "").removeprefix("gateway.routing.")
        assert field in wishes
        return
    assert ranking.order
    assert len(set(ranking.order)) == len(ranking.order)
    assert set(ranking.order) <= set(range(len(offers)))
    if not wishes.keys() & {"max_cost_per_1m", "max_ttft_ms", "min_throughput_tps", "providers", "exclude_providers"}:
        assert len(ranking.order) == len(offers)
