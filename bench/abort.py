"""Wiring: how soon after the last reader has closed does the upstream see the close?

    python -m bench.abort [--aborts 300] [--others 100] [--rounds 3] [--json FILE]

Clients leave before the first token and in mid-stream, by FIN and by RST, alone and while other streams run: on the
gateway, on nginx (`proxy_buffering off`) and, as "direct", on the upstream itself. All peers run on one core, the
load on another, and they take turns. Progress and tables go to stderr, one line of JSON to stdout. Exit 1: an answer
was wrong, or a close was not seen.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine, peers
from bench.abort_turn import EVERY_KIND, AbortFailed, Delays, Turn
from bench.command import bounded, say, take_machine, tell
from bench.load_client import Target
from bench.load_upstream import Upstream
from bench.loop import Loop
from bench.measure import percentile, table
from bench.peers import Peer, PeerFailed
from bench.relay_report import DIRECT, NGINX

WARM_UP_ABORTS = 10
ALONE, BESIDE = "alone", "beside"
KINDS = tuple(dict.fromkeys(kind.name for kind in EVERY_KIND))
WORDS = {
    "before_fin": "before the first token, FIN",
    "before_rst": "before the first token, RST",
    "mid_fin": "mid-stream, FIN",
    "mid_rst": "mid-stream, RST",
}
Figures = dict[str, float]


@dataclass(slots=True)
class Seat:
    """One peer, and the seconds from close to sight of all its turns."""

    name: str
    target: Target
    delays: dict[str, Delays] = field(default_factory=lambda: {ALONE: {}, BESIDE: {}})

    def add(self, company: str, delays: Delays) -> None:
        for kind, values in delays.items():
            self.delays[company].setdefault(kind, []).extend(values)

    def figures(self, company: str, kind: str) -> Figures | None:
        values = self.delays[company].get(kind)
        if not values:
            return None
        p50, p99, most = (percentile(values, share) * 1e3 for share in (0.5, 0.99, 1.0))
        return {"aborts": len(values), "p50_ms": p50, "p99_ms": p99, "max_ms": most}


class Bench:
    """Owns the loop and the upstream; gives every seat its turns."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._loop = Loop()
        self._upstream = Upstream(self._loop)
        self._dice = random.Random(given.seed)
        self._turns = 0
        self.seats = [Seat(DIRECT, Target(self._upstream.port))]
        self.failures: dict[str, str] = {}

    def close(self) -> None:
        self._upstream.close()
        self._loop.close()

    def play(self, line_up: list[Peer], core: int) -> None:
        given = self._given
        with tempfile.TemporaryDirectory(prefix="bench-abort-") as folder, contextlib.ExitStack() as stack:
            for peer in line_up:
                self._start(peer, Path(folder) / peer.name, stack, core)
            say(f"warm-up: {', '.join(seat.name for seat in self.seats)}")
            for seat in self.seats:
                self._turn(seat, WARM_UP_ABORTS, 0)
            for number in range(1, given.rounds + 1):
                share = given.aborts * number // given.rounds - given.aborts * (number - 1) // given.rounds
                for company, others in ((ALONE, 0), (BESIDE, given.others)):
                    order = self.seats[:: 1 if number % 2 else -1]
                    say(f"round {number}/{given.rounds}: {company}: {', '.join(seat.name for seat in order)}")
                    for seat in order:
                        seat.add(company, self._turn(seat, share, others))

    def _start(self, peer: Peer, folder: Path, stack: contextlib.ExitStack, core: int) -> None:
        say(f"starting {peer.name}")
        try:
            running = stack.enter_context(peers.started(peer, folder, self._upstream.port, core))
        except PeerFailed as error:
            self._fail(peer.name, str(error))
            return
        self.seats.append(Seat(peer.name, peer.target(running.port, ())))

    def _turn(self, seat: Seat, aborts: int, others: int) -> Delays:
        """Nothing from a seat that has failed."""
        if seat.name in self.failures or not aborts:
            return {}
        self._turns += 1
        try:
            return Turn(self._loop, self._upstream, seat.target, f"{self._turns}").play(aborts, others, self._dice)
        except AbortFailed as error:
            self._fail(seat.name, str(error))
            return {}

    def _fail(self, name: str, reason: str) -> None:
        self.failures[name] = reason
        say(f"FAILED: {name}: {reason}")


def text_report(bench: Bench, skipped: list[str], others: int) -> str:
    rows = []
    for company in (ALONE, BESIDE):
        for kind in KINDS:
            for seat in bench.seats:
                if figures := seat.figures(company, kind):
                    values = [f"{figures[key]:.2f}" for key in ("p50_ms", "p99_ms", "max_ms")]
                    label = f"{WORDS[kind]}, {_company(company, others)}"
                    rows.append([label, seat.name, f"{figures['aborts']:.0f}", *values])
    parts = [table(("close -> seen by the upstream", "through", "aborts", "p50 ms", "p99 ms", "max ms"), rows)]
    parts += [f"{name} skipped: not installed" for name in skipped]
    parts += [f"{name} FAILED: {why}" for name, why in bench.failures.items()]
    return "\n\n".join(["", *parts, ""])


def _company(company: str, others: int) -> str:
    return company if company == ALONE else f"{others} streams {company}"


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    nginx_is_there = shutil.which(peers.nginx_binary()) is not None
    line_up = [peers.gateway(), *([peers.nginx()] if nginx_is_there else [])]
    skipped = [] if nginx_is_there else [NGINX]
    versions = machine.versions("uvloop", "aiohttp", "httptools", "rivergate")
    versions[NGINX] = machine.output_of(peers.nginx_binary(), "-v").rpartition("/")[2] or "absent"
    options = {name: getattr(given, name) for name in ("aborts", "others", "rounds", "seed")}
    facts: dict[str, object] = {
        "bench": "abort",
        "machine": machine.facts(),
        "versions": versions,
        "options": options,
    }
    peer_core, load_core = take_machine()
    facts |= {"peer_core": peer_core, "load_core": load_core}
    bench = Bench(given)
    try:
        bench.play(line_up, peer_core)
    finally:
        bench.close()
    say(text_report(bench, skipped, given.others))
    measured = {
        seat.name: {company: {kind: seat.figures(company, kind) for kind in KINDS} for company in (ALONE, BESIDE)}
        for seat in bench.seats
    }
    facts |= {"peers": measured, "skipped": skipped, "failures": bench.failures}
    facts |= {"load_average_after": os.getloadavg()[0]}
    tell(facts, given.json)
    return 1 if bench.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.abort", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--aborts", type=bounded(2, 5000, int), default=300, help="of each kind and company, over all rounds")
    add("--others", type=bounded(1, 500, int), default=100, help="streams that run beside")
    add("--rounds", type=bounded(1, 50, int), default=3, help="rounds; peers take turns within each")
    add("--seed", type=bounded(0, 2**31, int), default=1, help="of the moments at which clients leave")
    add("--json", type=Path, metavar="FILE", help="write the line of JSON here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
