"""Wiring: what does a subscriber cost that only waits?

    python -m bench.memory [--subscribers 1000,10000] [--quiet 5000] [--quiet-seconds 30] [--rounds 2] [--json FILE]

User-space memory of each subscriber of one stream, beside Nchan and aiohttp with a queue per subscriber; and the CPU
of the gateway while thousands of subscribers get nothing but a keep-alive every 15 s, each of which is counted and
compared. Progress and tables go to stderr, one line of JSON to stdout. Exit 1: the gateway failed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from bench import machine
from bench.command import bounded, say, take_machine, tell
from bench.fanout import sizes
from bench.fanout_audience import Late
from bench.fanout_join import JOIN_SECONDS, join, settle
from bench.fanout_peers import Seat, seated
from bench.fanout_report import AIOHTTP, GATEWAY, NCHAN
from bench.fanout_rounds import RESERVED_FILES, WARM_UP_EVENTS
from bench.frames import BrokenStream, script
from bench.loop import clock
from bench.measure import Spread, as_json, spread_text, table
from bench.peers import PeerFailed
from bench.relay_report import Figures

NAMES = (GATEWAY, NCHAN, AIOHTTP)
KEEPALIVE_SECONDS = 15  # stream.keepalive_seconds, its default
FIRST_SECONDS = 25.0  # the gateway looks every half pause, so that the first may come after one and a half
KEEPALIVE_BYTES = len(b"d\r\n: keepalive\n\n\r\n")
EVENTS = 10
FAULTS = (PeerFailed, BrokenStream, Late, OSError)
Rounds = dict[str, dict[int, list[Figures]]]


def idle(name: str, size: int, core: int) -> Figures:
    """A life of this peer with so many subscribers, who get a first event. Raises one of `FAULTS`."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-memory-") as folder,
        seated(name, Path(folder) / name, script(0, EVENTS), core) as seat,
    ):
        figures = join(seat, size)
        seat.publish(WARM_UP_EVENTS)
        seat.audience.wait_all(clock() + KEEPALIVE_SECONDS)
        return figures


def quiet(size: int, seconds: float, core: int) -> Figures:
    """The gateway's CPU while nothing comes, over a multiple of the pause. Raises one of `FAULTS`."""
    pauses = max(1, round(seconds / KEEPALIVE_SECONDS))
    with (
        tempfile.TemporaryDirectory(prefix="bench-memory-") as folder,
        seated(GATEWAY, Path(folder) / GATEWAY, script(0, EVENTS), core) as seat,
    ):
        seat.audience.join(size, JOIN_SECONDS)
        seat.publish(WARM_UP_EVENTS)
        seat.audience.wait_all(clock() + KEEPALIVE_SECONDS)
        _first_keepalive(seat)
        begun, cpu, own = clock(), seat.running.cpu(), time.process_time()
        # The load sleeps: what comes meanwhile waits in the sockets, where it is counted and then compared.
        time.sleep(pauses * KEEPALIVE_SECONDS)
        spent, used, load = clock() - begun, seat.running.cpu() - cpu, time.process_time() - own
        waiting = seat.audience.waiting_bytes()
        settle(seat)
    if min(waiting) < pauses * KEEPALIVE_BYTES:
        raise BrokenStream(f"a subscriber got {min(waiting)} bytes, {pauses} keep-alives are more")
    keepalives = sum(waiting) / KEEPALIVE_BYTES / size
    return {"seconds": spent, "core_share": used / spent, "load_share": load / spent, "keepalives_each": keepalives}


def _first_keepalive(seat: Seat) -> None:
    """Return a second after it: then each pause has exactly one. Raises `Late`."""
    until = clock() + FIRST_SECONDS
    while not min(seat.audience.waiting_bytes()):
        if clock() > until:
            raise Late(f"no keep-alive within {FIRST_SECONDS:g} s")
        time.sleep(0.1)
    settle(seat, 1.0)


def measure(given: argparse.Namespace, core: int, rounds: Rounds, failures: dict[str, str]) -> None:
    """Peers take turns within each round; who fails is not asked again."""
    for number in range(1, given.rounds + 1):
        for size in given.subscribers:
            for name in [name for name in NAMES if name not in failures]:
                say(f"round {number}/{given.rounds}: {size} subscribers of {name}")
                try:
                    rounds.setdefault(name, {}).setdefault(size, []).append(idle(name, size, core))
                except FAULTS as error:
                    failures[name] = f"{size} subscribers: {error}"
                    say(f"FAILED: {name}: {failures[name]}")


def text_report(rounds: Rounds, calm: Figures) -> str:
    rows = []
    for name, by_size in rounds.items():
        for size, many in by_size.items():
            spreads = [Spread.of(one[key] for one in many) for key in ("pss_kib", "private_kib", "join_cpu_us")]
            rows.append([name, f"{size:,}", *(spread_text(spread) for spread in spreads)])
    text = table(("idle subscribers of", "how many", "pss KiB each", "private KiB", "CPU us to join"), rows)
    if calm:
        text += "\n\n" + table(("quiet", "value"), [(name, f"{value:.4g}") for name, value in calm.items()])
    return f"\n{text}\n"


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    most = machine.raise_open_files() - RESERVED_FILES
    given.subscribers = sorted({min(size, most) for size in given.subscribers})
    given.quiet = min(given.quiet, most)
    facts: dict[str, object] = {
        "bench": "memory",
        "machine": machine.facts(),
        "versions": machine.versions("uvloop", "aiohttp", "httptools", "rivergate"),
        "options": {name: getattr(given, name) for name in ("subscribers", "quiet", "quiet_seconds", "rounds")},
    }
    core, _ = take_machine()
    rounds: Rounds = {}
    failures: dict[str, str] = {}
    measure(given, core, rounds, failures)
    calm: Figures = {}
    if given.quiet and GATEWAY not in failures:
        say(f"{given.quiet} quiet subscribers, {given.quiet_seconds:g} s")
        try:
            calm = quiet(given.quiet, given.quiet_seconds, core)
        except FAULTS as error:
            failures[GATEWAY] = f"{given.quiet} quiet subscribers: {error}"
            say(f"FAILED: {GATEWAY}: {failures[GATEWAY]}")
    say(text_report(rounds, calm))
    facts |= {"peers": _json(rounds), "quiet": calm, "failures": failures, "load_average_after": os.getloadavg()[0]}
    tell(facts, given.json)
    return 1 if GATEWAY in failures else 0


def _json(rounds: Rounds) -> dict[str, dict[str, object]]:
    return {
        name: {
            str(size): {key: as_json(Spread.of(one[key] for one in many)) for key in many[0]}
            for size, many in by_size.items()
            if many
        }
        for name, by_size in rounds.items()
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--subscribers", type=sizes, default=[1000, 10_000], metavar="N,N", help="sizes of the audience")
    add("--quiet", type=bounded(0, 50_000, int), default=5000, help="subscribers of the quiet run; 0: none")
    add("--quiet-seconds", type=bounded(1, 45, float), default=30.0, help="its length, in whole keep-alives")
    add("--rounds", type=bounded(1, 20, int), default=2, help="peers take turns within each")
    add("--json", type=Path, metavar="FILE", help="write the line of JSON here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
