"""Wiring: is the gateway of this checkout slower, or larger, than the gateway of another checkout?

BASE is the folder of the other checkout, "before"; this one is "after". Both gateways run as processes in their own
folders, behind the load and the upstreams of this checkout, and are driven through `serve --config FILE` and HTTP
alone. A pair is a short round of bench.relay and of bench.fanout with both gateways, started anew, who take turns in
the order A B B A (B A A B in the next pair); it gives the ratio after / before of each row. Exit 1: a row is worse by
more than 3 %, or a gateway failed.
"""

import argparse
import contextlib
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import fanout, relay
from bench.kit.channel import JOIN_SECONDS, LineUp, Provider, channel
from bench.kit.command import Bench, Given, reporting, say
from bench.kit.figures import Figures, Results
from bench.kit.load import Load
from bench.kit.loop import clock
from bench.kit.peers import DIRECT, GATEWAY, Peer, environment
from bench.kit.script import script

BEFORE, AFTER = "before", "after"
RELAY = Given(streams=300, rate=100.0, seconds=1.2, ttft_streams=100)  # the load of bench.relay
RELAY_SLICE, RELAY_TURNS = 0.6, 3  # short, since what a system call costs drifts; many, since a TTFT varies
FANOUT = Given(subscribers=[1000], slices=2, slice_seconds=0.5, burst=0, latency_seconds=0)  # of bench.fanout
WARM_SUBSCRIBERS, IDLE_SUBSCRIBERS = 500, 2500  # the first use up the memory that a process has free from its start
LIMIT = 1.03  # a row beyond this ratio is worse
MAX_OUTSIDE = 0.05
MIN_PAIRS = 6  # with less no interval is 95 % certain
ROWS = (  # the word of `--rows`, the round that has the figure, the name of the figure, the row
    ("relay", "relay", "cpu_us", "relay: CPU us per event"),
    ("relay", "relay", "request_us", "short request: CPU us"),
    ("ttft", "relay", "ttft_one_p50_ms", "TTFT added, one stream: p50 ms"),
    ("ttft", "relay", "ttft_many_p50_ms", "TTFT added, 100 streams: p50 ms"),
    ("fanout", "fanout", "single_us", "fan-out to 1,000: CPU us per delivery"),
    ("memory", "memory", "anonymous_kib", "memory of an idle subscriber: KiB"),
)


def interval_rank(count: int) -> int:
    """The rank, from 0, of the lower bound (and from the top, of the upper bound) of the 95 % interval of a median.
    It assumes nothing about the distribution: the probability that the median of all values lies outside is that of
    a sign test. With less than `MIN_PAIRS` values the bounds are the lowest and the highest."""
    outside = [2 * 0.5**count * sum(math.comb(count, below) for below in range(rank + 1)) for rank in range(count)]
    return max(sum(share <= MAX_OUTSIDE for share in outside) - 1, 0)


def judged(before: Sequence[float], after: Sequence[float]) -> dict[str, Any]:
    """One row: the medians of both checkouts, and of the ratios of the pairs (below 1: better), with an interval."""
    ratios = sorted(high / low for high, low in zip(after, before, strict=True))
    rank, ratio = interval_rank(len(ratios)), statistics.median(ratios)
    low, high, is_worse = ratios[rank], ratios[-1 - rank], ratio > LIMIT
    certain = len(ratios) >= MIN_PAIRS and (low > LIMIT if is_worse else high <= LIMIT)
    verdict = ("WORSE by more than 3 %" if is_worse else "not worse") + ("" if certain else ", not certain")
    medians = {BEFORE: statistics.median(before), AFTER: statistics.median(after), "pairs": [before, after]}
    return medians | {"ratio": ratio, "low": low, "high": high, "worse": is_worse, "verdict": verdict}


class Pairs:
    """Plays the rounds of pairs; `results` holds the figures of every round."""

    def __init__(self, base: Path, words: Sequence[str], core: int) -> None:
        self._gateways = {BEFORE: Peer(BEFORE, GATEWAY, base), AFTER: Peer(AFTER, GATEWAY)}
        self._line_up: LineUp = {name: (gateway, Provider) for name, gateway in self._gateways.items()}
        self._rounds, self._core = {source for word, source, _, _ in ROWS if word in words}, core
        self.results = {source: Results() for _, source, _, _ in ROWS}

    @property
    def failures(self) -> dict[str, str]:
        return {name: why for results in self.results.values() for name, why in results.failures.items()}

    def play(self, label: str, names: Sequence[str]) -> None:
        """One pair, whose gateways start in this order."""
        if "relay" in self._rounds:
            with contextlib.closing(Load()) as load:
                results, line_up = self.results["relay"], [self._gateways[name] for name in names]
                relay.RelayRound(label, load, RELAY, results, self._core, RELAY_SLICE, RELAY_TURNS).play(line_up)
        if "fanout" in self._rounds:
            by_size = {FANOUT.subscribers[0]: self.results["fanout"]}
            fanout.FanoutRound(label, FANOUT, by_size, self._core, self._line_up).play(list(names))
        for name in names if "memory" in self._rounds else ():
            say(f"{label}: {IDLE_SUBSCRIBERS} idle subscribers of {name}")
            with reporting(self.results["memory"].failures, name, "memory"):
                self.results["memory"].add(name, self._idle(name))

    def _idle(self, name: str) -> Figures:
        with channel(name, script(0, fanout.EVENTS), self._core, self._line_up) as found:
            found.subscribers.join(WARM_SUBSCRIBERS, JOIN_SECONDS)
            return found.join(IDLE_SUBSCRIBERS)

    def row(self, source: str, key: str) -> tuple[list[float], list[float]]:
        """A figure of both gateways, pair by pair; a TTFT without that of a direct run."""
        rounds = self.results[source].rounds
        before, after, direct = (rounds.get(name, []) for name in (BEFORE, AFTER, DIRECT))
        least = [figures[key] for figures in direct] if key.startswith("ttft") else [0.0] * len(before)
        whole = list(zip(before, after, least, strict=False))
        return [old[key] - low for old, _, low in whole], [new[key] - low for _, new, low in whole]


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    pairs, begun = Pairs(given.base, given.rows, cores[0]), clock()
    for number in range(1, given.pairs + 1):
        names = (BEFORE, AFTER) if number % 2 else (AFTER, BEFORE)
        pairs.play(f"pair {number}/{given.pairs} ({clock() - begun:.0f} s so far)", names)
        if pairs.failures:
            break
    if given.pairs < MIN_PAIRS:
        say(f"with less than {MIN_PAIRS} pairs there is no 95 % interval: it is from the lowest to the highest")
    figures = {row: pairs.row(source, key) for word, source, key, row in ROWS if word in given.rows}
    rows = {row: judged(before, after) for row, (before, after) in figures.items() if before and after}
    given.base = str(given.base)
    worse = {row: verdict["verdict"] for row, verdict in rows.items() if verdict["worse"]}
    return {"rows": rows, "failures": pairs.failures | worse}


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


BENCH = Bench("compare", __doc__, measure, {"checkout": checkout})
BENCH.run_as(__name__)
