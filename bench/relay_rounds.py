"""Wiring: the rounds of the relay bench.

In: the line-up of peers and a load. Out: figures per peer and round. Invariant: peers take turns of about a second,
experiment by experiment and in alternating order: a virtual machine's cost of a system call was seen to drift by
a factor of three within half a minute, which long turns would hand to one peer alone. Who is not on turn is frozen.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench import peers
from bench.command import say
from bench.load import Load, Outcome, Plan, Probe, Sample
from bench.load_client import Header, Target
from bench.measure import percentile
from bench.peers import Peer, PeerFailed
from bench.relay_report import DIRECT, Figures, Results

SLICE_SECONDS = 1.0  # the longest window of one turn
SPREAD = 0.5  # starts of the CPU run
SETTLE = 0.1  # from the last start to the window in which CPU is counted
MARGIN = 0.25  # how long all streams outlast that window
ONE_REQUESTS = 300  # per round, for the TTFT of one stream at a time
MANY_RATE = 40  # events/s of each of the concurrent streams, half a second long
MANY_TOKENS = 20

SHORT_STREAMS = 20  # at once, of the run that counts requests
SHORT_GAP = 0.02
SHORT_TOKENS = 2

WARM_UP = Plan(streams=8, tokens=20, gap=0.005, turns=3)


@dataclass(frozen=True, slots=True)
class Options:
    """Of a round; `seconds` is the time in which CPU is counted, cut into slices."""

    streams: int
    rate: float
    seconds: float
    ttft_streams: int
    headers: tuple[Header, ...] = ()

    @property
    def slices(self) -> int:
        return math.ceil(self.seconds / SLICE_SECONDS)

    def cpu_plan(self, share: float) -> Plan:
        window = self.seconds / self.slices
        return Plan(
            streams=max(1, round(self.streams * share)),
            tokens=round((SPREAD + SETTLE + window + MARGIN) * self.rate),
            gap=1 / self.rate,
            spread=SPREAD,
            window=(SPREAD + SETTLE, SPREAD + SETTLE + window),
        )

    def one_plan(self) -> Plan:
        turns = math.ceil(ONE_REQUESTS / self.slices) + 1
        return Plan(streams=1, tokens=4, gap=0.001, turns=turns, pause=0.002)

    def requests_plan(self, share: float) -> Plan:
        """Streams of next to nothing, one after another, for as long as a slice."""
        turns = max(1, round(self.seconds / self.slices / (SHORT_GAP * (SHORT_TOKENS + 2))))
        return Plan(max(1, round(SHORT_STREAMS * share)), SHORT_TOKENS, gap=SHORT_GAP, spread=SHORT_GAP, turns=turns)

    def many_plan(self, share: float) -> Plan:
        streams = max(1, round(self.ttft_streams * share))
        return Plan(streams, MANY_TOKENS, gap=1 / MANY_RATE, spread=0.5, turns=2, pause=0.01)


class StreamsBroken(Exception):
    """A peer lost, changed or held back what it had to relay: its figures would mean nothing."""


@dataclass(slots=True)
class Pool:
    """What the slices of one round gave."""

    plan: Plan
    windows: list[Sample] = field(default_factory=list)
    wholes: list[Sample] = field(default_factory=list)
    requests: list[tuple[float, int]] = field(default_factory=list)  # CPU seconds, and for how many
    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    one: list[float] = field(default_factory=list)
    many: list[float] = field(default_factory=list)

    def figures(self) -> Figures:
        seconds = sum(window.at for window in self.windows)
        events = sum(window.events for window in self.windows)
        cpu = sum(window.peer_cpu for window in self.windows)
        return {
            "streams": self.plan.streams,
            "events_per_s": events / seconds,
            "rate_kept": events / seconds * self.plan.gap / self.plan.streams,
            "cpu_us": cpu / events * 1e6,
            "request_us": sum(one for one, _ in self.requests) / sum(count for _, count in self.requests) * 1e6,
            "cpu_us_with_requests": _cpu(self.wholes) / sum(whole.events for whole in self.wholes) * 1e6,
            "peer_core": cpu / seconds,
            "load_core": sum(window.own_cpu for window in self.windows) / seconds,
            "latency_p50_us": percentile(self.latencies, 0.5) * 1e6,
            "latency_p99_us": percentile(self.latencies, 0.99) * 1e6,
            "late_send_p99_us": percentile(self.lateness, 0.99) * 1e6,
            **_ttft_figures("ttft_one", self.one),
            **_ttft_figures("ttft_many", self.many),
        }


def _cpu(samples: list[Sample]) -> float:
    return sum(sample.peer_cpu for sample in samples)


def _ttft_figures(name: str, ttfts: list[float]) -> Figures:
    return {
        f"{name}_requests": len(ttfts),
        f"{name}_p50_ms": percentile(ttfts, 0.5) * 1e3,
        f"{name}_p99_ms": percentile(ttfts, 0.99) * 1e3,
    }


@dataclass(slots=True)
class Seat:
    """One peer of a round, or none between (direct)."""

    name: str
    target: Target
    probe: Probe
    share: float
    pool: Pool
    turn: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext


Experiment = Callable[[Seat], None]


class Round:
    """Starts every peer, gives each its turns, adds a set of figures per peer to the results."""

    def __init__(self, label: str, load: Load, options: Options, results: Results, core: int) -> None:
        self._label, self._load, self._options, self._results, self._core = label, load, options, results, core

    def play(self, line_up: list[Peer]) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="bench-relay-") as folder,
            contextlib.ExitStack() as stack,
        ):
            seats = [self._seat(DIRECT, Target(self._load.port, headers=self._options.headers))]
            for peer in line_up:
                if peer.name not in self._results.failures:
                    self._start(peer, Path(folder) / peer.name, stack, seats)
            everyone = list(seats)
            self._turn("warm-up", self._warm_up, seats)
            for number in range(self._options.slices):
                step = f"slice {number + 1}/{self._options.slices}"
                seats.reverse()
                self._turn(f"{step}, CPU per event", self._cpu, seats)
                self._turn(f"{step}, CPU per request", self._requests, seats)
                self._turn(f"{step}, TTFT of one stream", self._one, seats)
                self._turn(f"{step}, TTFT of concurrent streams", self._many, seats)
        for seat in [one for one in everyone if one in seats]:
            self._results.add(seat.name, seat.pool.figures())

    def _seat(self, name: str, target: Target, probe: Probe = lambda: 0.0, share: float = 1.0) -> Seat:
        return Seat(name, target, probe, share, Pool(self._options.cpu_plan(share)))

    def _start(self, peer: Peer, folder: Path, stack: contextlib.ExitStack, seats: list[Seat]) -> None:
        say(f"{self._label}: starting {peer.name}")
        try:
            running = stack.enter_context(peers.started(peer, folder, self._load.port, self._core))
        except PeerFailed as error:
            self._fail(peer.name, error)
            return
        running.freeze()
        target = peer.target(running.port, self._options.headers)
        seat = self._seat(peer.name, target, running.cpu, peer.load_share)
        seat.turn = running.awake
        seats.append(seat)

    def _turn(self, step: str, experiment: Experiment, seats: list[Seat]) -> None:
        """One experiment on every seat; who fails leaves the table."""
        say(f"{self._label}: {step}: {', '.join(seat.name for seat in seats)}")
        for seat in list(seats):
            try:
                with seat.turn():
                    experiment(seat)
            except StreamsBroken as error:
                self._fail(seat.name, StreamsBroken(f"{step}: {error}"))
                seats.remove(seat)

    def _fail(self, name: str, error: Exception) -> None:
        self._results.failures[name] = str(error)
        say(f"{self._label}: FAILED: {name}: {error}")

    def _warm_up(self, seat: Seat) -> None:
        self._run(seat, WARM_UP)

    def _cpu(self, seat: Seat) -> None:
        outcome = self._run(seat, seat.pool.plan)
        if outcome.window is None or outcome.whole is None:
            raise StreamsBroken("the run ended before its window")
        seat.pool.windows.append(outcome.window)
        seat.pool.wholes.append(outcome.whole)
        seat.pool.latencies += outcome.latencies()
        seat.pool.lateness += outcome.lateness()

    def _requests(self, seat: Seat) -> None:
        outcome = self._run(seat, self._options.requests_plan(seat.share))
        if outcome.whole is None:
            raise StreamsBroken("the run has no end")
        seat.pool.requests.append((outcome.whole.peer_cpu, len(outcome.exchanges)))

    def _one(self, seat: Seat) -> None:
        seat.pool.one += self._run(seat, self._options.one_plan()).ttfts(first_turn=2)

    def _many(self, seat: Seat) -> None:
        # The second turns: by then all streams are running, and each connection is warm.
        seat.pool.many += self._run(seat, self._options.many_plan(seat.share)).ttfts(first_turn=2)

    def _run(self, seat: Seat, plan: Plan) -> Outcome:
        outcome = self._load.run(plan, seat.target, seat.probe)
        trouble = outcome.failed + outcome.unfinished
        if trouble or outcome.reasons:
            count = f"{trouble} of {len(outcome.exchanges)} streams not whole ({outcome.unfinished} unfinished)"
            raise StreamsBroken(f"{count}; {'; '.join(outcome.reasons)}")
        return outcome
