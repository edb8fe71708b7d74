"""Pure: the figures of the relay bench, round by round, to ratios, tables and JSON.

In: one set of figures per peer and round. Out: text and a JSON-ready dict. Invariant: a ratio or a difference
is taken within one round, and only then the median over rounds: drift of the machine cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.measure import Spread, as_json, spread_text, table

DIRECT, GATEWAY, WITH_KEY, NGINX, AIOHTTP, LITELLM = "direct", "gateway", "gateway+key", "nginx", "aiohttp", "litellm"
TTFT_KEYS = ("ttft_one_p50_ms", "ttft_one_p99_ms", "ttft_many_p50_ms", "ttft_many_p99_ms")
Figures = dict[str, float]


@dataclass(slots=True)
class Results:
    """`rounds[name][k]` belongs to round k of every peer: one that failed is not asked again."""

    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, figures: Figures) -> None:
        self.rounds.setdefault(name, []).append(figures)

    def spread(self, name: str, key: str) -> Spread | None:
        return Spread.of(figures[key] for figures in self.rounds.get(name, []))

    def ratio(self, name: str, other: str, key: str) -> Spread | None:
        """`name` over `other`, round by round."""
        return self._paired(name, other, key, lambda mine, theirs: mine / theirs)

    def added(self, name: str, key: str) -> Spread | None:
        """`name` minus direct, round by round."""
        return self.beyond(name, DIRECT, key)

    def beyond(self, name: str, other: str, key: str) -> Spread | None:
        """`name` minus `other`, round by round."""
        return self._paired(name, other, key, lambda mine, theirs: mine - theirs)

    def _paired(self, name: str, other: str, key: str, combine: Callable[[float, float], float]) -> Spread | None:
        pairs = zip(self.rounds.get(name, []), self.rounds.get(other, []), strict=False)
        return Spread.of(combine(mine[key], theirs[key]) for mine, theirs in pairs)


def text_report(results: Results) -> str:
    """Tables of CPU, latency and TTFT, then whatever failed; medians (lowest..highest)."""
    parts = [
        _cpu_table(results),
        _ttft_table(results),
        *(f"{name} FAILED: {reason}" for name, reason in results.failures.items()),
    ]
    return "\n\n".join(["", *parts, ""])


def _cpu_table(results: Results) -> str:
    head = ["peer", "CPU us/event", "vs nginx", "vs aiohttp", "incl. requests", "us/request", "events/s", "of rate"]
    head += ["its core", "load's core", "latency p50 us", "p99 us"]
    rows = []
    for name in results.rounds:
        proxied = name != DIRECT

        def show(key: str, digits: int, shown: bool = True, name: str = name) -> str:
            return spread_text(results.spread(name, key), digits) if shown else "-"

        def ratio(other: str, shown: bool = proxied, name: str = name) -> str:
            return spread_text(results.ratio(name, other, "cpu_us"), 2) if shown else "-"

        row = [name, show("cpu_us", 1, proxied), ratio(NGINX), ratio(AIOHTTP)]
        row += [show("cpu_us_with_requests", 1, proxied), show("request_us", 0, proxied)]
        row += [_plain(results, name, "events_per_s", "{:.0f}")]
        row += [_plain(results, name, "rate_kept", "{:.0%}"), show("peer_core", 2, proxied)]
        row += [show("load_core", 2), show("latency_p50_us", 0), show("latency_p99_us", 0)]
        rows.append(row)
    return table(head, rows)


def _ttft_table(results: Results) -> str:
    """Direct's own figures in its row; the others' as added to them."""
    head = ("TTFT added over direct, ms", "one stream p50", "p99", "concurrent p50", "p99")
    rows = [["direct (its own)", *(spread_text(results.spread(DIRECT, key), 3) for key in TTFT_KEYS)]]
    rows += [
        [name, *(spread_text(results.added(name, key), 3) for key in TTFT_KEYS)]
        for name in results.rounds
        if name != DIRECT
    ]
    return table(head, rows)


def json_report(results: Results, facts: Mapping[str, object]) -> dict[str, object]:
    """All figures of all rounds, with what was derived from them."""
    peers = {name: _peer_json(results, name) for name in results.rounds}
    return {**facts, "peers": peers, "failures": results.failures}


def _peer_json(results: Results, name: str) -> dict[str, object]:
    rounds = results.rounds[name]
    report: dict[str, object] = {key: as_json(results.spread(name, key)) for key in rounds[0]}
    if name != DIRECT:
        for other in (NGINX, AIOHTTP, LITELLM):
            report[f"cpu_vs_{other}"] = as_json(results.ratio(name, other, "cpu_us"))
        for key in TTFT_KEYS:
            report[f"added_{key}"] = as_json(results.added(name, key))
    if name == WITH_KEY:
        report["request_us_of_key"] = as_json(results.beyond(name, GATEWAY, "request_us"))
    return report | {"rounds": rounds}


def _plain(results: Results, name: str, key: str, shape: str) -> str:
    spread = results.spread(name, key)
    return "-" if spread is None else shape.format(spread.median)
