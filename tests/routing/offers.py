"""Offers to rank, and short ways to rank them."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from gateway.errors import ConstraintNotMet
from gateway.routing.offer import Offer
from gateway.routing.options import parse
from gateway.routing.ranking import Ranking, rank

CHEAP = Offer("cheap", "m", 1.0, ttft_p50=1.0, ttft_p95=2.0, tps_p50=20.0, tps_p95=10.0)


QUICK = Offer("quick", "m", 4.0, ttft_p50=0.2, ttft_p95=6.0, tps_p50=30.0, tps_p95=5.0)


WORDY = Offer("wordy", "m", 5.0, ttft_p50=0.9, ttft_p95=1.0, tps_p50=200.0, tps_p95=50.0)


OFFERS = (CHEAP, QUICK, WORDY)


COLD = Offer("cold", "m", 4.5)


def dice(*numbers: float) -> Callable[[], float]:
    """Dice that give these numbers, and then 0.5 for ever."""
    rest = list(numbers)
    return lambda: rest.pop(0) if rest else 0.5


def ranked(offers: Sequence[Offer], budget: float | None = None, default: str = "balanced", **given: Any) -> Ranking:
    return rank(offers, parse(given), default, dice(), budget)


def names(offers: Sequence[Offer], budget: float | None = None, default: str = "balanced", **given: Any) -> list[str]:
    return [offers[position].upstream for position in ranked(offers, budget, default, **given).order]


def refused(offers: Sequence[Offer], **given: Any) -> ConstraintNotMet:
    with pytest.raises(ConstraintNotMet) as raised:
        ranked(offers, **given)
    assert raised.value.status == 400
    return raised.value
