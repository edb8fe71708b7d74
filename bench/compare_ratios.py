"""Pure: the ratios of a row over its pairs, their median with an interval, and whether the row is worse.

In: the figures of each pair, before and after. Out: a verdict, a table. Invariant: the interval assumes nothing about
the distribution of the ratios: two of them bound it, chosen by rank so that the median of all pairs that could be
played lies outside with at most 5 % probability (the sign test).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.measure import table

LIMIT = 1.03  # a row beyond this ratio is worse
MAX_OUTSIDE = 0.05


def interval_rank(count: int) -> int:
    """The rank, from 0, of the lower bound (and from the top, of the upper bound) of the 95 % interval of a median.

    With less than 6 values no interval is that certain, and the rank is 0: the bounds are the lowest and the highest.
    """
    rank, outside = 0, 2 * 0.5**count
    while (
        rank < (count - 1) // 2 and (outside := outside + 2 * math.comb(count, rank + 1) * 0.5**count) <= MAX_OUTSIDE
    ):
        rank += 1
    return rank


@dataclass(frozen=True, slots=True)
class Ratios:
    """One row: medians of both checkouts, and the ratio after / before of its pairs (below 1: better)."""

    row: str
    pairs: int
    before: float
    after: float
    ratio: float
    low: float
    high: float

    @classmethod
    def of(cls, row: str, pairs: Sequence[dict[str, float]]) -> Ratios:
        """`pairs`: the figures `before` and `after` of each pair."""
        ratios = sorted(pair["after"] / pair["before"] for pair in pairs)
        rank = interval_rank(len(ratios))
        before, after = (statistics.median(pair[name] for pair in pairs) for name in ("before", "after"))
        return cls(row, len(pairs), before, after, statistics.median(ratios), ratios[rank], ratios[-1 - rank])

    @property
    def is_worse(self) -> bool:
        """Whether the median is worse by more than 3 %."""
        return self.ratio > LIMIT

    @property
    def verdict(self) -> str:
        certain = self.low > LIMIT if self.is_worse else self.high <= LIMIT
        return ("WORSE by more than 3 %" if self.is_worse else "not worse") + ("" if certain else ", not certain")

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"worse": self.is_worse, "verdict": self.verdict}


def verdict_table(rows: Sequence[Ratios]) -> str:
    cells = [
        [
            ratios.row,
            *(f"{value:.3f}" for value in (ratios.before, ratios.after, ratios.ratio)),
            f"{ratios.low:.3f}..{ratios.high:.3f}",
            f"{ratios.pairs}",
            ratios.verdict,
        ]
        for ratios in rows
    ]
    return table(("row", "before", "after", "after/before", "95 % interval", "pairs", "verdict"), cells)
