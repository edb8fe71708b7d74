"""Pure: percentiles, spreads over rounds, and what each peer has shown round by round.

In: numbers. Out: numbers, JSON-ready dicts. Invariant: a ratio or a difference is taken within one round, and only
then the median over rounds, so that the drift of the machine cancels out. Nothing is rounded before it is printed.
"""

import itertools
import math
import operator
import statistics
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, field
from functools import partialmethod
from typing import Any

Figures = dict[str, float]
Json = dict[str, float] | None


def percentile(values: Iterable[float], share: float) -> float:
    """The nearest-rank percentile (`share` 0.99 for p99); NaN when there are no values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def times_ms(seconds: Iterable[float], prefix: str = "") -> Figures:
    """Median, tail and maximum of durations, in milliseconds."""
    ordered, shares = sorted(seconds), {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {f"{prefix}{name}_ms": percentile(ordered, share) * 1e3 for name, share in shares.items()}


def spread(values: Iterable[float]) -> Json:
    """The median over rounds, the lowest and the highest; None when no round gave a number."""
    numbers = [value for value in values if not math.isnan(value)]
    return {"median": statistics.median(numbers), "low": min(numbers), "high": max(numbers)} if numbers else None


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters at one moment, or what they have grown by: the clock, events, CPU seconds of the peer and the load."""

    seconds: float = 0.0
    events: int = 0
    peer_cpu: float = 0.0
    own_cpu: float = 0.0

    def __add__(self, other: "Sample") -> "Sample":
        return Sample(*map(operator.add, astuple(self), astuple(other)))

    def __sub__(self, other: "Sample") -> "Sample":
        return Sample(*map(operator.sub, astuple(self), astuple(other)))

    @property
    def each_us(self) -> float:
        """The peer's CPU of an event."""
        return self.peer_cpu / max(self.events, 1) * 1e6

    def cores(self, prefix: str = "") -> Figures:
        """The shares of a core that the peer and the load have used."""
        peer, load = self.peer_cpu / self.seconds, self.own_cpu / self.seconds
        return {f"{prefix}peer_core": peer, f"{prefix}load_core": load}


NO_SAMPLE = Sample()


@dataclass(slots=True)
class Results:
    """`rounds[name][k]` belongs to round k of every peer: a peer that failed is not asked again."""

    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, figures: Figures) -> None:
        self.rounds.setdefault(name, []).append(figures)

    def spreads(self, name: str) -> dict[str, Json]:
        """Every figure of this peer, as JSON."""
        rounds = self.rounds[name]
        return {key: spread(figures[key] for figures in rounds) for key in rounds[0]}

    def _paired(self, combine: Callable[[float, float], float], name: str, other: str, key: str) -> Json:
        pairs = zip(self.rounds.get(name, []), self.rounds.get(other, []), strict=False)
        return spread(combine(mine[key], theirs[key]) for mine, theirs in pairs)

    # The figure of `name` over that of `other`, and minus that of `other`, round by round.
    ratio = partialmethod(_paired, operator.truediv)
    beyond = partialmethod(_paired, operator.sub)

    def json(self, ratios: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
        """What a bench returns: every figure of every peer, `ratios` to other peers among them, and the failures."""
        peers = {name: self.spreads(name) for name in self.rounds}
        for name, (other, key) in itertools.product(peers, ratios):
            peers[name][f"{key}_vs_{other}"] = self.ratio(name, other, key)
        return {"peers": peers, "failures": self.failures}
