"""Wiring: is the gateway of this checkout slower, or larger, than the gateway of another checkout?

    python -m bench.compare BASE [--rows relay,fanout,ttft,memory] [--pairs 20] [--json FILE]

BASE is the folder of the other checkout, "before"; this one is "after". Both gateways run as processes in their own
folders, behind the load and the upstreams of this checkout, and are driven through `serve --config FILE` and HTTP
alone. A pair starts both anew on one core, gives them turns in the order A B B A (the next pair B A A B), and takes
the ratio after / before of each row. Progress and a table go to stderr, one line of JSON to stdout. Exit 1: a row is
worse by more than 3 %, or a gateway failed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bench import machine, peers
from bench.command import bounded, say, take_machine
from bench.compare_ratios import Ratios, verdict_table
from bench.fanout_audience import Late
from bench.fanout_join import JOIN_SECONDS, join
from bench.fanout_peers import Seat, seated_peer
from bench.fanout_publish import Provider
from bench.fanout_rounds import PASS_SECONDS, WARM_UP_EVENTS
from bench.frames import BrokenStream, script
from bench.load import Load, Outcome, Plan, Probe
from bench.load_client import Target
from bench.loop import clock
from bench.measure import percentile
from bench.peers import PeerFailed, Running
from bench.relay_report import DIRECT
from bench.relay_rounds import WARM_UP, StreamsBroken

BEFORE, AFTER = "before", "after"
EVENT, REQUEST = "relay: CPU us per event", "short request: CPU us"
ONE, MANY = "TTFT added, one stream: p50 ms", "TTFT added, 100 streams: p50 ms"
DELIVERY = "fan-out to 1,000: CPU us per delivery"
MEMORY = "memory of an idle subscriber: KiB"
ROWS = {"relay": (EVENT, REQUEST), "ttft": (ONE, MANY), "fanout": (DELIVERY,), "memory": (MEMORY,)}
# The load of bench.relay in shorter turns: what a system call costs drifts within seconds.
EVENTS_PLAN = Plan(streams=300, tokens=120, gap=0.01, spread=0.3, window=(0.4, 1.0))
REQUESTS_PLAN = Plan(streams=20, tokens=2, gap=0.02, spread=0.02, turns=3)
ONE_PLAN = Plan(streams=1, tokens=4, gap=0.001, turns=21, pause=0.002)
MANY_PLAN = Plan(streams=100, tokens=20, gap=0.025, spread=0.5, turns=3, pause=0.01)
# The load of bench.fanout, and who joins behind it and only waits.
FANOUT_SUBSCRIBERS, FANOUT_SECONDS = 1000, 0.35
MEMORY_SUBSCRIBERS = 5000
CYCLES = {EVENT: 2, REQUEST: 4, ONE: 4, MANY: 1, DELIVERY: 4}  # of A B B A within a pair
EVENTS = 20_000  # prepared for the life of a gateway: more than its turns can use up
FAULTS = (PeerFailed, BrokenStream, StreamsBroken, Late, OSError)
Figures = dict[str, dict[str, float]]  # by row, then by checkout


@dataclass(slots=True)
class Turns:
    """One gateway of a pair, or the upstream itself (direct), and what its turns have shown."""

    name: str
    target: Target
    running: Running | None = None
    cpu: dict[str, float] = field(default_factory=lambda: {EVENT: 0.0, REQUEST: 0.0, DELIVERY: 0.0})
    counts: dict[str, int] = field(default_factory=lambda: {EVENT: 0, REQUEST: 0, DELIVERY: 0})
    ttfts: dict[str, list[float]] = field(default_factory=lambda: {ONE: [], MANY: []})

    def add(self, row: str, cpu: float, count: int) -> None:
        self.cpu[row] += cpu
        self.counts[row] += count

    def run(self, load: Load, plan: Plan) -> Outcome:
        """One plan, with this gateway awake. Raises `StreamsBroken`."""
        probe: Probe = self.running.cpu if self.running else lambda: 0.0
        with self.running.awake() if self.running else contextlib.nullcontext():
            outcome = load.run(plan, self.target, probe)
        if outcome.failed or outcome.unfinished or outcome.reasons:
            raise StreamsBroken(f"{self.name}: {outcome.failed} failed; {'; '.join(outcome.reasons)}")
        return outcome

    def count_events(self, load: Load) -> None:
        relayed = self.run(load, EVENTS_PLAN)
        if relayed.window is None:
            raise StreamsBroken(f"{self.name}: the run ended before its window")
        self.add(EVENT, relayed.window.peer_cpu, relayed.window.events)

    def count_requests(self, load: Load) -> None:
        asked = self.run(load, REQUESTS_PLAN)
        if asked.whole is None:
            raise StreamsBroken(f"{self.name}: the run has no end")
        self.add(REQUEST, asked.whole.peer_cpu, len(asked.exchanges))

    def each_us(self, row: str) -> float:
        return self.cpu[row] / self.counts[row] * 1e6

    def p50_ms(self, row: str) -> float:
        return percentile(self.ttfts[row], 0.5) * 1e3


class Comparison:
    """Plays pairs; keeps the ratios of every row."""

    def __init__(self, base: Path, rows: list[str], core: int) -> None:
        self._homes = {BEFORE: base, AFTER: machine.ROOT}
        self._rows, self._core = rows, core
        self.figures: dict[str, list[dict[str, float]]] = {row: [] for name in rows for row in ROWS[name]}

    def play(self, number: int) -> None:
        """Raises one of `FAULTS`."""
        order = [BEFORE, AFTER] if number % 2 else [AFTER, BEFORE]
        figures: Figures = {}
        with tempfile.TemporaryDirectory(prefix="bench-compare-") as folder:
            if {"relay", "ttft"} & set(self._rows):
                figures |= self._relayed(order, Path(folder) / "relay")
            if {"fanout", "memory"} & set(self._rows):
                figures |= self._delivered(order, Path(folder) / "fanout")
        for row, by_checkout in figures.items():
            self.figures[row].append(by_checkout)

    def _relayed(self, order: list[str], folder: Path) -> Figures:
        """Rows of `relay` and `ttft`: both gateways live side by side, who is not on turn is frozen."""
        load = Load()
        with contextlib.ExitStack() as stack:
            stack.callback(load.close)
            turns = [self._started(name, folder / name, load, stack) for name in order]
            direct = Turns(DIRECT, Target(load.port))
            for one in (*turns, direct):
                one.run(load, WARM_UP)
            if "relay" in self._rows:
                for one in alternating(turns, CYCLES[EVENT]):
                    one.count_events(load)
                for one in alternating(turns, CYCLES[REQUEST]):
                    one.count_requests(load)
            if "ttft" in self._rows:
                for row, plan in ((ONE, ONE_PLAN), (MANY, MANY_PLAN)):
                    for one in alternating([*turns, direct], CYCLES[row]):
                        one.ttfts[row] += one.run(load, plan).ttfts(first_turn=2)
        figures: Figures = {}
        if "relay" in self._rows:
            figures |= {row: {one.name: one.each_us(row) for one in turns} for row in (EVENT, REQUEST)}
        if "ttft" in self._rows:
            added = {row: {one.name: one.p50_ms(row) - direct.p50_ms(row) for one in turns} for row in (ONE, MANY)}
            figures |= added
        return figures

    def _started(self, name: str, folder: Path, load: Load, stack: contextlib.ExitStack) -> Turns:
        peer = peers.gateway(name, self._homes[name])
        running = stack.enter_context(peers.started(peer, folder, load.port, self._core))
        running.freeze()
        return Turns(name, Target(running.port), running)

    @contextlib.contextmanager
    def _seat(self, name: str, folder: Path) -> Iterator[Seat]:
        """A gateway with a stream that can be joined."""
        prepared = script(0, EVENTS)
        peer = peers.gateway(name, self._homes[name])
        with seated_peer(peer, Provider(prepared), folder / name, prepared, self._core) as seat:
            yield seat

    def _delivered(self, order: list[str], folder: Path) -> Figures:
        """Rows of `fanout` and `memory`."""
        figures: Figures = {}
        with contextlib.ExitStack() as stack:
            seats = [stack.enter_context(self._seat(name, folder)) for name in order]
            turns = {seat.name: Turns(seat.name, Target(seat.running.port)) for seat in seats}
            for seat in seats:
                seat.audience.join(FANOUT_SUBSCRIBERS, JOIN_SECONDS)
                seat.publish(WARM_UP_EVENTS)
                seat.audience.wait_all(clock() + PASS_SECONDS)
            if "fanout" in self._rows:
                for seat in alternating(seats, CYCLES[DELIVERY]):
                    _fanout_turn(seat, turns[seat.name])
                figures[DELIVERY] = {name: one.each_us(DELIVERY) for name, one in turns.items()}
            if "memory" in self._rows:
                figures[MEMORY] = {seat.name: _memory_kib(seat) for seat in seats}
        return figures


T = TypeVar("T")


def alternating(turns: Sequence[T], cycles: int) -> Iterator[T]:
    """A B B A, again and again: what drifts steadily falls on both alike."""
    for _ in range(cycles):
        yield from turns
        yield from reversed(turns)


def _memory_kib(seat: Seat) -> float:
    """Subscribers join that get nothing; those before them have used up what the process had free from its start."""
    seat.audience.ask("from=now")
    return join(seat, MEMORY_SUBSCRIBERS, seat.audience.published)["anonymous_kib"]


def _fanout_turn(seat: Seat, turns: Turns) -> None:
    """One event at a time: publish, wait until everybody has it, again."""
    gc.collect()
    gc.disable()
    audience = seat.audience
    begun, cpu, received = clock(), seat.running.cpu(), audience.received
    try:
        while (now := clock()) < begun + FANOUT_SECONDS:
            seat.publish(1)
            audience.wait_all(now + PASS_SECONDS)
    finally:
        gc.enable()
    turns.add(DELIVERY, seat.running.cpu() - cpu, audience.received - received)


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    facts: dict[str, object] = {
        "bench": "compare",
        "machine": machine.facts(),
        "versions": machine.versions("uvloop", "aiohttp", "httptools"),
        "options": {"base": str(given.base), "rows": given.rows, "pairs": given.pairs},
    }
    core, _ = take_machine()
    comparison, failure, begun = Comparison(given.base, given.rows, core), "", time.monotonic()
    try:
        for number in range(1, given.pairs + 1):
            say(f"pair {number}/{given.pairs}, {time.monotonic() - begun:.0f} s so far")
            comparison.play(number)
    except FAULTS as error:
        failure = str(error) or type(error).__name__
        say(f"FAILED: {failure}")
    ratios = [Ratios.of(row, pairs) for row, pairs in comparison.figures.items() if pairs]
    say(f"\n{verdict_table(ratios)}\n")
    facts |= {"rows": [one.as_json() for one in ratios], "pairs": comparison.figures, "failure": failure}
    facts |= {"load_average_after": os.getloadavg()[0]}
    line = json.dumps(facts)
    print(line, flush=True)
    if given.json:
        given.json.write_text(line + "\n")
    return 1 if failure or any(one.is_worse for one in ratios) else 0


def checkout(text: str) -> Path:
    """A folder whose `gateway` package is the one that `python -m gateway` runs there."""
    folder = Path(text).resolve()
    if not (folder / "gateway" / "__main__.py").is_file():
        raise argparse.ArgumentTypeError(f"{folder} has no gateway package")
    ask = [sys.executable, "-c", "import gateway; print(gateway.__path__[0])"]
    told = subprocess.run(ask, cwd=folder, env=peers.environment(folder), capture_output=True, text=True, check=False)
    if Path(told.stdout.strip()).resolve() != folder / "gateway":
        raise argparse.ArgumentTypeError(f"in {folder} another gateway is imported: {told.stdout or told.stderr}")
    return folder


def _rows(text: str) -> list[str]:
    if unknown := set(text.split(",")) - set(ROWS):
        raise argparse.ArgumentTypeError(f"unknown {sorted(unknown)}, there are {', '.join(ROWS)}")
    return text.split(",")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("base", type=checkout, metavar="BASE", help="the folder of the checkout to compare with")
    add("--rows", type=_rows, default=list(ROWS), metavar="A,B", help=f"only these of {', '.join(ROWS)}")
    add("--pairs", type=bounded(1, 200, int), default=20, help="with less than 6 there is no 95 % interval")
    add("--json", type=Path, metavar="FILE", help="write the line of JSON here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
