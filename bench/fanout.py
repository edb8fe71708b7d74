"""Wiring: what does it cost to bring one stream to a hundred, a thousand, ten thousand subscribers?

    python -m bench.fanout [--subscribers 100,1000,10000] [--rounds 2] [--only gateway,nchan,c,aiohttp]

The gateway beside Nchan, a C loop of send() and aiohttp with a queue per subscriber: CPU per delivery with one event
at a time and with bursts, latency at the largest size, memory per idle subscriber. All peers run on one core, the
load on another. Peers whose subscribers fit into the limit of open files together take turns of a second; those whose
subscribers do not, turns of one life each.
"""

import contextlib
import sys
from dataclasses import dataclass
from typing import Any

from bench.kit.channel import PEERS, RESERVED_FILES, Channel, LineUp, channel, most_subscribers
from bench.kit.command import Bench, Given, reporting, say, take_turns
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
    single: Sample = NO_SAMPLE
    burst: Sample = NO_SAMPLE


class FanoutRound:
    """Every size once, every peer at each."""

    def __init__(
        self, label: str, given: Given, results: dict[int, Results], core: int, line_up: LineUp = PEERS
    ) -> None:
        self._label, self._given, self._results, self._core, self._line_up = label, given, results, core, line_up

    def play(self, names: list[str]) -> None:
        for size in self._given.subscribers:
            results = self._results.setdefault(size, Results())
            names = [name for name in reversed(names) if name not in results.failures]
            together = max(most_subscribers() // size, 1)
            for at in range(0, len(names), together):
                self._group(size, names[at : at + together], results)

    def _group(self, size: int, names: list[str], results: Results) -> None:
        given, label = self._given, f"{self._label}: {size} subscribers"
        with contextlib.ExitStack() as stack:
            entries: dict[str, FanoutEntry] = {}
            for name in names:
                say(f"{label} join {name}")
                with reporting(results.failures, name, f"{size} subscribers, join"):
                    found = stack.enter_context(channel(name, script(0, EVENTS), self._core, self._line_up))
                    entries[name] = FanoutEntry(found, found.join(size))
                    found.warm_up()
            stack.enter_context(undisturbed())
            for number in range(1, given.slices + 1):
                entries = dict(reversed(entries.items()))
                step = f"{label}, slice {number}/{given.slices}"
                take_turns(f"{step}, one event at a time", entries, self._single, results.failures)
                if given.burst:
                    take_turns(f"{step}, bursts", entries, self._burst, results.failures)
            if size == max(given.subscribers) and given.latency_seconds:
                take_turns(f"{label}, latency", entries, self._latency, results.failures)
        for name, entry in entries.items():
            figures = dict(entry.figures)
            for kind, spent in (("single", entry.single), ("burst", entry.burst)):
                if spent.events:
                    figures |= {f"{kind}_us": spent.each_us, f"{kind}_per_cpu_s": 1e6 / spent.each_us}
                    figures |= spent.cores(f"{kind}_")
            results.add(name, figures)

    def _single(self, entry: FanoutEntry) -> None:
        entry.single += entry.channel.passes(self._given.slice_seconds)[0]

    def _burst(self, entry: FanoutEntry) -> None:
        entry.burst += entry.channel.passes(self._given.slice_seconds, self._given.burst, MAX_BURST_PASSES)[0]

    def _latency(self, entry: FanoutEntry) -> None:
        """Events on schedule, whether or not the last one has reached everybody."""
        found, subscribers, rate, begin = (
            entry.channel,
            entry.channel.subscribers,
            self._given.rate,
            entry.channel.sample(),
        )
        latencies = subscribers.latencies = []
        for number in range(round(rate * self._given.latency_seconds)):
            due = begin.seconds + number / rate
            while clock() < due:
                subscribers.look(due + LATE_SECONDS)
            found.publish(1)
        spent = found.sample() - begin
        subscribers.wait_all(LATE_SECONDS)
        subscribers.latencies = None
        entry.figures |= times_ms(latencies, "latency_") | spent.cores("latency_")


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    most = most_subscribers()
    if over := [size for size in given.subscribers if size > most]:
        say(f"the limit of open files allows {most} subscribers instead of {over}")
    given.subscribers = sorted({min(size, most) for size in given.subscribers})
    given.open_files = most + RESERVED_FILES
    results: dict[int, Results] = {}
    for number in range(1, given.rounds + 1):
        FanoutRound(f"round {number}/{given.rounds}", given, results, cores[0]).play(list(given.only or PEERS))
    return {"sizes": {str(size): _size_json(each) for size, each in results.items()}}


def _size_json(results: Results) -> dict[str, object]:
    peers: dict[str, object] = {}
    for name, rounds in results.rounds.items():
        found: dict[str, object] = {**results.spreads(name)}
        for other in (C, NCHAN, AIOHTTP):
            for key in ("single_per_cpu_s", "burst_per_cpu_s"):
                found[f"{key}_vs_{other}"] = results.ratio(name, other, key)
        peers[name] = found | {"rounds": rounds}
    return {"peers": peers, "failures": results.failures, "faults": faults(results)}


def faults(results: Results) -> float | None:
    """0: every subscriber of the gateway got every event, in order, exactly once; a fault ends a run, so that there
    is never more than 1. None: nobody has looked."""
    if failure := results.failures.get(GATEWAY):
        return None if ", join:" in failure else 1.0
    return 0.0 if "latency_p99_ms" in results.rounds.get(GATEWAY, [{}])[0] else None


BENCH = Bench("fanout", __doc__, measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
