"""Who is asked first: weights, dice, budget, preference and models."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConstraintNotMet
from gateway.routing.offer import Offer
from gateway.routing.options import RoutingOptions, parse
from gateway.routing.ranking import rank
from gateway.routing.strategies import STRATEGIES

from .offers import CHEAP, COLD, OFFERS, WORDY, dice, names, ranked


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


def test_the_percentile_chooses_the_metric_that_is_compared() -> None:
    assert names(OFFERS, optimize="ttft-focus", ttft_percentile="p50")[0] == "quick"
    assert names(OFFERS, optimize="ttft-focus", ttft_percentile="p95")[0] == "wordy"
    spiky = replace(WORDY, upstream="spiky", tps_p50=300.0, tps_p95=1.0)
    assert names((WORDY, spiky), optimize="tps-focus")[0] == "spiky"
    assert names((WORDY, spiky), optimize="tps-focus", throughput_percentile="p95")[0] == "wordy"


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


def of_models(*pairs: tuple[str, str, float]) -> list[Offer]:
    return [Offer(upstream, model, usd, ttft_p50=1.0, tps_p50=10.0) for upstream, model, usd in pairs]


TWO_MODELS = of_models(("a", "first", 9.0), ("b", "first", 5.0), ("a", "second", 1.0), ("c", "second", 2.0))


def test_a_pool_takes_the_best_over_all_models() -> None:
    assert ranked(TWO_MODELS, optimize="cost-focus", mode="pool").order == (2, 3, 1, 0)
    assert ranked(TWO_MODELS, optimize="cost-focus").order == (2, 3, 1, 0)


def test_fallback_asks_every_upstream_for_the_first_model_before_the_second() -> None:
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


def test_an_upstream_that_has_not_kept_the_budget_comes_last_and_is_not_dropped() -> None:
    assert names(OFFERS, 0.95, optimize="cost-focus") == ["quick", "wordy", "cheap"]
    assert names(OFFERS, 0.01, optimize="cost-focus") == ["cheap", "quick", "wordy"]
    assert names(OFFERS, 1.0, optimize="cost-focus") == ["cheap", "quick", "wordy"]


def test_the_budget_is_held_against_the_percentile_that_was_asked_for() -> None:
    assert names(OFFERS, 1.5, optimize="cost-focus", ttft_percentile="p95")[0] == "wordy"


def test_an_unknown_ttft_counts_as_within_the_budget() -> None:
    assert names((COLD, CHEAP), 0.5, optimize="cost-focus") == ["cold", "cheap"]


def test_a_budget_ranks_in_priority_order_too() -> None:
    assert names(OFFERS, 0.95, default="priority") == ["quick", "wordy", "cheap"]


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


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "optimize": st.sampled_from(STRATEGIES.names),
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


DROPPING = {"max_cost_per_1m", "max_ttft_ms", "min_throughput_tps", "providers", "exclude_providers"}


@given(st.lists(ANY_OFFER, min_size=1, max_size=6), OPTIONS, st.none() | st.floats(0.001, 1e3), st.randoms())
def test_whatever_is_offered_and_asked_for_somebody_is_asked_once_or_the_refusal_names_a_field(
    offers: list[Offer], options: dict[str, Any], budget: float | None, random: Any
) -> None:
    try:
        ranking = rank(offers, parse(options), "balanced", random.random, budget)
    except ConstraintNotMet as error:
        field = (error.param or "").removeprefix("gateway.routing.")
        assert field in options
        return
    assert ranking.order
    assert len(set(ranking.order)) == len(ranking.order)
    assert set(ranking.order) <= set(range(len(offers)))
    if not options.keys() & {
        "max_cost_per_1m",
        "max_ttft_ms",
        "min_throughput_tps",
        "providers",
        "exclude_providers",
    }:
        assert len(ranking.order) == len(offers)


# --- shares among equals


@pytest.mark.parametrize("strategy", ["balanced", "weight"])
def test_equals_are_first_as_often_as_their_share_of_the_weights(strategy: str) -> None:
    offers = [Offer("a", "m", 1.0, weight=1.0), Offer("b", "m", 1.0, weight=3.0), Offer("c", "m", 1.0, weight=0.0)]
    drawn = random.Random(18)
    first, last = Counter[str](), Counter[str]()
    for _ in range(4000):
        order = rank(offers, parse({"optimize": strategy}), "priority", drawn.random).order
        first[offers[order[0]].upstream] += 1
        last[offers[order[-1]].upstream] += 1
    assert first["b"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert last == {"c": 4000}  # a weight of 0: only after the others


def test_a_weight_says_nothing_where_a_score_decides() -> None:
    offers = [replace(CHEAP, weight=0.001), replace(WORDY, weight=1000.0)]
    assert names(offers, optimize="cost-focus") == ["cheap", "wordy"]
    assert names(offers, optimize="weight") == ["wordy", "cheap"]
    assert names(offers, default="priority") == ["cheap", "wordy"]


@pytest.mark.parametrize("drawn", [0.0, 1.0 - 2**-53, 1.0])
def test_every_throw_of_the_dice_gives_an_order(drawn: float) -> None:
    offers = [replace(COLD, weight=weight) for weight in (0.0, 0.001, 1000.0)]
    assert sorted(rank(offers, parse({"optimize": "weight"}), "priority", lambda: drawn).order) == [0, 1, 2]
