"""Pure: tables, built once from the JSON of a bench, and written as aligned text or as Markdown.

In: figures by name. Out: text. Invariant: a figure stands with its lowest and highest round if it has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.kit.figures import Spread


def shown(value: float) -> str:
    """Three digits that count, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def spread_text(spread: Spread | None, digits: int = 2) -> str:
    """Median and range as `10.2 (9.8..10.9)`; `-` when not measured."""
    if spread is None:
        return "-"
    if spread.low == spread.high:
        return f"{spread.median:.{digits}f}"
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}..{spread.high:.{digits}f})"


@dataclass(frozen=True, slots=True)
class Column:
    """A figure by the name it has in the JSON; `digits` None: three that count."""

    head: str
    key: str
    digits: int | None = 2
    factor: float = 1.0

    def cell(self, figures: Mapping[str, Any]) -> str:
        found = figures.get(self.key)
        if found is None:
            return "-"
        if isinstance(found, Mapping):
            median, low, high = (found[name] * self.factor for name in ("median", "low", "high"))
            return spread_text(Spread(median, low, high), self.digits or 0)
        return shown(found) if self.digits is None else f"{found * self.factor:,.{self.digits}f}"


TIMES = (Column("p50 ms", "p50_ms"), Column("p95", "p95_ms"), Column("p99", "p99_ms"), Column("max", "max_ms"))


@dataclass(frozen=True, slots=True)
class Table:
    """`figures`: all columns but the first hold figures, which stand to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: bool = True

    @classmethod
    def of(cls, first: str, columns: Sequence[Column], named: Mapping[str, Mapping[str, Any]]) -> Table:
        """A row for each name."""
        rows = [[name, *(column.cell(figures) for column in columns)] for name, figures in named.items()]
        return cls([first, *(column.head for column in columns)], rows)

    @classmethod
    def plain(cls, name: str, figures: Mapping[str, float]) -> Table:
        """A row for each figure."""
        return cls([name, "value"], [[key.replace("_", " "), shown(value)] for key, value in figures.items()])

    def aligned(self) -> str:
        """For a terminal."""
        lines = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        sides = [str.rjust if number and self.figures else str.ljust for number in range(len(widths))]
        rows = (zip(sides, line, widths, strict=True) for line in lines)
        return "\n".join("  ".join(side(cell, width) for side, cell, width in row).rstrip() for row in rows)

    def markdown(self) -> str:
        rule = ["---", *["---:" if self.figures else "---"] * (len(self.head) - 1)]
        return "\n".join(f"| {' | '.join(line)} |" for line in (self.head, rule, *self.rows))
