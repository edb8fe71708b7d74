"""Pure: how a cost grows with its cause: the slope of the cost over the cause, both as logarithms.

In: points: the cause `x`, the costs, the shares of a core that the gateway and the load used, and, where something
sets the pace, how much of the rate was kept. Out: exponents: 1 is linear, 2 is square. Invariant: only the upper half
counts, where what is fixed has least weight, and no point at which the load, or the gateway's core, was at its end.
"""

import math
import statistics
from collections.abc import Sequence

from bench.kit.figures import Figures

COSTS = ("cpu", "memory", "time")
MIN_POINTS = 3
FULL_CORE = 0.95  # of a core: whoever needs as much would need more
RATE_KEPT = 0.95  # of what was asked


def strained(point: Figures) -> str:
    """Who was at its end, "" if nobody."""
    if point["load_core"] > FULL_CORE:
        return "the load"
    if "rate_kept" in point and (point["peer_core"] > FULL_CORE or point["rate_kept"] < RATE_KEPT):
        return "the gateway"
    return ""


def merged(rounds: Sequence[Sequence[Figures]]) -> list[Figures]:
    """Point by point the median over the rounds."""
    return [
        {name: statistics.median(point[name] for point in points) for name in points[0]}
        for points in zip(*rounds, strict=True)
    ]


def above_lowest(points: Sequence[Figures], lowest_kib: float) -> list[Figures]:
    """The points with their memory counted from the lowest that was seen, which may be below `lowest_kib`."""
    floor = min(lowest_kib, *(point["memory"] for point in points))
    return [point | {"memory": point["memory"] - floor} for point in points]


def slope(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Least squares over the logarithms; None for fewer than two different causes."""
    logs = [(math.log(x), math.log(y)) for x, y in pairs if x > 0 and y > 0]
    xs, ys = [x for x, _ in logs], [y for _, y in logs]
    return statistics.linear_regression(xs, ys).slope if len(set(xs)) > 1 else None


def upper_half(points: Sequence[Figures]) -> list[Figures]:
    """At least `MIN_POINTS`, without the strained ones."""
    fit = sorted((point for point in points if not strained(point)), key=lambda point: point["x"])
    return fit[min(len(fit) // 2, max(len(fit) - MIN_POINTS, 0)) :]


def fits(points: Sequence[Figures]) -> dict[str, dict[str, float | None]]:
    """The slope of every cost, and from where on it was taken."""
    upper = upper_half(points)
    ends = {"from": upper[0]["x"], "to": upper[-1]["x"]} if upper else {}
    costs = [cost for cost in COSTS if upper and cost in upper[0]]
    return {cost: {"slope": slope(_pairs(cost, upper)), **ends} for cost in costs}


def _pairs(cost: str, upper: Sequence[Figures]) -> list[tuple[float, float]]:
    """Memory as what it grows by from the first of these points on: a process has some megabytes free from its start,
    and as long as these last the kernel sees no growth, which would make what follows look steeper than it is.
    """
    pairs = [(point["x"], point[cost]) for point in upper]
    if cost != "memory":
        return pairs
    (first, least), *more = pairs
    return [(x - first, kib - least) for x, kib in more]
