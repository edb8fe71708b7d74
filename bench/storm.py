"""Wiring: what happens when everybody comes at once, and when a tenth of them is cut off and comes back?

    python -m bench.storm [--subscribers 5000] [--seconds 2] [--resume 500] [--rate 20] [--json FILE]

While events flow, subscribers join the gateway within `--seconds`; later `--resume` of them hang up and come back
with their Last-Event-ID. Every event must reach everybody, in order, exactly once. Progress and tables go to
stderr, one line of JSON to stdout. Exit 1: a promise was broken.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import machine
from bench.command import say, take_machine, tell
from bench.fanout_audience import Late
from bench.fanout_peers import Seat, seated
from bench.fanout_report import GATEWAY
from bench.fanout_rounds import RESERVED_FILES
from bench.frames import BrokenStream, script
from bench.loop import clock
from bench.measure import percentile, table
from bench.peers import PeerFailed

CALM_SECONDS = 2.0  # events flow between and after the storms
PATIENCE_SECONDS = 30.0  # for the last of a storm to be served, and for the last event to arrive
FILES_SECONDS = 5.0  # for descriptors to be closed after their clients
EVENTS = 20_000  # prepared
Figures = dict[str, float]


@dataclass(slots=True)
class Flow:
    """Events on schedule, for as long as somebody runs it."""

    seat: Seat
    rate: float
    due: float

    def run(self, until: float, joins: list[tuple[float, Callable[[], None]]] | None = None) -> None:
        """Publish, read, and make the joins that are due, until the clock shows `until`."""
        waiting = joins or []  # the next one last
        while (now := clock()) < until or waiting:
            if now >= self.due:
                self.seat.publish(1)
                self.due += 1 / self.rate
            for _ in range(min(len(waiting), 8)):
                if waiting[-1][0] > now:
                    break
                waiting.pop()[1]()
            self.seat.audience.look(now + PATIENCE_SECONDS)


def storm(seat: Seat, given: argparse.Namespace) -> Figures:
    """The whole run. Raises `BrokenStream` or `Late` when a subscriber missed or was repeated anything."""
    audience, flow = seat.audience, Flow(seat, given.rate, clock())
    figures: Figures = {"files_before": machine.open_files(seat.running.pid)}
    flow.run(clock() + CALM_SECONDS / 2)
    fds: list[int] = []
    say(f"{given.subscribers} join within {given.seconds:g} s")
    figures |= _wave(flow, "join", given.seconds, [lambda: fds.append(audience.connect())] * given.subscribers)
    flow.run(clock() + CALM_SECONDS)
    figures["files_joined"] = machine.open_files(seat.running.pid)
    say(f"{given.resume} hang up and come back")
    leavers = random.Random(1).sample(fds, given.resume)
    left = [audience.drop(fd) for fd in leavers]
    flow.run(clock() + 0.2)
    figures |= _wave(flow, "resume", given.seconds / 4, [_comer(seat, *one) for one in left])
    flow.run(clock() + CALM_SECONDS)
    audience.wait_all(clock() + PATIENCE_SECONDS)
    figures |= {"events": audience.published, "deliveries": audience.received}
    figures["files_resumed"] = machine.open_files(seat.running.pid)
    audience.drop_all()
    figures["files_after"] = _files_after(seat.running.pid, figures["files_before"])
    return figures


def _comer(seat: Seat, have: int, last_id: bytes) -> Callable[[], None]:
    def come() -> None:
        seat.audience.connect(have, last_id)

    return come


def _wave(flow: Flow, name: str, seconds: float, joins: list[Callable[[], None]]) -> Figures:
    """Spread the joins over the time; return how long each waited for its response head, and what it cost."""
    audience, running = flow.seat.audience, flow.seat.running
    audience.join_seconds.clear()
    begun, cpu, own = clock(), running.cpu(), time.process_time()
    spread = [(begun + seconds * number / len(joins), join) for number, join in enumerate(joins)]
    flow.run(begun + seconds, spread[::-1])
    offered = clock() - begun
    until = clock() + PATIENCE_SECONDS
    while audience.joining and clock() < until:
        flow.run(clock() + 0.01)
    if audience.joining:
        raise Late(f"{name}: {audience.joining} without a response head")
    spent, used = clock() - begun, running.cpu() - cpu
    return {
        f"{name}_p50_ms": percentile(audience.join_seconds, 0.5) * 1e3,
        f"{name}_p99_ms": percentile(audience.join_seconds, 0.99) * 1e3,
        f"{name}_max_ms": max(audience.join_seconds) * 1e3,
        f"{name}_offered_seconds": offered,
        f"{name}_seconds": spent,
        f"{name}_peer_core": used / spent,
        f"{name}_load_core": (time.process_time() - own) / spent,
    }


def _files_after(pid: int, before: float) -> int:
    until = clock() + FILES_SECONDS
    while (files := machine.open_files(pid)) > before and clock() < until:
        time.sleep(0.05)
    return files


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    most = machine.raise_open_files() - RESERVED_FILES
    if given.subscribers > most:
        say(f"the limit of open files allows {most} subscribers instead of {given.subscribers}")
        given.subscribers = most
    given.resume = min(given.resume, given.subscribers)
    facts: dict[str, object] = {
        "bench": "storm",
        "machine": machine.facts(),
        "versions": machine.versions("uvloop", "aiohttp", "rivergate"),
    }
    facts["options"] = {name: getattr(given, name) for name in ("subscribers", "seconds", "resume", "rate")}
    peer_core, _ = take_machine()
    prepared = script(0, EVENTS)
    gc.freeze()
    gc.disable()
    figures: Figures = {}
    failure = ""
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bench-storm-") as folder,
            seated(GATEWAY, Path(folder) / GATEWAY, prepared, peer_core) as seat,
        ):
            figures = storm(seat, given)
    except (PeerFailed, BrokenStream, Late, OSError) as error:
        failure = str(error)
    say("\n" + table(("storm", "value"), [(name, f"{value:.4g}") for name, value in figures.items()]) + "\n")
    if failure:
        say(f"FAILED: {failure}")
    tell({**facts, "figures": figures, "failure": failure}, given.json)
    return 1 if failure else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.storm", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--subscribers", type=int, choices=range(1, 50_001), default=5000, metavar="N")
    add("--seconds", type=float, default=2.0, help="in which they join")
    add("--resume", type=int, choices=range(1, 50_001), default=500, metavar="N", help="hang up and come back")
    add("--rate", type=float, default=20.0, help="events/s")
    add("--json", type=Path, metavar="FILE", help="write the line of JSON here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
