"""Pure: the filters of offers: they decide which upstreams a request may be sent to at all.

In: offers and options. Out: the positions of the offers that pass, or the error that names the option at fault. An
offer whose speed is not known yet passes; an offer whose price is not known does not pass a limit of the cost.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gateway.errors import ConstraintNotMet, InvalidParameter
from gateway.routing.offer import Offer
from gateway.routing.options import RoutingOptions

_MAX_QUOTED_NAME = 60  # characters of a client's word that an error message repeats
_MAX_KNOWN_NAMES = 200  # characters of the list of known providers in an error message


class Filter(NamedTuple):
    """One option that drops offers; `code` and `message` are for the client if it drops all of them."""

    option: str
    passes: Callable[[Offer], bool]
    code: str
    message: str


def filter_offers(offers: Sequence[Offer], options: RoutingOptions, field: str = "gateway.routing") -> list[int]:
    """The positions of the offers that pass every filter.

    Raises `ConstraintNotMet`, which names the option below `field`, if a filter drops all that were left.
    """
    left = list(range(len(offers)))
    for filter_ in _filters(options):
        kept = [position for position in left if filter_.passes(offers[position])]
        if left and not kept:
            message = f"{filter_.option}: {filter_.message}"
            raise ConstraintNotMet(message, code=filter_.code, param=f"{field}.{filter_.option}")
        left = kept
    return left


def check_provider_names(options: RoutingOptions, known: Sequence[str], field: str = "gateway.routing") -> None:
    """Refuse a provider that is not configured at all, most likely a typing error. Raises `InvalidParameter`."""
    for option, names in (("providers", options.providers or ()), ("exclude_providers", options.exclude_providers)):
        for name in names:
            if name not in known:
                there_are = ", ".join(known)[:_MAX_KNOWN_NAMES]
                message = f"there is no provider {name[:_MAX_QUOTED_NAME]!r}; known providers: {there_are}"
                raise InvalidParameter(message, param=f"{field}.{option}")


def _filters(options: RoutingOptions) -> Iterator[Filter]:
    """The filters that these options ask for."""
    if (listed := options.providers) is not None:
        yield Filter(
            "providers",
            lambda offer: offer.upstream in listed,
            "provider_not_in_allowlist",
            "none of them serves this model",
        )
    if excluded := options.exclude_providers:
        yield Filter(
            "exclude_providers",
            lambda offer: offer.upstream not in excluded,
            "provider_blocked",
            "leaves no upstream of this model",
        )
    if (most := options.max_cost_per_1m) is not None:
        yield Filter(
            "max_cost_per_1m",
            lambda offer: offer.usd_per_mtok is not None and offer.usd_per_mtok <= most,
            "cost_constraint_exceeded",
            f"no upstream of this model costs at most {most:g}",
        )
    if (slowest := options.max_ttft_ms) is not None:
        yield Filter(
            "max_ttft_ms",
            lambda offer: (offer.ttft(options.ttft_percentile) or 0.0) <= slowest / 1000,
            "latency_constraint_exceeded",
            f"no upstream of this model has lately been within {slowest} ms",
        )
    if (least := options.min_throughput_tps) is not None:
        yield Filter(
            "min_throughput_tps",
            lambda offer: _reaches(offer.tps(options.throughput_percentile), least),
            "throughput_constraint_not_met",
            f"no upstream of this model has lately reached {least:g}",
        )


def _reaches(value: float | None, least: float) -> bool:
    return value is None or value >= least
