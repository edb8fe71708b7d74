"""Pure: the ranking of offers: filters drop some, a strategy orders the rest.

In: offers (what an upstream costs and how it has done lately), options, dice. Out: the order, and the name of the
strategy that decided. An offer whose speed is not known counts as fast as the fastest, so that it is tried soon.
Offers whose scores differ by less than a tenth are equal: the dice spread the load over them, by their weights.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.routing.filters import filter_offers
from gateway.routing.offer import Offer, Percentiles
from gateway.routing.options import RoutingOptions, Warning_, Weights, warning
from gateway.routing.strategies import STRATEGIES, Score, Strategies, WeightedScore

EQUAL_WITHIN = 1.1  # scores are sorted in steps of this ratio: smaller differences are noise
LEAST_SCORE = 1e-9  # stands for a score of 0, which has no logarithm
CUSTOM = "custom"  # the strategy's name when weights of the request decide


@dataclass(frozen=True, slots=True)
class Ranking:
    """The positions of the offers that may be asked, first choice first, and the strategy that decided."""

    order: tuple[int, ...]
    strategy: str
    warnings: tuple[Warning_, ...] = ()


def rank(
    offers: Sequence[Offer],
    options: RoutingOptions,
    default: str,
    dice: Callable[[], float],
    budget: float | None = None,
    field: str = "gateway.routing",
    strategies: Strategies = STRATEGIES,
) -> Ranking:
    """Filter and order the offers.

    `budget`: seconds to the first token; an upstream that was slower lately comes after all that were not. Raises
    `ConstraintNotMet`, which names the option below `field`, if no offer is left.
    """
    warnings = tuple(_check_preference(offers, options))
    left = filter_offers(offers, options, field)
    name, score = _decide(options, default, strategies)
    order = left
    if score is not None:
        percentiles = Percentiles(options.ttft_percentile, options.throughput_percentile)
        order = _order(left, score([offers[position] for position in left], percentiles), offers, dice)
    _promote(order, offers, options, budget)
    return Ranking(tuple(order), name, warnings)


def _decide(options: RoutingOptions, default: str, strategies: Strategies) -> tuple[str, Score | None]:
    """The name and the score of what decides: the request's weights, its strategy, or the default strategy."""
    if options.weights is not None:
        return CUSTOM, _weighted(options.weights)
    strategy = strategies[options.optimize or default]
    return strategy.name, strategy.score


def _weighted(weights: Weights) -> WeightedScore:
    """Weights of any size as shares that sum to one."""
    most = max(weights.cost, weights.ttft, weights.throughput)  # divided by it first: their sum may overflow a float
    cost, ttft, throughput = weights.cost / most, weights.ttft / most, weights.throughput / most
    total = cost + ttft + throughput
    return WeightedScore(cost / total, ttft / total, throughput / total)


def _order(
    positions: list[int], scores: list[float], offers: Sequence[Offer], dice: Callable[[], float]
) -> list[int]:
    """The positions in the order of their scores; the dice order offers whose scores fall into one step."""
    steps = [round(math.log(max(score, LEAST_SCORE)) / math.log(EQUAL_WITHIN)) for score in scores]
    turns = [_turn(offers[position].weight, dice()) for position in positions]
    keys = sorted(zip(steps, turns, positions, strict=True))
    return [position for _, _, position in keys]


def _turn(weight: float, drawn: float) -> float:
    """When an offer has its turn: the lowest is first, and is so as often as its share of all weights.

    The turns are times until the first event of a Poisson process whose rate is the weight.
    """
    return -math.log(max(1.0 - drawn, LEAST_SCORE)) / weight if weight else math.inf


def _promote(order: list[int], offers: Sequence[Offer], options: RoutingOptions, budget: float | None) -> None:
    """Sort `order` by three rules, the last of which weighs most.

    The rules are: upstreams that keep the budget come first; the preferred upstream comes first; in the mode
    `fallback`, the models come in the order of the request.
    """
    if budget is not None:
        order.sort(key=lambda position: (offers[position].ttft(options.ttft_percentile) or 0.0) > budget)
    if options.prefer is not None:
        order.sort(key=lambda position: offers[position].upstream != options.prefer)
    if options.mode == "fallback":
        models = list(dict.fromkeys(offer.model_id for offer in offers))
        order.sort(key=lambda position: models.index(offers[position].model_id))


def _check_preference(offers: Sequence[Offer], options: RoutingOptions) -> list[Warning_]:
    """A warning if the upstream that is preferred is not among the offers."""
    if options.prefer is None or options.prefer in {offer.upstream for offer in offers}:
        return []
    message = f"prefer: {options.prefer[:60]!r} does not serve this model"
    return [warning("unknown_provider", "prefer_ignored", message)]
