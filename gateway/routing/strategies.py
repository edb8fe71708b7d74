"""Pure: the registry of strategies, which put the upstreams that could answer a request in order.

In: offers, and which percentiles to compare. Out: a score for each offer. A new strategy is one entry of
`STRATEGIES`, and its word in the configuration's `Optimize` (a test compares the two).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.routing.offer import Offer, Percentiles

Score = Callable[[Sequence[Offer], Percentiles], list[float]]
"""The scores of these offers, in their order: above 0, the lower the better."""

_LEAST_RELIABLE = 0.01  # an offer that always fails has a hundred times its score, not an infinite one
_LEAST_RATIO = 1e-3  # a value counts at least this share of the best: a price of 0 is not infinitely better


@dataclass(frozen=True, slots=True)
class WeightedScore:
    """A `Score`: the sum of cost, TTFT and throughput by these shares, each as a multiple of the best offer's value.

    An offer that is the best in everything scores 1.0. The sum is divided by the share of answers that did not fail.
    """

    cost: float
    ttft: float
    throughput: float

    def __call__(self, offers: Sequence[Offer], percentiles: Percentiles) -> list[float]:
        costs = _relative([offer.usd_per_mtok for offer in offers], unknown_is_best=False)
        ttfts = _relative([offer.ttft(percentiles.ttft) for offer in offers])
        slownesses = _relative([_slowness(offer.tps(percentiles.throughput)) for offer in offers])
        return [
            (self.cost * cost + self.ttft * ttft + self.throughput * slowness)
            / max(1.0 - offer.error_rate, _LEAST_RELIABLE)
            for offer, cost, ttft, slowness in zip(offers, costs, ttfts, slownesses, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Strategy:
    """One way to put offers in order. Without a `score` they stay in the order of the configuration.

    `sentence` describes the strategy in documents. `aliases` are its older names; `shortcuts` are further words that
    may stand behind a model's id.
    """

    name: str
    sentence: str
    score: Score | None
    aliases: tuple[str, ...] = ()
    shortcuts: tuple[str, ...] = ()


class Strategies:
    """A registry: the strategies by their names, and the words that stand for them."""

    def __init__(self, *strategies: Strategy) -> None:
        self._by_name = {strategy.name: strategy for strategy in strategies}
        self.aliases: Mapping[str, str] = {
            alias: strategy.name for strategy in strategies for alias in strategy.aliases
        }
        self.shortcuts: Mapping[str, str] = {
            word: strategy.name
            for strategy in strategies
            for word in (strategy.name, *strategy.aliases, *strategy.shortcuts)
        }

    def __iter__(self) -> Iterator[Strategy]:
        return iter(self._by_name.values())

    def __getitem__(self, name: str) -> Strategy:
        return self._by_name[name]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def find(self, word: object) -> str | None:
        """The name of the strategy that a name or an alias stands for; None for any other value."""
        name = self.aliases.get(word, word) if isinstance(word, str) else None
        return name if name in self._by_name else None


# The strategies `cost`, `ttft` and `tps` let the other two values count a little; their `-focus` variants do not.
STRATEGIES = Strategies(
    Strategy(
        "cost",
        "The cheapest first; TTFT and throughput count a little.",
        WeightedScore(0.7, 0.15, 0.15),
        aliases=("cheapest",),
        shortcuts=("floor",),
    ),
    Strategy("cost-focus", "The cheapest first; nothing else counts.", WeightedScore(1.0, 0.0, 0.0)),
    Strategy(
        "ttft",
        "The shortest time to the first token first; cost and throughput count a little.",
        WeightedScore(0.15, 0.7, 0.15),
        aliases=("speed",),
        shortcuts=("fast",),
    ),
    Strategy(
        "ttft-focus",
        "The shortest time to the first token first; nothing else counts.",
        WeightedScore(0.0, 1.0, 0.0),
    ),
    Strategy(
        "tps",
        "The most tokens a second first; cost and TTFT count a little.",
        WeightedScore(0.15, 0.15, 0.7),
        aliases=("throughput",),
        shortcuts=("nitro",),
    ),
    Strategy("tps-focus", "The most tokens a second first; nothing else counts.", WeightedScore(0.0, 0.0, 1.0)),
    Strategy("balanced", "Cost, TTFT and throughput count alike.", WeightedScore(1 / 3, 1 / 3, 1 / 3)),
    Strategy(
        "weight",
        "By chance, each as often as its `weight` says; nothing else counts.",
        lambda offers, _: [1.0] * len(offers),
    ),
    Strategy("priority", "The order of the configuration.", None),
)


def _slowness(tps: float | None) -> float | None:
    """Seconds a token; None if that is not known, and for a throughput of zero, which nothing can have."""
    return 1 / tps if tps else None


def _relative(values: Sequence[float | None], *, unknown_is_best: bool = True) -> list[float]:
    """Each value as a multiple of the best value above zero. An unknown value counts as the best, or as the worst."""
    best = min((value for value in values if value), default=1.0)
    unknown = best if unknown_is_best else max((value for value in values if value), default=best)
    return [max(unknown if value is None else value, best * _LEAST_RATIO) / best for value in values]
