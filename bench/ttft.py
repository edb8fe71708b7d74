"""Wiring: how late is a TTFT deadline, and what becomes of a slow tail when the gateway hedges?

    python -m bench.ttft [--streams 300] [--rate 120] [--slow-share 0.05] [--seed 1] [--only deadline|tail]

Deadline: concurrent requests with a budget (`X-Max-TTFT-Ms`) on an upstream that stalls before its first content; how
late after the budget the 504 is there, with the deadlines spread evenly and with all at once. Tail: arrivals at a
fixed rate on an upstream with a TTFT of 100 ms of which some take a second; a second, dearer one takes 60 ms. One
gateway hedges (`hedge_after = "auto"`), one does not, both with the same dice; they take turns. Progress and tables
go to stderr, one line of JSON to stdout. Exit 1: an answer was wrong, early or missing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

from bench import machine, peers
from bench.command import bounded, say, take_machine, tell
from bench.load_client import Target
from bench.load_upstream import Upstream
from bench.loop import Loop
from bench.measure import percentile, table
from bench.peers import PeerFailed
from bench.ttft_deadline import DeadlineFailed, Deadlines
from bench.ttft_tail import Arrivals, Seat, TailFailed, Tally, seated

OFF, AUTO = "off", "auto"
SPREAD, AT_ONCE = "spread", "at_once"
DEADLINE, TAIL = "deadline", "tail"
STEPS = 200  # of the distribution of the TTFT that the report draws
Figures = dict[str, float]


def deadline(given: argparse.Namespace, cores: tuple[int, int]) -> dict[str, Figures]:
    """Lateness with spread deadlines, and with all at once. Raises `DeadlineFailed`, `PeerFailed`."""
    late: dict[str, list[float]] = {SPREAD: [], AT_ONCE: []}
    loop = Loop()
    upstream = Upstream(loop)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bench-ttft-") as folder,
            peers.started(peers.gateway(), Path(folder) / "gateway", upstream.port, cores[0]) as running,
        ):
            budget = given.budget_ms / 1000
            target = Target(running.port, headers=(("X-Max-TTFT-Ms", f"{given.budget_ms}"),))
            Deadlines(loop, upstream, target, budget, "1").play(min(20, given.streams), 1, 0.0)
            for number in range(1, given.rounds + 1):
                say(f"deadline, round {number}/{given.rounds}")
                spread = Deadlines(loop, upstream, target, budget, f"{number}.2")
                late[SPREAD] += spread.play(given.streams, given.turns, budget)
                at_once = Deadlines(loop, upstream, target, budget, f"{number}.3")
                late[AT_ONCE] += at_once.play(given.streams, 1, 0.0)
    finally:
        upstream.close()
        loop.close()
    return {name: {"answers": len(values), **_figures(values)} for name, values in late.items()}


def tail(given: argparse.Namespace, cores: tuple[int, int]) -> tuple[dict[str, Figures], dict[str, list[float]]]:
    """TTFT and requests spent per `hedge_after`, its distribution in ms. Raises `TailFailed`, `PeerFailed`."""
    loop = Loop()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-ttft-") as folder, contextlib.ExitStack() as stack:
            seats: list[Seat] = []
            for hedge_after in (OFF, AUTO):
                say(f"tail: starting a gateway with hedge_after = {hedge_after}, and two upstreams")
                place = Path(folder) / hedge_after
                started = seated(hedge_after, given.slow_share, given.seed, place, cores)
                seats.append(stack.enter_context(started))
            say("tail: warm-up")
            for seat in seats:
                Arrivals(loop, seat, f"{seat.hedge_after}.0").play(given.warm_up, given.rate)
            before = {seat.hedge_after: seat.count() for seat in seats}
            ttfts: dict[str, list[float]] = {seat.hedge_after: [] for seat in seats}
            for number in range(1, given.rounds + 1):
                seats.reverse()
                say(f"tail, round {number}/{given.rounds}: {', '.join(seat.hedge_after for seat in seats)}")
                for seat in seats:
                    arrivals = Arrivals(loop, seat, f"{seat.hedge_after}.{number}")
                    ttfts[seat.hedge_after] += arrivals.play(given.requests, given.rate)
            order = sorted(seats, key=lambda seat: seat.hedge_after != OFF)
            figures = {one.hedge_after: _tail_figures(one, before, ttfts[one.hedge_after]) for one in order}
            return figures, {one.hedge_after: _steps(ttfts[one.hedge_after]) for one in order}
    finally:
        loop.close()


def _tail_figures(seat: Seat, before: dict[str, Tally], ttfts: list[float]) -> Figures:
    since, until = before[seat.hedge_after], seat.count()
    spent, asked = until - since, len(ttfts)
    if spent.first + spent.second < asked:
        raise TailFailed(f"{asked} requests answered, but the upstreams counted {spent}")
    return {
        "requests": asked,
        **_figures(ttfts),
        "hedges": spent.second,
        "extra_share": (spent.first + spent.second - asked) / asked,
        "slow_share": seat.slow_between(since, until),
        "slow_share_warm_up": seat.slow_between(Tally(0, 0), since),
    }


def _steps(seconds: list[float]) -> list[float]:
    """From the lowest to the highest."""
    return [round(percentile(seconds, number / STEPS) * 1e3, 3) for number in range(STEPS + 1)]


def _figures(seconds: list[float]) -> Figures:
    shares = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: percentile(seconds, share) * 1e3 for name, share in shares.items()}


def text_report(late: dict[str, Figures], tails: dict[str, Figures]) -> str:
    times = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
    head = ("p50 ms", "p95 ms", "p99 ms", "max ms")
    parts = []
    if late:
        words = {SPREAD: "deadlines spread evenly", AT_ONCE: "all requests at once"}
        rows = [
            [words[name], f"{one['answers']:.0f}", *(f"{one[key]:.2f}" for key in times)]
            for name, one in late.items()
        ]
        parts.append(table(("504 after the budget, late by", "answers", *head), rows))
    if tails:
        rows = [_tail_row(name, one, times) for name, one in tails.items()]
        more = ("p99/p50", "hedges", "extra requests", "slow at first upstream", "in the warm-up")
        parts.append(table(("TTFT, hedge_after", "requests", *head, *more), rows))
    return "\n\n".join(["", *parts, ""])


def _tail_row(name: str, one: Figures, times: tuple[str, ...]) -> list[str]:
    shares = [f"{100 * one[key]:.1f} %" for key in ("extra_share", "slow_share", "slow_share_warm_up")]
    ratio = f"{one['p99_ms'] / one['p50_ms']:.2f}"
    return [
        name,
        f"{one['requests']:.0f}",
        *(f"{one[key]:.1f}" for key in times),
        ratio,
        f"{one['hedges']:.0f}",
        *shares,
    ]


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    names = ("streams", "budget_ms", "turns", "rounds", "rate", "requests", "warm_up", "slow_share", "seed", "only")
    facts: dict[str, object] = {
        "bench": "ttft",
        "machine": machine.facts(),
        "versions": machine.versions("uvloop", "aiohttp", "httptools", "rivergate"),
        "options": {name: getattr(given, name) for name in names},
    }
    cores = take_machine()
    facts |= {"peer_core": cores[0], "load_core": cores[1]}
    late: dict[str, Figures] = {}
    tails: dict[str, Figures] = {}
    steps: dict[str, list[float]] = {}
    failures: dict[str, str] = {}
    try:
        late = deadline(given, cores) if given.only != TAIL else {}
    except (DeadlineFailed, PeerFailed, OSError) as error:
        failures[DEADLINE] = str(error)
    try:
        tails, steps = tail(given, cores) if given.only != DEADLINE else ({}, {})
    except (TailFailed, PeerFailed, OSError) as error:
        failures[TAIL] = str(error)
    say(text_report(late, tails))
    for name, why in failures.items():
        say(f"FAILED: {name}: {why}")
    facts |= {
        "deadline": late,
        "tail": tails,
        "tail_steps_ms": steps,
        "failures": failures,
        "load_average_after": os.getloadavg()[0],
    }
    tell(facts, given.json)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.ttft", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--streams", type=bounded(1, 2000, int), default=300, help="concurrent requests of the deadline run")
    add("--budget-ms", type=bounded(10, 10_000, int), default=500, help="their TTFT budget")
    add("--turns", type=bounded(1, 100, int), default=4, help="requests of each connection, per round")
    add("--rounds", type=bounded(1, 50, int), default=4, help="rounds of both runs")
    add("--rate", type=bounded(1, 1000, float), default=120.0, help="arrivals/s of the tail run")
    add("--requests", type=bounded(1, 100_000, int), default=300, help="of a turn of the tail run")
    add("--warm-up", type=bounded(0, 100_000, int), default=300, help="requests that teach the gateways the p95")
    add("--slow-share", type=bounded(0, 1, float), default=0.05, help="of the first upstream's requests")
    add("--seed", type=bounded(0, 2**31, int), default=1, help="of the upstreams' dice")
    add("--only", choices=(DEADLINE, TAIL), help="one of the two runs")
    add("--json", type=Path, metavar="FILE", help="write the line of JSON here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
