"""Wiring: the rounds of the fan-out bench.

In: names of peers, sizes of audiences. Out: figures per size, peer and round. Invariant: peers whose audiences fit
into the limit of open files together take turns of a second; those that do not, of one life each.
"""

from __future__ import annotations

import contextlib
import gc
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.command import say
from bench.fanout_audience import BUCKET_SECONDS, BUCKETS, Late
from bench.fanout_join import join
from bench.fanout_peers import Seat, seated
from bench.frames import BrokenStream, Script
from bench.loop import clock
from bench.peers import PeerFailed
from bench.relay_report import Figures, Results

WARM_UP_EVENTS = 3
PASS_SECONDS = 30.0  # the longest that everybody may take to get what was published
MAX_BURST_PASSES = 60  # per turn
RESERVED_FILES = 500


@dataclass(frozen=True, slots=True)
class Options:
    sizes: tuple[int, ...]
    burst: int
    slices: int  # turns per experiment and round
    slice_seconds: float
    rate: float  # events per second of the latency run, which is made at the largest size
    latency_seconds: float
    max_files: int


@dataclass(slots=True)
class Tally:
    """CPU and deliveries of one experiment, over its turns."""

    deliveries: int = 0
    seconds: float = 0.0
    peer_cpu: float = 0.0
    own_cpu: float = 0.0

    def figures(self, name: str) -> Figures:
        return {
            f"{name}_us": self.peer_cpu / self.deliveries * 1e6,
            f"{name}_per_cpu_s": self.deliveries / self.peer_cpu,
            f"{name}_peer_core": self.peer_cpu / self.seconds,
            f"{name}_load_core": self.own_cpu / self.seconds,
        }


@dataclass(slots=True)
class Entry:
    """A seat in its round, with what it has shown so far."""

    seat: Seat
    figures: Figures
    single: Tally = field(default_factory=Tally)
    burst: Tally = field(default_factory=Tally)


class Round:
    """Every size once, every peer at each."""

    def __init__(self, label: str, script: Script, options: Options, results: dict[int, Results], core: int) -> None:
        self._label, self._script, self._options, self._results, self._core = label, script, options, results, core

    def play(self, names: list[str]) -> None:
        for size in self._options.sizes:
            results = self._results.setdefault(size, Results())
            names = [name for name in reversed(names) if name not in results.failures]
            together = max((self._options.max_files - RESERVED_FILES) // size, 1)
            for at in range(0, len(names), together):
                self._group(size, names[at : at + together], results)

    def _group(self, size: int, names: list[str], results: Results) -> None:
        with tempfile.TemporaryDirectory(prefix="bench-fanout-") as folder, contextlib.ExitStack() as stack:
            entries: list[Entry] = []
            for name in names:
                with self._reporting(name, size, "join", results):
                    seat = stack.enter_context(seated(name, Path(folder) / name, self._script, self._core))
                    entries.append(self._join(seat, size))
            self._turns(size, entries, results)

    def _turns(self, size: int, entries: list[Entry], results: Results) -> None:
        options = self._options
        with _steady():
            for number in range(options.slices):
                entries.reverse()
                for step, experiment in (("one event at a time", self._single), ("bursts", self._burst)):
                    self._turn(f"slice {number + 1}/{options.slices}, {step}", size, entries, results, experiment)
            if size == max(options.sizes) and options.latency_seconds:
                self._turn("latency", size, entries, results, self._latency)
        for entry in entries:
            figures = entry.figures | entry.single.figures("single") | entry.burst.figures("burst")
            results.add(entry.seat.name, figures)

    def _turn(
        self, step: str, size: int, entries: list[Entry], results: Results, experiment: Callable[[Entry], None]
    ) -> None:
        say(f"{self._label}: {size} subscribers: {step}: {', '.join(one.seat.name for one in entries)}")
        for entry in list(entries):
            name = entry.seat.name
            with self._reporting(name, size, step, results):
                experiment(entry)
            if name in results.failures:
                entries.remove(entry)

    @contextlib.contextmanager
    def _reporting(self, name: str, size: int, step: str, results: Results) -> Iterator[None]:
        """Who fails is not asked again at this size."""
        try:
            yield
        except (PeerFailed, BrokenStream, Late, OSError) as error:
            results.failures[name] = f"{size} subscribers, {step}: {error}"
            say(f"{self._label}: FAILED: {name}: {results.failures[name]}")

    def _join(self, seat: Seat, size: int) -> Entry:
        say(f"{self._label}: {size} subscribers join {seat.name}")
        figures = join(seat, size)
        seat.publish(WARM_UP_EVENTS)
        seat.audience.wait_all(clock() + PASS_SECONDS)
        return Entry(seat, figures)

    def _single(self, entry: Entry) -> None:
        self._passes(entry.seat, entry.single, 1, math.inf)

    def _burst(self, entry: Entry) -> None:
        self._passes(entry.seat, entry.burst, self._options.burst, MAX_BURST_PASSES)

    def _passes(self, seat: Seat, tally: Tally, events: int, most: float) -> None:
        """Publish, wait until everybody has it, again."""
        audience = seat.audience
        begun, cpu, own, received, passes = clock(), seat.running.cpu(), time.process_time(), audience.received, 0
        while passes < most and (now := clock()) < begun + self._options.slice_seconds:
            seat.publish(events)
            audience.wait_all(now + PASS_SECONDS)
            passes += 1
        tally.seconds += clock() - begun
        tally.peer_cpu += seat.running.cpu() - cpu
        tally.own_cpu += time.process_time() - own
        tally.deliveries += audience.received - received

    def _latency(self, entry: Entry) -> None:
        """Events on schedule, whether or not the last one has reached everybody."""
        seat, options = entry.seat, self._options
        audience = seat.audience
        audience.latencies = [0] * BUCKETS
        begun, cpu, own = clock(), seat.running.cpu(), time.process_time()
        for number in range(round(options.rate * options.latency_seconds)):
            due = begun + number / options.rate
            while clock() < due:
                audience.look(due + PASS_SECONDS)
            seat.publish(1)
        spent = clock() - begun
        peer_core, load_core = (seat.running.cpu() - cpu) / spent, (time.process_time() - own) / spent
        audience.wait_all(clock() + PASS_SECONDS)
        counts, audience.latencies = audience.latencies, None
        entry.figures |= {
            "latency_p50_ms": _bucket(counts, 0.5) * 1e3,
            "latency_p99_ms": _bucket(counts, 0.99) * 1e3,
            "latency_max_ms": _bucket(counts, 1.0) * 1e3,
            "latency_peer_core": peer_core,
            "latency_load_core": load_core,
        }


def _bucket(counts: list[int], share: float) -> float:
    """The nearest-rank percentile of a histogram, in seconds: the upper end of its bucket."""
    rank, seen = max(1, math.ceil(share * sum(counts))), 0
    for number, count in enumerate(counts):
        seen += count
        if seen >= rank:
            return (number + 1) * BUCKET_SECONDS
    return math.nan


@contextlib.contextmanager
def _steady() -> Iterator[None]:
    """No collection of garbage: a pause of the load must not show as a peer's."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
