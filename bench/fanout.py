"""Wiring: what does it cost to bring one stream to a hundred, a thousand, ten thousand subscribers?

The gateway with a completion and with a feed, beside Nchan, a C loop of send() and aiohttp with a queue per
subscriber: CPU per delivery with one event at a time and with bursts, latency at the largest size, memory per idle
subscriber. All peers run on one core, the load on another. Peers whose subscribers fit into the limit of open files
together take turns of a second; those whose subscribers do not, turns of one life each.
"""

import contextlib
import math
from dataclasses import dataclass, field
from typing import Any

from bench.kit.channel import WITH_FEED, Channel, LineUp, channel, most_subscribers
from bench.kit.command import Bench, Given, Turns, reporting, rounds, say
from bench.kit.figures import NO_SAMPLE, Figures, Results, Sample, times_ms
from bench.kit.loop import clock, undisturbed
from bench.kit.peers import AIOHTTP, GATEWAY, NCHAN, C
from bench.kit.script import script

EVENTS = 60_000  # prepared for the life of one peer: more than its turns can use up
MAX_BURST_PASSES = 60  # per turn
LATE_SECONDS = 30.0


@dataclass(slots=True)
class FanoutEntry:
    """A channel in its round, with what it has shown so far."""

    channel: Channel
    figures: Figures
    spent: dict[str, Sample] = field(default_factory=lambda: {"single": NO_SAMPLE, "burst": NO_SAMPLE})

    def turn(self, given: Given, burst: int = 0) -> None:
        """Events one at a time, or in bursts, each when everybody has the one before."""
        kind, most = ("burst", MAX_BURST_PASSES) if burst else ("single", math.inf)
        self.spent[kind] += self.channel.passes(given.slice_seconds, burst or 1, most)[0]

    def latency(self, rate: float, seconds: float) -> None:
        """Events on schedule, whether or not the last one has reached everybody."""
        subscribers, begin = self.channel.subscribers, self.channel.sample()
        latencies = subscribers.latencies = []
        for number in range(round(rate * seconds)):
            due = begin.seconds + number / rate
            while clock() < due:
                subscribers.look(due + LATE_SECONDS)
            self.channel.publish(1)
        subscribers.wait_all(LATE_SECONDS)
        subscribers.latencies = None
        self.figures |= times_ms(latencies, "latency_")

    def all_figures(self) -> Figures:
        found = dict(self.figures)
        for kind, spent in self.spent.items():
            if spent.events:
                found |= {f"{kind}_us": spent.each_us, f"{kind}_per_cpu_s": 1e6 / spent.each_us}
                found |= spent.cores(f"{kind}_")
        return found


@dataclass(frozen=True, slots=True)
class FanoutRound:
    """Every size once, every peer at each."""

    label: str
    given: Given
    results: dict[int, Results]
    core: int
    line_up: LineUp = field(default_factory=lambda: WITH_FEED)

    def play(self, names: list[str]) -> None:
        for size in self.given.subscribers:
            results = self.results.setdefault(size, Results())
            names = [name for name in reversed(names) if name not in results.failures]
            together = max(most_subscribers() // size, 1)
            for at in range(0, len(names), together):
                self._group(size, names[at : at + together], results)

    def _group(self, size: int, names: list[str], results: Results) -> None:
        given, turns = self.given, Turns[FanoutEntry](f"{self.label}: {size} subscribers", results.failures)
        with contextlib.ExitStack() as stack:
            for name in names:
                say(f"{turns.label} join {name}")
                with reporting(turns.failures, name, f"{size} subscribers, join"):
                    found = stack.enter_context(channel(name, script(0, EVENTS), self.core, self.line_up))
                    turns.entries[name] = FanoutEntry(found, found.join(size))
                    found.warm_up()
            stack.enter_context(undisturbed())
            for number in range(1, given.slices + 1):
                turns.reverse()
                turns.take(f"slice {number}/{given.slices}, one event at a time", FanoutEntry.turn, given)
                if given.burst:
                    turns.take(f"slice {number}/{given.slices}, bursts", FanoutEntry.turn, given, given.burst)
            if size == max(given.subscribers) and given.latency_seconds:
                turns.take("latency", FanoutEntry.latency, given.rate, given.latency_seconds)
        for name, entry in turns.entries.items():
            results.add(name, entry.all_figures())


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    given.subscribers = sorted({min(size, most_subscribers()) for size in given.subscribers})
    results: dict[int, Results] = {}
    for label in rounds(given):
        FanoutRound(label, given, results, cores[0]).play(list(given.only or WITH_FEED))
    return {"sizes": {str(size): _size_json(each) for size, each in results.items()}}


def _size_json(results: Results) -> dict[str, object]:
    ratios = [(other, f"{kind}_per_cpu_s") for other in (C, NCHAN, AIOHTTP, GATEWAY) for kind in ("single", "burst")]
    return {**results.json(ratios), "faults": faults(results)}


def faults(results: Results) -> float | None:
    """0: every subscriber of the gateway got every event, in order, exactly once; a fault ends a run, so that there
    is never more than 1. None: nobody has looked."""
    if failure := results.failures.get(GATEWAY):
        return None if ", join:" in failure else 1.0
    return 0.0 if "latency_p99_ms" in results.rounds.get(GATEWAY, [{}])[0] else None


BENCH = Bench("fanout", __doc__, measure)
BENCH.run_as(__name__)
