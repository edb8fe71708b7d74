"""Wiring: what does it cost to bring one stream to a hundred, a thousand, ten thousand subscribers?

    python -m bench.fanout [--subscribers 100,1000,10000] [--rounds 2] [--only gateway,nchan,c,aiohttp]

The gateway beside Nchan, a C loop of send() and aiohttp with a queue per subscriber: CPU per delivery with one event
at a time and with bursts, latency at the largest size, memory per idle subscriber. All peers run on one core, the
load on another. Progress and tables go to stderr, one line of JSON to stdout. Exit 1: the gateway failed.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bench import machine, peers
from bench.command import say, take_machine, tell
from bench.fanout_peers import nchan_module
from bench.fanout_report import GATEWAY, NAMES, NCHAN, json_report, text_report
from bench.fanout_rounds import RESERVED_FILES, Options, Round
from bench.frames import script
from bench.peers import PeerFailed
from bench.relay_report import Results

EVENTS = 60_000  # prepared for the life of one peer: more than its turns can use up


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    options = _options(given, machine.raise_open_files())
    facts = _facts(given, options)
    peer_core, load_core = take_machine()
    results: dict[int, Results] = {}
    names = list(given.only or NAMES)
    for number in range(1, given.rounds + 1):
        Round(f"round {number}/{given.rounds}", script(0, EVENTS), options, results, peer_core).play(names)
    facts |= {"peer_core": peer_core, "load_core": load_core, "load_average_after": os.getloadavg()[0]}
    say(text_report(results))
    tell(json_report(results, facts), given.json)
    return 1 if any(GATEWAY in one.failures for one in results.values()) else 0


def _options(given: argparse.Namespace, max_files: int) -> Options:
    most = max_files - RESERVED_FILES
    if over := [size for size in given.subscribers if size > most]:
        say(f"the limit of open files is {max_files}: {most} subscribers instead of {over}")
    sizes = tuple(sorted({min(size, most) for size in given.subscribers}))
    seconds = (given.slice_seconds, given.rate, given.latency_seconds)
    return Options(sizes, given.burst, given.slices, *seconds, max_files)


def _facts(given: argparse.Namespace, options: Options) -> dict[str, object]:
    versions = machine.versions("uvloop", "aiohttp", "httptools", "rivergate")
    versions["nginx"] = machine.output_of(peers.nginx_binary(), "-v").rpartition("/")[2] or "absent"
    versions["nchan"] = _nchan_version()
    versions["gcc"] = machine.output_of("gcc", "-dumpfullversion") or "absent"
    asked = {name: getattr(given, name) for name in ("burst", "slices", "slice_seconds", "rate", "latency_seconds")}
    asked |= {
        "subscribers": options.sizes,
        "rounds": given.rounds,
        "only": given.only,
        "open_files": options.max_files,
    }
    return {"bench": "fanout", "machine": machine.facts(), "versions": versions, "options": asked}


def _nchan_version() -> str:
    try:
        nchan_module()
    except PeerFailed:
        return "absent"
    return machine.output_of("dpkg-query", "-W", "-f", "${Version}", f"libnginx-mod-{NCHAN}") or "unknown"


def sizes(text: str) -> list[int]:
    sizes = [int(one) for one in text.split(",")]
    if not all(1 <= size <= 50_000 for size in sizes):
        raise argparse.ArgumentTypeError("must be from 1 to 50000")
    return sizes


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"unknown {sorted(unknown)}, there are {NAMES}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.fanout", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--subscribers", type=sizes, default=[100, 1000, 10_000], metavar="N,N", help="sizes of the audience")
    add("--rounds", type=int, choices=range(1, 21), default=2, metavar="1-20", help="peers take turns within each")
    add("--slices", type=int, choices=range(1, 21), default=3, metavar="1-20", help="turns per experiment and round")
    add("--slice-seconds", type=float, default=0.7, help="the longest turn")
    add("--burst", type=int, choices=range(2, 257), default=64, metavar="2-256", help="events per burst")
    add("--rate", type=float, default=20.0, help="events/s of the latency run")
    add("--latency-seconds", type=float, default=6.0, help="length of the latency run; 0: none")
    add("--only", type=_names, default=[], metavar="A,B", help=f"only these of {', '.join(NAMES)}")
    add("--json", type=Path, metavar="FILE", help="write the line of JSON here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
