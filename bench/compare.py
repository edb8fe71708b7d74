"""Wiring: is the gateway of this checkout slower, or larger, than the gateway of another checkout?

    python -m bench.compare BASE [--rows relay,fanout,ttft,memory] [--pairs 20] [--json FILE]

BASE is the folder of the other checkout, "before"; this one is "after". Both gateways run as processes in their own
folders, behind the load and the upstreams of this checkout, and are driven through `serve --config FILE` and HTTP
alone. A pair starts both anew, twice, each once as the first; they get short turns in the order A B B A, and the pair
gives the ratio after / before of each row. Exit 1: a row is worse by more than 3 %, or a gateway failed.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from bench.kit import machine, peers
from bench.kit.channel import JOIN_SECONDS, Channel, Provider, Tally, opened
from bench.kit.client import Target
from bench.kit.command import Bench, Given, Option, Report, bounded, reporting, say, several
from bench.kit.figures import percentile
from bench.kit.load import Load
from bench.kit.loop import clock, undisturbed
from bench.kit.peers import DIRECT, Proxy
from bench.kit.processes import environment
from bench.kit.script import script
from bench.kit.tables import Table
from bench.relay import SHORT_STREAMS, cpu_plan, many_plan, one_plan, requests_plan

BEFORE, AFTER = "before", "after"
EVENT, REQUEST = "relay: CPU us per event", "short request: CPU us"
ONE, MANY = "TTFT added, one stream: p50 ms", "TTFT added, 100 streams: p50 ms"
DELIVERY = "fan-out to 1,000: CPU us per delivery"
MEMORY = "memory of an idle subscriber: KiB"
ROWS = {"relay": (EVENT, REQUEST), "ttft": (ONE, MANY), "fanout": (DELIVERY,), "memory": (MEMORY,)}
# The load of bench.relay in shorter turns: what a system call costs drifts within seconds.
EVENTS_PLAN = cpu_plan(streams=300, rate=100, window=0.6, spread=0.3)
REQUESTS_PLAN = requests_plan(SHORT_STREAMS, seconds=0.25)
ONE_PLAN = one_plan(requests=20)
MANY_PLAN = replace(many_plan(streams=100), spread=0.25)
# The load of bench.fanout, and subscribers that join behind it and only wait.
FANOUT_SUBSCRIBERS, FANOUT_SECONDS = 1000, 0.35
MEMORY_SUBSCRIBERS = 2500
EVENTS = 20_000  # prepared for the life of a gateway: more than its turns can use up
LIMIT = 1.03  # a row beyond this ratio is worse
MAX_OUTSIDE = 0.05
MIN_PAIRS = 6  # with less no interval is 95 % certain
T = TypeVar("T")


def interval_rank(count: int) -> int:
    """The rank, from 0, of the lower bound (and from the top, of the upper bound) of the 95 % interval of a median.

    The interval assumes nothing about the distribution: the probability that the median of all possible values lies
    outside is that of a sign test. With less than `MIN_PAIRS` values the bounds are the lowest and the highest.
    """
    rank, outside = 0, 2 * 0.5**count
    while rank < (count - 1) // 2:
        outside += 2 * math.comb(count, rank + 1) * 0.5**count
        if outside > MAX_OUTSIDE:
            break
        rank += 1
    return rank


def judged(pairs: Sequence[dict[str, float]]) -> dict[str, Any]:
    """One row: medians of both checkouts, and of the ratios after / before (below 1: better), with an interval."""
    ratios = sorted(pair[AFTER] / pair[BEFORE] for pair in pairs)
    rank, ratio = interval_rank(len(ratios)), statistics.median(ratios)
    low, high, is_worse = ratios[rank], ratios[-1 - rank], ratio > LIMIT
    certain = len(ratios) >= MIN_PAIRS and (low > LIMIT if is_worse else high <= LIMIT)
    verdict = ("WORSE by more than 3 %" if is_worse else "not worse") + ("" if certain else ", not certain")
    medians = {checkout: statistics.median(pair[checkout] for pair in pairs) for checkout in (BEFORE, AFTER)}
    return medians | {"ratio": ratio, "low": low, "high": high, "worse": is_worse, "verdict": verdict}


@dataclass(slots=True)
class Counts:
    """What the turns of one gateway, or of the upstream itself (direct), have shown within a pair."""

    cpu: dict[str, float] = field(default_factory=lambda: {EVENT: 0.0, REQUEST: 0.0})
    events: dict[str, int] = field(default_factory=lambda: {EVENT: 0, REQUEST: 0})
    ttfts: dict[str, list[float]] = field(default_factory=lambda: {ONE: [], MANY: []})
    deliveries: Tally = field(default_factory=Tally)
    kib: list[float] = field(default_factory=list)

    def add(self, row: str, cpu: float, events: int) -> None:
        self.cpu[row] += cpu
        self.events[row] += events

    def figure(self, row: str, direct: Counts) -> float:
        if row == DELIVERY:
            return self.deliveries.peer_cpu / self.deliveries.deliveries * 1e6
        if row == MEMORY:
            return statistics.mean(self.kib)
        if row in (ONE, MANY):
            return (percentile(self.ttfts[row], 0.5) - percentile(direct.ttfts[row], 0.5)) * 1e3
        return self.cpu[row] / self.events[row] * 1e6


class Pair:
    """Both gateways, started twice; every row once."""

    def __init__(self, base: Path, rows: Sequence[str], core: int) -> None:
        self._homes, self._rows, self._core = {BEFORE: base, AFTER: machine.ROOT}, rows, core
        self._counts = {name: Counts() for name in (BEFORE, AFTER, DIRECT)}

    def play(self) -> dict[str, dict[str, float]]:
        """By row, the figure of each checkout. Raises one of the kit's `FAULTS`."""
        for order in ((BEFORE, AFTER), (AFTER, BEFORE)):
            if {"relay", "ttft"} & set(self._rows):
                self._relay(order)
            if {"fanout", "memory"} & set(self._rows):
                self._fan_out(order)
        direct, rows = self._counts[DIRECT], [row for name in self._rows for row in ROWS[name]]
        return {row: {name: self._counts[name].figure(row, direct) for name in (BEFORE, AFTER)} for row in rows}

    def _relay(self, order: Sequence[str]) -> None:
        """Both gateways live side by side; whoever is not on turn is frozen."""
        with (
            tempfile.TemporaryDirectory(prefix="bench-compare-") as folder,
            contextlib.closing(Load()) as load,
            contextlib.ExitStack() as stack,
        ):
            proxies = []
            for name in order:
                peer = peers.gateway(name, home=self._homes[name])
                proxies.append(peers.frozen(peer, Path(folder), load, self._core, stack))
            direct = Proxy(DIRECT, Target(load.port))
            for proxy in (*proxies, direct):
                proxy.run(load, peers.WARM_UP)
            if "relay" in self._rows:
                self._events(proxies, load)
            if "ttft" in self._rows:
                for proxy in alternating([*proxies, direct], 2):
                    self._counts[proxy.name].ttfts[ONE] += proxy.run(load, ONE_PLAN).ttfts(first_turn=2)
                for proxy in (*proxies, direct, *reversed(proxies)):
                    self._counts[proxy.name].ttfts[MANY] += proxy.run(load, MANY_PLAN).ttfts(first_turn=2)

    def _events(self, proxies: Sequence[Proxy], load: Load) -> None:
        for proxy in alternating(proxies, 1):
            window = proxy.run(load, EVENTS_PLAN).window
            self._counts[proxy.name].add(EVENT, window.peer_cpu, window.events)
        for proxy in alternating(proxies, 2):
            outcome = proxy.run(load, REQUESTS_PLAN)
            self._counts[proxy.name].add(REQUEST, outcome.whole.peer_cpu, len(outcome.exchanges))

    def _fan_out(self, order: Sequence[str]) -> None:
        """A stream of each gateway; who joins last has the past behind it, so that it gets nothing."""
        prepared = script(0, EVENTS)
        with contextlib.ExitStack() as stack:
            channels: list[Channel] = []
            for name in order:
                peer = peers.gateway(name, home=self._homes[name])
                channels.append(stack.enter_context(opened(peer, Provider(prepared), prepared, self._core)))
                channels[-1].subscribers.join(FANOUT_SUBSCRIBERS, JOIN_SECONDS)
                channels[-1].warm_up()
            if "fanout" in self._rows:
                with undisturbed():
                    for channel in alternating(channels, 2):
                        channel.passes(self._counts[channel.name].deliveries, FANOUT_SECONDS)
            if "memory" in self._rows:
                for channel in channels:
                    channel.subscribers.from_now()
                    figures = channel.join(MEMORY_SUBSCRIBERS, channel.subscribers.published)
                    self._counts[channel.name].kib.append(figures["anonymous_kib"])


