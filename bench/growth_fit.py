"""Pure: how a cost grows with its cause: the slope of the cost over the cause, both as logarithms.

In: points. Out: exponents: 1 is linear, 2 is square. Invariant: only the upper half counts, where what is fixed has
least weight, and no point at which the load, or the gateway's core, was at its end.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

MIN_POINTS = 3
MEMORY = "memory"
FULL_CORE = 0.95  # of a core: whoever needs as much would need more
RATE_KEPT = 0.95  # of what was asked


@dataclass(frozen=True, slots=True)
class Point:
    """`costs` by name; the shares of a core that the gateway and the load used; how much of its rate was kept."""

    x: float
    costs: Mapping[str, float]
    peer_core: float
    load_core: float
    rate_kept: float | None = None  # None: nothing sets the pace, load and gateway take turns

    @property
    def strained(self) -> str:
        """Who was at its end, "" if nobody."""
        if self.load_core > FULL_CORE:
            return "the load"
        if self.rate_kept is None:
            return ""
        return "the gateway" if self.peer_core > FULL_CORE or self.rate_kept < RATE_KEPT else ""

    def without(self, cost: str) -> Point:
        return replace(self, costs={name: value for name, value in self.costs.items() if name != cost})

    def as_json(self) -> dict[str, object]:
        shares = {"peer_core": self.peer_core, "load_core": self.load_core, "rate_kept": self.rate_kept}
        return {"x": self.x, **self.costs, **shares, "strained": self.strained}


def merged(rounds: Sequence[Sequence[Point]]) -> list[Point]:
    """Point by point the median over the rounds."""
    return [_median(points) for points in zip(*rounds, strict=True)]


def _median(points: Sequence[Point]) -> Point:
    def middle(values: Sequence[float]) -> float:
        return statistics.median(values)

    costs = {name: middle([point.costs[name] for point in points]) for name in points[0].costs}
    kept = [point.rate_kept for point in points if point.rate_kept is not None]
    x, peer, load = (middle([getattr(point, name) for point in points]) for name in ("x", "peer_core", "load_core"))
    return Point(x, costs, peer, load, middle(kept) if kept else None)


def above_lowest(points: Sequence[Point], lowest_kib: float) -> list[Point]:
    """The points with their memory counted from the lowest that was seen, which may be below `lowest_kib`."""
    floor = min(lowest_kib, *(point.costs[MEMORY] for point in points))
    return [replace(point, costs={**point.costs, MEMORY: point.costs[MEMORY] - floor}) for point in points]


def slope(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Least squares over the logarithms; None for fewer than two different causes."""
    logs = [(math.log(x), math.log(y)) for x, y in pairs if x > 0 and y > 0]
    xs, ys = [x for x, _ in logs], [y for _, y in logs]
    return statistics.linear_regression(xs, ys).slope if len(set(xs)) > 1 else None


def upper_half(points: Sequence[Point]) -> list[Point]:
    """At least `MIN_POINTS`, without the strained ones."""
    fit = sorted((point for point in points if not point.strained), key=lambda point: point.x)
    return fit[min(len(fit) // 2, max(len(fit) - MIN_POINTS, 0)) :]


def fits(points: Sequence[Point]) -> dict[str, dict[str, float | None]]:
    """The slope of every cost, and from where on it was taken."""
    upper = upper_half(points)
    return {
        name: {"slope": slope(_pairs(name, upper)), "from": upper[0].x, "to": upper[-1].x}
        for name in (upper[0].costs if upper else ())
    }


def _pairs(name: str, upper: Sequence[Point]) -> list[tuple[float, float]]:
    """Memory as what it grows by from the first of these points on: a process has some megabytes free from its start,
    and as long as these last the kernel sees no growth, which would make what follows look steeper than it is.
    """
    pairs = [(point.x, point.costs[name]) for point in upper]
    if name != MEMORY:
        return pairs
    (first, least), *more = pairs
    return [(x - first, kib - least) for x, kib in more]
