"""The registry of strategies: what each puts first, and that a new one is one entry."""

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import pytest

from gateway.config import OPTIMIZE_ALIASES, Optimize
from gateway.errors import InvalidParameter
from gateway.routing.offer import Offer, Percentiles
from gateway.routing.options import RoutingOptions, parse
from gateway.routing.ranking import rank
from gateway.routing.strategies import STRATEGIES, Strategies, Strategy, WeightedScore

from .offers import CHEAP, COLD, OFFERS, QUICK, WORDY, dice, names, ranked


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
def test_each_strategy_puts_its_best_first_and_is_named_by_its_own_name(strategy: str, first: str) -> None:
    assert names(OFFERS, optimize=strategy)[0] == first
    assert ranked(OFFERS, optimize=strategy).strategy == STRATEGIES.find(strategy)
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
    scores = [strategy.score for strategy in STRATEGIES if isinstance(strategy.score, WeightedScore)]
    assert len(scores) == 7
    for score in scores:
        assert score.cost + score.ttft + score.throughput == pytest.approx(1.0)


def test_priority_keeps_the_order_of_the_configuration_and_throws_no_dice() -> None:
    def never() -> float:
        raise AssertionError

    for offers in (OFFERS, OFFERS[::-1]):
        ranking = rank(offers, RoutingOptions(optimize="priority"), "cost", never)
        assert (ranking.order, ranking.strategy) == ((0, 1, 2), "priority")


def test_without_an_option_the_default_decides() -> None:
    for default in STRATEGIES.names:
        assert ranked(OFFERS, default=default) == ranked(OFFERS, optimize=default)
    assert ranked(OFFERS, default="priority").order == (0, 1, 2)


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
    options = RoutingOptions(optimize=strategy)
    assert offers[rank(offers, options, "cost", dice(0.9, 0.9, 0.9, 0.1)).order[0]].upstream == "cold"
    best = offers[rank(offers, options, "cost", dice(0.1, 0.1, 0.1, 0.9)).order[0]]
    assert best in (QUICK, WORDY)


def test_a_cold_offer_is_not_preferred_where_its_known_price_decides() -> None:
    assert names((COLD, CHEAP), optimize="cost-focus") == ["cheap", "cold"]


def test_a_throughput_of_zero_is_taken_for_an_unknown_one() -> None:
    assert len(names((replace(CHEAP, tps_p50=0.0), QUICK), optimize="tps-focus")) == 2


def test_a_share_of_failures_makes_an_offer_as_much_dearer() -> None:
    failing = replace(CHEAP, upstream="failing", error_rate=0.5)
    twice = replace(CHEAP, upstream="twice", usd_per_mtok=1.7)
    assert names((failing, twice), optimize="cost-focus") == ["twice", "failing"]
    assert names((replace(failing, error_rate=0.3), twice), optimize="cost-focus") == ["failing", "twice"]


def test_an_upstream_that_always_fails_is_still_there_as_the_last_resort() -> None:
    assert names((replace(CHEAP, error_rate=1.0), WORDY), optimize="cost-focus") == ["wordy", "cheap"]


# --- the registry


def test_the_configuration_has_a_word_for_every_strategy_and_for_nothing_else() -> None:
    assert get_args(Optimize) == STRATEGIES.names
    assert STRATEGIES.aliases == OPTIMIZE_ALIASES


def test_every_strategy_is_described_in_one_sentence() -> None:
    for strategy in STRATEGIES:
        assert strategy.sentence.endswith(".")
        assert "\n" not in strategy.sentence


def test_no_word_stands_for_two_strategies() -> None:
    words = [word for strategy in STRATEGIES for word in (strategy.name, *strategy.aliases, *strategy.shortcuts)]
    assert len(set(words)) == len(words) == len(STRATEGIES.shortcuts)


@pytest.mark.parametrize("word", ["", "best", 5, None, ["ttft"], "floor"])
def test_a_word_that_names_no_strategy_is_found_out(word: object) -> None:
    assert STRATEGIES.find(word) is None


def by_name(offers: Sequence[Offer], percentiles: Percentiles) -> list[float]:
    """A strategy for tests: the upstream whose name is last in the alphabet comes first."""
    return [2.0 ** (ord("z") - ord(offer.upstream[0])) for offer in offers]


ALPHABET = Strategies(
    *STRATEGIES, Strategy("by-name", "The last in the alphabet.", by_name, aliases=("z-a",), shortcuts=("last",))
)


def test_a_new_strategy_is_one_entry() -> None:
    for word in ("by-name", "z-a"):
        options = parse({"optimize": word}, strategies=ALPHABET)
        ranking = rank(OFFERS, options, "cost", dice(), strategies=ALPHABET)
        assert (ranking.order, ranking.strategy) == ((2, 1, 0), "by-name")
    assert rank(OFFERS, parse({}), "by-name", dice(), strategies=ALPHABET).order == (2, 1, 0)
    assert rank(OFFERS, parse({"optimize": "cost-focus"}), "by-name", dice(), strategies=ALPHABET).order == (0, 1, 2)
    assert ALPHABET.shortcuts["last"] == "by-name"


def test_a_strategy_of_another_registry_cannot_be_asked_for() -> None:
    with pytest.raises(InvalidParameter, match=r"Input should be 'cost', .* or 'priority'"):
        parse({"optimize": "by-name"})
    with pytest.raises(InvalidParameter, match="'priority' or 'by-name'"):
        parse({"optimize": "by-age"}, strategies=ALPHABET)
