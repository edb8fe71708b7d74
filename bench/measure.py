"""Pure: percentiles, spreads over rounds, and aligned tables.

In: numbers. Out: numbers and text. Invariant: nothing is rounded before it is printed.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass


def percentile(values: Iterable[float], share: float) -> float:
    """Return the nearest-rank percentile (`share` 0.99 for p99); NaN when there are no values."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median over rounds, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """None when no round gave a number."""
        numbers = [value for value in values if not math.isnan(value)]
        if not numbers:
            return None
        return cls(statistics.median(numbers), min(numbers), max(numbers))


def as_json(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else asdict(spread)


def spread_text(spread: Spread | None, digits: int = 2) -> str:
    """Median and range as `10.2 (9.8..10.9)`; `-` when not measured."""
    if spread is None:
        return "-"
    if spread.low == spread.high:
        return f"{spread.median:.{digits}f}"
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}..{spread.high:.{digits}f})"


def apart(ordered: Sequence[float], gap: float) -> list[float]:
    """The same values in rising order, moved as little as it takes until neighbours are `gap` apart."""
    groups: list[tuple[float, int]] = []  # where the middle of so many neighbours stands
    for value in ordered:
        middle, size = value, 1
        while groups and groups[-1][0] + (groups[-1][1] + size) * gap / 2 > middle:
            other, many = groups.pop()
            middle = (other * many + middle * size) / (many + size)
            size += many
        groups.append((middle, size))
    return [middle + (number - (size - 1) / 2) * gap for middle, size in groups for number in range(size)]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align columns: the first to the left, the others to the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