def alternating(turns: Sequence[T], cycles: int) -> Iterator[T]:
    """A B B A, again and again: what drifts steadily falls on both alike."""
    for _ in range(cycles):
        yield from turns
        yield from reversed(turns)


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    failures: dict[str, str] = {}
    figures: dict[str, list[dict[str, float]]] = {}
    begun = clock()
    for number in range(1, given.pairs + 1):
        say(f"pair {number}/{given.pairs}, {clock() - begun:.0f} s so far")
        with reporting(failures, "compare", f"pair {number}"):
            for row, by_checkout in Pair(given.base, given.rows, cores[0]).play().items():
                figures.setdefault(row, []).append(by_checkout)
        if failures:
            break
    rows = {row: judged(pairs) for row, pairs in figures.items()}
    worse = {row: each["verdict"] for row, each in rows.items() if each["worse"]}
    given.base = str(given.base)
    return {"rows": rows, "pairs": figures, "failures": failures | worse}


def tables(report: Report) -> list[Table]:
    pairs = report["options"]["pairs"]
    interval = "95 % interval" if pairs >= MIN_PAIRS else f"lowest..highest (95 % from {MIN_PAIRS} pairs on)"
    head = ("row", "before", "after", "after/before", interval, "verdict")
    rows = [
        [row, *(f"{each[key]:.3f}" for key in (BEFORE, AFTER, "ratio")), f"{each['low']:.3f}..{each['high']:.3f}"]
        for row, each in report["rows"].items()
    ]
    verdicts = [each["verdict"] for each in report["rows"].values()]
    return [Table(head, [[*row, verdict] for row, verdict in zip(rows, verdicts, strict=True)])]


def checkout(text: str) -> Path:
    """A folder whose `gateway` package is the one that `python -m gateway` runs there."""
    folder = Path(text).resolve()
    if not (folder / "gateway" / "__main__.py").is_file():
        raise argparse.ArgumentTypeError(f"{folder} has no gateway package")
    ask = [sys.executable, "-c", "import gateway; print(gateway.__path__[0])"]
    told = subprocess.run(ask, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    if Path(told.stdout.strip()).resolve() != folder / "gateway":
        raise argparse.ArgumentTypeError(f"in {folder} another gateway is imported: {told.stdout or told.stderr}")
    return folder


BENCH = Bench(
    "compare",
    __doc__,
    (
        Option("base", checkout, None, "the folder of the checkout to compare with", "BASE"),
        Option("--rows", several(ROWS), list(ROWS), f"only these of {', '.join(ROWS)}", "A,B"),
        Option("--pairs", bounded(1, 200), 20, "with less than 6 there is no 95 % interval"),
    ),
    measure,
    tables,
    packages=("uvloop", "aiohttp", "httptools"),
)
main = BENCH.main

if __name__ == "__main__":
    sys.exit(main())
