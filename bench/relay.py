"""Wiring: what does it cost to relay an event, what a request, and how much later does the first token come?

    python -m bench.relay [--streams 300] [--rate 100] [--seconds 5] [--rounds 3] [--litellm PYTHON]

The gateway, open and with keys on, beside nginx, a plain aiohttp proxy and (`--litellm`) LiteLLM; "direct" is the
load without a proxy. All peers run on one core, the load on another; they take turns of about a second. Progress and
tables go to stderr, one line of JSON to stdout. Exit 1: the gateway did not start, or a stream through it was not
whole.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bench import machine, peers
from bench.command import bounded, say, take_machine, tell
from bench.load import Load
from bench.load_client import Header
from bench.peers import Peer
from bench.relay_report import DIRECT, GATEWAY, Results, json_report, text_report
from bench.relay_rounds import Options, Round


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    line_up = _line_up(given)
    options = Options(given.streams, given.rate, given.seconds, given.ttft_streams, tuple(given.header))
    facts = _facts(given)
    peer_core, load_core = take_machine()
    results, load = Results(), Load()
    try:
        for number in range(1, given.rounds + 1):
            Round(f"round {number}/{given.rounds}", load, options, results, peer_core).play(line_up)
    finally:
        load.close()
    facts |= {"peer_core": peer_core, "load_core": load_core, "load_average_after": os.getloadavg()[0]}
    say(text_report(results))
    tell(json_report(results, facts), given.json)
    return 1 if GATEWAY in results.failures or DIRECT in results.failures else 0


def _line_up(given: argparse.Namespace) -> list[Peer]:
    everyone = [peers.nginx(), peers.plain_aiohttp(), peers.plain_aiohttp("uvloop")]
    everyone += [peers.gateway(), peers.gateway_unbatched(), peers.gateway_with_key()]
    if given.litellm:
        everyone.append(peers.litellm(given.litellm))
    names = {peer.name for peer in everyone}
    if unknown := set(given.only) - names - {DIRECT}:
        raise SystemExit(f"--only: unknown {sorted(unknown)}, there are {sorted(names)}")
    return [peer for peer in everyone if not given.only or peer.name in given.only]


def _facts(given: argparse.Namespace) -> dict[str, object]:
    versions = machine.versions("uvloop", "aiohttp", "httptools", "rivergate")
    versions["nginx"] = machine.output_of(peers.nginx_binary(), "-v").rpartition("/")[2] or "absent"
    if given.litellm:
        ask = "from importlib.metadata import version; print(version('litellm'))"
        versions["litellm"] = machine.output_of(given.litellm, "-c", ask) or "absent"
    names = ("streams", "rate", "seconds", "rounds", "ttft_streams", "only")
    options = {name: getattr(given, name) for name in names}
    options["headers"] = [name for name, _ in given.header]  # values may be secrets
    return {"bench": "relay", "machine": machine.facts(), "versions": versions, "options": options}


def _header(text: str) -> Header:
    name, separator, value = text.partition(":")
    if not separator or not name.strip():
        raise argparse.ArgumentTypeError("expected 'Name: value'")
    return name.strip(), value.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.relay", description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--streams", type=bounded(1, 2000, int), default=300, help="concurrent streams of the CPU run")
    add("--rate", type=bounded(1, 1000, float), default=100.0, help="events/s of each of them")
    add(
        "--seconds",
        type=bounded(0.5, 120, float),
        default=5.0,
        help="length of the window CPU is counted in",
    )
    add("--rounds", type=bounded(1, 50, int), default=3, help="rounds; peers take turns within each")
    add("--ttft-streams", type=bounded(1, 1000, int), default=100, help="concurrent streams of the TTFT run")
    add("--litellm", metavar="PYTHON", help="a python with litellm[proxy]; measured too, with a lighter load")
    add("--only", type=lambda text: text.split(","), default=[], metavar="A,B", help="only these peers")
    add(
        "--header",
        type=_header,
        action="append",
        default=[],
        metavar="'Name: value'",
        help="added to requests",
    )
    add("--json", type=Path, metavar="FILE", help="write the line of JSON here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
