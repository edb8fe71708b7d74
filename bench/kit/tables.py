"""Pure: where figures stand in the JSON of a bench, and tables of them as aligned text or as Markdown.

In: a report, paths in it. Out: figures, text. Invariant: what a report does not have is None, whatever is missing on
the way; a figure stands with its lowest and highest round if it has them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]  # the JSON of one bench
THREE = -1  # digits: three that count


def matches(report: Any, path: str) -> dict[str, Any]:
    """What stands at this path, whose names have dots between; `*` is every name, and the key tells which."""
    found = {"": report}
    for name in path.split("."):
        level = [(key, value) for key, value in found.items() if isinstance(value, Mapping)]
        if name == "*":
            found = {f"{key}, {part}" if key else part: value[part] for key, value in level for part in value}
        else:
            found = {key: value[name] for key, value in level if name in value}
    return found


def dig(report: Any, path: str) -> Any:
    """What stands at this path, None if nothing does."""
    return matches(report, path).get("")


def number(report: Any, path: str) -> float | None:
    """The figure at this path: a number, or the median of a spread; with `*` the highest."""
    medians = (
        found.get("median") if isinstance(found, Mapping) else found for found in matches(report, path).values()
    )
    return max((value for value in medians if isinstance(value, int | float)), default=None)


def shown(value: float) -> str:
    """Three digits that count, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def cell(found: Any, digits: int = THREE, factor: float = 1.0) -> str:
    """A number, or a spread as `10.2 (9.8..10.9)`; a text as it is; `-` when not measured."""
    if found is None or isinstance(found, str):
        return found or "-"
    if not isinstance(found, Mapping):
        return shown(found * factor) if digits == THREE else f"{found * factor:,.{digits}f}"
    median, low, high = (cell(found[name], digits, factor) for name in ("median", "low", "high"))
    return median if found["low"] == found["high"] else f"{median} ({low}..{high})"


@dataclass(frozen=True, slots=True)
class Table:
    """All columns but the first stand to the right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    @classmethod
    def of(cls, report: Report, spec: Mapping[str, Any]) -> "Table":
        """A table as bench/benches.toml describes it; without columns it has a row for each figure."""
        named, columns = matches(report, spec["rows"]), spec.get("columns")
        if columns is None:
            rows = [[key.replace("_", " "), cell(value)] for key, value in (named.get("") or {}).items()]
            return cls([spec["first"], "value"], rows)
        rows = [[name, *(cell(dig(row, key), *shape) for _, key, *shape in columns)] for name, row in named.items()]
        return cls([spec["first"], *(head for head, *_ in columns)], rows)

    def aligned(self) -> str:
        """The table as a terminal shows it."""
        lines = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        sides = [str.rjust if number else str.ljust for number in range(len(widths))]
        rows = (zip(sides, line, widths, strict=True) for line in lines)
        return "\n".join("  ".join(side(text, width) for side, text, width in row).rstrip() for row in rows)

    def markdown(self) -> str:
        rule = ["---", *["---:"] * (len(self.head) - 1)]
        return "\n".join(f"| {' | '.join(line)} |" for line in (self.head, rule, *self.rows))
