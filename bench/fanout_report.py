"""Pure: the figures of the fan-out bench to ratios, tables and JSON.

In: results per size of the audience. Out: text and a JSON-ready dict. Invariant: as in the relay bench, a ratio is
taken within one round, and only then the median over rounds.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.measure import Spread, as_json, spread_text, table
from bench.relay_report import Results

GATEWAY, NCHAN, C, AIOHTTP = "gateway", "nchan", "c", "aiohttp"
NAMES = (GATEWAY, NCHAN, C, AIOHTTP)
BySize = Mapping[int, Results]
RATIOS = ("single_per_cpu_s", "burst_per_cpu_s")


def text_report(results: BySize) -> str:
    """A table per size, then whatever failed; medians (lowest..highest)."""
    parts = [_table(size, one) for size, one in results.items()]
    parts += [f"{name} FAILED: {why}" for one in results.values() for name, why in one.failures.items()]
    return "\n\n".join(["", *parts, ""])


def _table(size: int, results: Results) -> str:
    head = [f"{size} subscribers", "us/delivery", "x C", "x Nchan", "cores (load)"]
    head += ["burst M/CPU s", "x C", "x Nchan", "cores (load)", "KiB each", "join us", "latency p50 ms", "p99 ms"]
    rows = []
    for name in results.rounds:
        row = [name, spread_text(results.spread(name, "single_us"))]
        row += [*_ratios(results, name, "single_per_cpu_s"), _cores(results, name, "single")]
        row += [spread_text(_scaled(results.spread(name, "burst_per_cpu_s"), 1e-6), 1)]
        row += [*_ratios(results, name, "burst_per_cpu_s"), _cores(results, name, "burst")]
        row += [spread_text(results.spread(name, "pss_kib")), spread_text(results.spread(name, "join_cpu_us"), 0)]
        row += [spread_text(_spread(results, f"latency_{key}_ms", name), 0) for key in ("p50", "p99")]
        rows.append(row)
    return table(head, rows)


def _ratios(results: Results, name: str, key: str) -> list[str]:
    return [spread_text(results.ratio(name, other, key)) if name != other else "1" for other in (C, NCHAN)]


def _cores(results: Results, name: str, experiment: str) -> str:
    peer, load = (results.spread(name, f"{experiment}_{whose}_core") for whose in ("peer", "load"))
    return f"{spread_text(_plain(peer))} ({spread_text(_plain(load))})"


def json_report(results: BySize, facts: Mapping[str, object]) -> dict[str, object]:
    """All figures of all rounds, with what was derived from them."""
    sizes = {str(size): _size_json(one) for size, one in results.items()}
    return {**facts, "sizes": sizes}


def _size_json(results: Results) -> dict[str, object]:
    peers: dict[str, object] = {}
    for name, rounds in results.rounds.items():
        report: dict[str, object] = {key: as_json(results.spread(name, key)) for key in rounds[0]}
        for other in (C, NCHAN, AIOHTTP):
            report |= {f"{key}_vs_{other}": as_json(results.ratio(name, other, key)) for key in RATIOS}
        peers[name] = report | {"rounds": rounds}
    return {"peers": peers, "failures": results.failures}


def _spread(results: Results, key: str, name: str = GATEWAY) -> Spread | None:
    rounds = results.rounds.get(name, [])
    return Spread.of(figures[key] for figures in rounds if key in figures)


def _scaled(spread: Spread | None, factor: float) -> Spread | None:
    return spread and Spread(spread.median * factor, spread.low * factor, spread.high * factor)


def _plain(spread: Spread | None) -> Spread | None:
    return spread and Spread(spread.median, spread.median, spread.median)
