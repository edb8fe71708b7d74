"""Pure: who is asked first. Filters drop offers, a strategy orders the rest.

In: offers (what an upstream costs and how it has done lately), options, dice. Out: the order, and the name of what
decided. An offer of which little is known is taken at the best value of the others, so that it is tried soon; offers
within a step of a tenth are equal, and the dice spread the load over them.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gateway.errors import ConstraintNotMet, InvalidParameter
from gateway.routing.options import RoutingOptions, Warning_, warning

EQUAL_WITHIN = 1.1  # scores of one such step are equal: differences below it are noise

# Shares of cost, TTFT and throughput. A plain strategy still looks at the others, a `-focus` one does not.
WEIGHTS = {
    "cost": (0.7, 0.15, 0.15),
    "cost-focus": (1.0, 0.0, 0.0),
    "ttft": (0.15, 0.7, 0.15),
    "ttft-focus": (0.0, 1.0, 0.0),
    "tps": (0.15, 0.15, 0.7),
    "tps-focus": (0.0, 0.0, 1.0),
    "balanced": (1 / 3, 1 / 3, 1 / 3),
}
IN_ORDER = "priority"  # as configured


@dataclass(frozen=True, slots=True)
class Offer:
    """One upstream for one model. Dollars per million tokens, seconds, tokens a second; None: not known."""

    upstream: str
    model_id: str
    usd_per_mtok: float | None  # the mean of input and output
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    tps_p50: float | None = None
    tps_p95: float | None = None
    error_rate: float = 0.0

    def ttft(self, percentile: str) -> float | None:
        return self.ttft_p95 if percentile == "p95" else self.ttft_p50

    def tps(self, percentile: str) -> float | None:
        return self.tps_p95 if percentile == "p95" else self.tps_p50


@dataclass(frozen=True, slots=True)
class Ranking:
    """The offers that may be asked, by position, first choice first; and what decided."""

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
) -> Ranking:
    """Filter and order. Raises `ConstraintNotMet`, which names the option below `field`, when nobody is left.

    `budget`: seconds to the first token; who has not kept it lately comes after those who have.
    """
    told = tuple(_check_names(offers, options))
    left = _filter(offers, options, field)
    strategy, weights = _strategy(options, default)
    if strategy == IN_ORDER:
        order = left
    else:
        scores = _scores([offers[position] for position in left], weights, options)
        steps = [round(math.log(max(score, 1e-9)) / math.log(EQUAL_WITHIN)) for score in scores]
        keyed = sorted(zip(steps, [dice() for _ in left], left, strict=True))
        order = [position for _, _, position in keyed]
    if budget is not None:
        order.sort(key=lambda position: (offers[position].ttft(options.ttft_percentile) or 0.0) > budget)
    if options.prefer is not None:
        order.sort(key=lambda position: offers[position].upstream != options.prefer)
    if options.mode == "fallback":
        models = list(dict.fromkeys(offer.model_id for offer in offers))
        order.sort(key=lambda position: models.index(offers[position].model_id))
    return Ranking(tuple(order), strategy, told)


def _check_names(offers: Sequence[Offer], options: RoutingOptions) -> list[Warning_]:
    known = {offer.upstream for offer in offers}
    if options.prefer is not None and options.prefer not in known:
        message = f"prefer: {options.prefer[:60]!r} does not serve this model"
        return [warning("unknown_provider", "prefer_ignored", message)]
    return []


def _filter(offers: Sequence[Offer], options: RoutingOptions, field: str) -> list[int]:
    """The positions that every filter leaves. What is not known yet passes, but for a price."""
    left = list(range(len(offers)))

    def keep(passes: Callable[[Offer], bool], code: str, message: str) -> None:
        nonlocal left
        kept = [position for position in left if passes(offers[position])]
        if left and not kept:
            raise ConstraintNotMet(message, code=code, param=f"{field}.{message.partition(':')[0]}")
        left = kept

    if (listed := options.providers) is not None:
        message = "providers: none of them serves this model"
        keep(lambda offer: offer.upstream in listed, "provider_not_in_allowlist", message)
    keep(
        lambda offer: offer.upstream not in options.exclude_providers,
        "provider_blocked",
        "exclude_providers: leaves no upstream of this model",
    )
    if (most := options.max_cost_per_1m) is not None:
        keep(
            lambda offer: _at_most(offer.usd_per_mtok, most, unknown=False),
            "cost_constraint_exceeded",
            f"max_cost_per_1m: no upstream of this model costs at most {most:g}",
        )
    if (slowest := options.max_ttft_ms) is not None:
        keep(
            lambda offer: _at_most(offer.ttft(options.ttft_percentile), slowest / 1000, unknown=True),
            "latency_constraint_exceeded",
            f"max_ttft_ms: no upstream of this model has lately been within {slowest} ms",
        )
    if (least := options.min_throughput_tps) is not None:
        keep(
            lambda offer: _at_least(offer.tps(options.throughput_percentile), least),
            "throughput_constraint_not_met",
            f"min_throughput_tps: no upstream of this model has lately reached {least:g}",
        )
    return left


def _at_most(value: float | None, limit: float, *, unknown: bool) -> bool:
    return unknown if value is None else value <= limit


def _at_least(value: float | None, limit: float) -> bool:
    return value is None or value >= limit


def _strategy(options: RoutingOptions, default: str) -> tuple[str, tuple[float, float, float]]:
    if options.weights is not None:
        weights = options.weights
        most = max(weights.cost, weights.ttft, weights.throughput)  # by it first: the sum may be beyond a float
        cost, ttft, throughput = weights.cost / most, weights.ttft / most, weights.throughput / most
        total = cost + ttft + throughput
        return "custom", (cost / total, ttft / total, throughput / total)
    name = options.optimize or default
    return name, WEIGHTS.get(name, (0.0, 0.0, 0.0))


def _scores(offers: Sequence[Offer], weights: tuple[float, float, float], options: RoutingOptions) -> list[float]:
    """The lower the better; 1.0 is the best in everything. A share of failures makes an offer as much dearer."""
    cost = _relative([offer.usd_per_mtok for offer in offers], unknown_is_best=False)
    ttft = _relative([offer.ttft(options.ttft_percentile) for offer in offers])
    slowness = _relative(
        [None if not (tps := offer.tps(options.throughput_percentile)) else 1 / tps for offer in offers]
    )
    return [
        sum(weight * value for weight, value in zip(weights, values, strict=True)) / max(1.0 - offer.error_rate, 0.01)
        for offer, *values in zip(offers, cost, ttft, slowness, strict=True)
    ]


def _relative(values: Sequence[float | None], *, unknown_is_best: bool = True) -> list[float]:
    """Each as a multiple of the best above zero; the unknown as the best, or, for a price, as the worst."""
    best = min((value for value in values if value), default=1.0)
    unknown = best if unknown_is_best else max((value for value in values if value), default=best)
    return [max(unknown if value is None else value, best * 1e-3) / best for value in values]


def check_provider_names(options: RoutingOptions, known: Sequence[str], field: str = "gateway.routing") -> None:
    """Raises `InvalidParameter` for a provider that is not configured at all: most likely a slip of the pen."""
    for option, names in (("providers", options.providers or ()), ("exclude_providers", options.exclude_providers)):
        for name in names:
            if name not in known:
                message = f"there is no provider {name[:60]!r}; known providers: {', '.join(known)[:200]}"
                raise InvalidParameter(message, param=f"{field}.{option}")
