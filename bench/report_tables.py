"""Pure: the tables of each bench, out of its JSON.

In: the report of a bench. Out: tables. Invariant: a figure stands with its lowest and highest round if it has
them, and beside the peers' the share of a core that the load needed itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.measure import Spread, spread_text
from bench.readings import Report
from bench.verdicts import shown

Rows = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Table:
    head: Sequence[str]
    rows: Rows
    figures: bool = True  # in all columns but the first


@dataclass(frozen=True, slots=True)
class Column:
    """A figure by the name it has in the JSON."""

    head: str
    key: str
    digits: int | None = 2  # None: three that count
    factor: float = 1.0

    def cell(self, figures: Mapping[str, Any]) -> str:
        found = figures.get(self.key)
        if found is None:
            return "-"
        if self.digits is None:
            return shown(found)
        if not isinstance(found, Mapping):
            return f"{found * self.factor:,.{self.digits}f}"
        median, low, high = (found[name] * self.factor for name in ("median", "low", "high"))
        return spread_text(Spread(median, low, high), self.digits)


RELAY_CPU = (
    Column("CPU µs per event", "cpu_us", 1),
    Column("of nginx's", "cpu_vs_nginx"),
    Column("of aiohttp's", "cpu_vs_aiohttp"),
    Column("events/s", "events_per_s", 0),
    Column("of the rate, %", "rate_kept", 0, 100),
    Column("its core", "peer_core"),
    Column("load's core", "load_core"),
)
RELAY_TTFT = (
    Column("one stream, p50 ms", "added_ttft_one_p50_ms", 3),
    Column("p99", "added_ttft_one_p99_ms", 3),
    Column("concurrent, p50 ms", "added_ttft_many_p50_ms", 3),
    Column("p99", "added_ttft_many_p99_ms", 3),
)
FANOUT = (
    Column("thousand deliveries per CPU s", "single_per_cpu_s", 0, 1e-3),
    Column("of C's", "single_per_cpu_s_vs_c"),
    Column("of Nchan's", "single_per_cpu_s_vs_nchan"),
    Column("load's core", "single_load_core"),
    Column("bursts, million", "burst_per_cpu_s", 2, 1e-6),
    Column("load's core", "burst_load_core"),
    Column("KiB each", "pss_kib"),
    Column("latency p50 ms", "latency_p50_ms", 0),
    Column("p99", "latency_p99_ms", 0),
)
TIMES = (Column("p50 ms", "p50_ms"), Column("p95", "p95_ms"), Column("p99", "p99_ms"), Column("max", "max_ms"))
HEDGED = (*TIMES, Column("hedges", "hedges", 0), Column("requests more, %", "extra_share", 1, 100))
ABORT = (
    Column("aborts", "aborts", 0),
    Column("p50 ms", "p50_ms"),
    Column("p99", "p99_ms"),
    Column("max", "max_ms"),
)
MEMORY = (
    Column("pss KiB each", "pss_kib"),
    Column("private", "private_kib"),
    Column("CPU µs to join", "join_cpu_us", 0),
)
STARTUP = (
    Column("ready after s", "ready_seconds", 3),
    Column("READY=1", "notified_seconds", 3),
    Column("CPU s", "cpu_seconds", 3),
)


def _of(first: str, columns: Sequence[Column], named: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [[name, *(column.cell(figures) for column in columns)] for name, figures in named.items()]
    return Table([first, *(column.head for column in columns)], rows)


def relay(report: Report) -> list[Table]:
    peers = report["peers"]
    proxied = {name: figures for name, figures in peers.items() if name != "direct"}
    return [_of("peer", RELAY_CPU, proxied), _of("TTFT added", RELAY_TTFT, proxied)]


def fanout(report: Report) -> list[Table]:
    return [_of(f"{int(size):,} subscribers", FANOUT, one["peers"]) for size, one in report["sizes"].items()]


def ttft(report: Report) -> list[Table]:
    late = _of("504 after the budget, late by", TIMES, report.get("deadline") or {})
    return [late, _of("TTFT, hedge_after", HEDGED, report.get("tail") or {})]


def abort(report: Report) -> list[Table]:
    named = {
        f"{peer}, {company}, {kind.replace('_', ', ')}": figures
        for peer, companies in report["peers"].items()
        for company, kinds in companies.items()
        for kind, figures in kinds.items()
        if figures
    }
    return [_of("through", ABORT, named)]


def memory(report: Report) -> list[Table]:
    peers = report["peers"].items()
    named = {f"{name}, {int(size):,}": one for name, sizes in peers for size, one in sizes.items()}
    return [_of("idle subscribers of", MEMORY, named), _plain("quiet subscribers", report.get("quiet") or {})]


def storm(report: Report) -> list[Table]:
    return [_plain("storm", report["figures"])]


def startup(report: Report) -> list[Table]:
    return [_of("start", STARTUP, report["peers"])]


def growth(report: Report) -> list[Table]:
    tables = []
    for curve in report["curves"].values():
        columns = [Column(f"{cost}, {unit}", cost, None) for cost, unit in curve["units"].items()]
        columns += [Column("its core", "peer_core"), Column("load's core", "load_core")]
        table = _of(curve["cause"], columns, {f"{point['x']:,.0f}": point for point in curve["points"]})
        fits = [curve["fits"].get(cost, {}).get("slope") for cost in curve["units"]]
        exponents = ["-" if slope is None else f"{slope:.2f}" for slope in fits]
        tables.append(Table(table.head, [*table.rows, ["exponent, upper half", *exponents, "", ""]]))
    return tables


def _plain(name: str, figures: Mapping[str, float]) -> Table:
    return Table([name, "value"], [[key.replace("_", " "), shown(value)] for key, value in figures.items()])


TABLES: dict[str, Callable[[Report], list[Table]]] = {
    one.__name__: one for one in (startup, relay, ttft, abort, memory, storm, growth, fanout)
}
