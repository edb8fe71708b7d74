"""Wiring: how does the cost of the gateway grow, and with what?

    python -m bench.growth [--seconds 1] [--rounds 2] [--only streams,log]

CPU and memory against streams, subscribers, the size of an event, the rate of events, and the length of the log that
a late joiner gets: medians over rounds in which the curves take turns. The exponent of each cost is fitted over the
upper half of its curve: beyond 1.15 it is "worse than linear", a defect. A C loop of send() shows what of the growth
with subscribers is the kernel's. Progress and tables go to stderr, one line of JSON to stdout. Exit 1: a curve could
not be taken.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from bench import machine
from bench.command import bounded, say, take_machine, tell
from bench.fanout_audience import Late
from bench.fanout_report import GATEWAY, C
from bench.fanout_rounds import RESERVED_FILES
from bench.frames import BrokenStream
from bench.growth_fanout import with_log, with_subscribers
from bench.growth_fit import Point, fits, merged
from bench.growth_relay import (
    RATE_STREAMS,
    SIZED_RATE,
    SIZED_STREAMS,
    STREAMS_RATE,
    with_event_bytes,
    with_rate,
    with_streams,
)
from bench.loop import clock
from bench.measure import table
from bench.peers import PeerFailed
from bench.relay_rounds import StreamsBroken
from bench.rows import MAX_SLOPE

BUDGET_SECONDS = 200.0  # no curve begins later; each takes below 40 s
FAULTS = (PeerFailed, BrokenStream, StreamsBroken, Late, OSError)
CAUSES = {
    "streams": f"concurrent streams, {STREAMS_RATE:g} events/s each",
    "subscribers": "subscribers of one stream",
    "subscribers_c": "subscribers of a C loop of send(), for comparison",
    "event_bytes": f"bytes of text in an event, {SIZED_STREAMS} streams, {SIZED_RATE:g} events/s each",
    "rate": f"events/s, {RATE_STREAMS} streams",
    "log": "bytes in the log, one late joiner",
}
UNITS = {
    "streams": {"cpu": "thousandths of a core", "memory": "KiB"},
    "subscribers": {"cpu": "µs per event to everybody", "memory": "KiB"},
    "subscribers_c": {"cpu": "µs per event to everybody", "memory": "KiB"},
    "event_bytes": {"cpu": "µs per event"},
    "rate": {"cpu": "thousandths of a core"},
    "log": {"cpu": "ms until whole", "time": "ms until whole"},
}
Curve = Callable[[], list[Point]]


def measure(curves: dict[str, Curve], rounds: int, failures: dict[str, str]) -> dict[str, list[Point]]:
    """Curve by curve in each round, as long as there is time; who fails is not asked again."""
    found: dict[str, list[list[Point]]] = {}
    begun = clock()
    for number in range(1, rounds + 1):
        for name in [name for name in curves if name not in failures]:
            if clock() - begun > BUDGET_SECONDS:
                say(f"no time for {name} in round {number}/{rounds}")
                continue
            say(f"round {number}/{rounds}: {name}")
            try:
                found.setdefault(name, []).append(curves[name]())
            except FAULTS as error:
                failures[name] = str(error) or type(error).__name__
                say(f"FAILED: {name}: {failures[name]}")
    failures |= {name: "no time for it" for name in curves if name not in found and name not in failures}
    return {name: merged(many) for name, many in found.items() if many and name not in failures}


def text_report(found: dict[str, list[Point]]) -> str:
    parts = []
    for name, points in found.items():
        units = UNITS[name]
        head = [
            CAUSES[name],
            *(f"{cost}, {unit}" for cost, unit in units.items()),
            "its core",
            "load's",
            "at its end",
        ]
        parts.append(table(head, [_row(one, units) for one in points]))
        parts += [growth_text(cost, fit["slope"]) for cost, fit in fits(points).items()]
    return "\n\n".join(["", *parts, ""])


def _row(one: Point, costs: Iterable[str]) -> list[str]:
    shares = (f"{one.peer_core:.2f}", f"{one.load_core:.2f}")
    return [f"{one.x:,.0f}", *(f"{one.costs[cost]:.4g}" for cost in costs), *shares, one.strained or "-"]


def growth_text(cost: str, slope: float | None) -> str:
    if slope is None:
        return f"{cost}: too few points for an exponent"
    return f"{cost} grows with exponent {slope:.2f}: " + ("worse than linear" if slope > MAX_SLOPE else "no worse")


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    most = machine.raise_open_files() - RESERVED_FILES
    facts: dict[str, object] = {
        "bench": "growth",
        "machine": machine.facts(),
        "versions": machine.versions("uvloop", "aiohttp", "httptools", "rivergate"),
        "options": {name: getattr(given, name) for name in ("seconds", "rounds", "only")},
    }
    core, _ = take_machine()
    everything: dict[str, Curve] = {
        "streams": lambda: with_streams(core, given.seconds),
        "subscribers": lambda: with_subscribers(GATEWAY, core, given.seconds, most),
        "subscribers_c": lambda: with_subscribers(C, core, given.seconds, most),
        "event_bytes": lambda: with_event_bytes(core, given.seconds),
        "rate": lambda: with_rate(core, given.seconds),
        "log": lambda: with_log(core),
    }
    failures: dict[str, str] = {}
    found = measure({name: everything[name] for name in given.only or everything}, given.rounds, failures)
    curves = {name: _curve(name, points) for name, points in found.items()}
    say(text_report(found))
    tell({**facts, "curves": curves, "failures": failures, "load_average_after": os.getloadavg()[0]}, given.json)
    return 1 if failures.keys() - {"subscribers_c"} else 0


def _curve(name: str, points: list[Point]) -> dict[str, object]:
    in_json = [point.as_json() for point in points]
    return {"cause": CAUSES[name], "units": UNITS[name], "points": in_json, "fits": fits(points)}


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(CAUSES):
        raise argparse.ArgumentTypeError(f"unknown {sorted(unknown)}, there are {sorted(CAUSES)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--seconds", type=bounded(0.3, 4, float), default=1.0, help="length of the window of a point")
    add("--rounds", type=bounded(1, 10, int), default=2, help="curves take turns within each")
    add("--only", type=_names, default=[], metavar="A,B", help=f"only these of {', '.join(CAUSES)}")
    add("--json", type=Path, metavar="FILE", help="write the line of JSON here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
