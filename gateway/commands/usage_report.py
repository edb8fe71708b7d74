"""Shell: the report of `rivergate usage`: what was typed is checked, and the books are summed up."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast, get_args

from gateway import clock
from gateway.access.books import SUM_NAMES, UsageGroup
from gateway.access.storage import open_books
from gateway.config import Config
from gateway.errors import ConfigError, LedgerError

REPORT_DAYS = 30  # the days of a report without --from
GROUPS: tuple[UsageGroup, ...] = get_args(UsageGroup)
NOBODY = "-"  # stands for no key (open mode), and for no upstream (none answered)
_MICRO = Decimal(1_000_000)
_EPOCH = datetime.date(1970, 1, 1)
_DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Report:
    """Sums of the books. `start` and `end` are UTC days, both included."""

    by: tuple[UsageGroup, ...]
    start: datetime.date
    end: datetime.date
    rows: list[dict[str, Any]]
    names: Mapping[str, str]  # of keys, by id

    def total(self) -> dict[str, int]:
        """The sums over all rows."""
        return {name: sum(row[name] for row in self.rows) for name in SUM_NAMES}


def report(config: Config, by: str, start: str | None, end: str | None) -> Report:
    """The report that was asked for. Raises `ConfigError`."""
    groups = _groups(by)
    last = (
        _day("--to", end)
        if end is not None
        else datetime.datetime.fromtimestamp(clock.wall_time(), datetime.UTC).date()
    )
    first = _day("--from", start) if start is not None else max(last - (REPORT_DAYS - 1) * _DAY, _EPOCH)
    if first > last:
        raise ConfigError([f"--from: {first} is after --to, {last}"])
    books = open_books(config.storage)
    try:
        rows = books.totals(_seconds(first), _seconds(last) + 86_400, groups)
        names = {key.id: key.name for key in books.all_keys()} if "key" in groups else {}
    except LedgerError as error:
        raise ConfigError([error.fault]) from None
    finally:
        books.close()
    return Report(groups, first, last, rows, names)


def as_json(report: Report) -> dict[str, Any]:
    """The report for machines, in the words of `GET /v1/usage`."""
    period = {"from": report.start.isoformat(), "to": report.end.isoformat(), "by": list(report.by)}
    named = [{**row, "key_name": report.names.get(row["key"])} if "key" in row else row for row in report.rows]
    return {**period, "data": [_in_usd(row) for row in named], "total": _in_usd(report.total())}


def table(report: Report) -> str:
    """The report for people: a line for each row, and one for the total."""
    heads = [*report.by, "requests", "estimated", "input tokens", "output tokens", "USD", "hedges USD"]
    rows = [[*(_label(report, group, row[group]) for group in report.by), *_figures(row)] for row in report.rows]
    total = [["total", *[""] * (len(report.by) - 1), *_figures(report.total())]]
    period = f"{report.start} to {report.end} (UTC)"
    if not rows:
        return f"{period}: nothing was used"
    return f"{period}\n\n" + _aligned([heads, *rows, *total], left=len(report.by))


def _label(report: Report, group: UsageGroup, value: str | None) -> str:
    if value is None:
        return NOBODY
    name = report.names.get(value) if group == "key" else None
    return f"{value} ({name})" if name else value


def _figures(row: Mapping[str, Any]) -> list[str]:
    counts = [row["requests"], row["estimated_requests"], row["prompt_tokens"], row["completion_tokens"]]
    money = [row["cost_microusd"], row["hedge_cost_microusd"]]
    return [*(f"{count:,}" for count in counts), *(f"{amount / _MICRO:,.6f}" for amount in money)]


def _aligned(rows: Sequence[Sequence[str]], left: int) -> str:
    """The rows in columns; the first `left` of them to the left, the others to the right."""
    shown = [["".join(c if c.isprintable() else "?" for c in cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(shown[0]))]
    lines = (
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in shown
    )
    return "\n".join(line.rstrip() for line in lines)


def _in_usd(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name.replace("_microusd", "_usd"): value / 1_000_000 if name.endswith("_microusd") else value
        for name, value in row.items()
    }


def _groups(text: str) -> tuple[UsageGroup, ...]:
    names = [name.strip() for name in text.split(",")]
    if not set(names) <= set(GROUPS) or len(set(names)) < len(names):
        raise ConfigError([f"--by: must be one or more of {', '.join(GROUPS)}, with commas between them"])
    return cast(tuple[UsageGroup, ...], tuple(names))


def _day(option: str, text: str) -> datetime.date:
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError:
        day = datetime.date.min
    if day < _EPOCH:
        raise ConfigError([f"{option}: must be a day from 1970 on, such as 2026-11-30"])
    return day


def _seconds(day: datetime.date) -> int:
    return (day - _EPOCH).days * 86_400
