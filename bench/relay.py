"""Wiring: what does it cost to relay an event, and how much later does the first token come?

    python -m bench.relay [--streams 300] [--rate 100] [--seconds 5] [--rounds 3] [--litellm PYTHON]

The gateway beside nginx, a plain aiohttp proxy and (`--litellm`) LiteLLM; "direct" is the load without any proxy.
Peers take turns within each round, each alone on one core, the load on another. Progress and table go to
stderr, one line of JSON to stdout. Exit 1: the gateway did not start, or a stream through it was not whole.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import machine, peers
from bench.frames import FRAMING_EVENTS
from bench.load import Load, Outcome, Plan, Probe
from bench.load_client import Header, Target
from bench.measure import percentile
from bench.peers import Peer, PeerFailed
from bench.relay_report import DIRECT, GATEWAY, Figures, Results, json_report, text_report

SPREAD = 0.5  # starts of the CPU run
SETTLE = 0.1  # from the last start to the window in which CPU is counted
MARGIN = 0.25  # how long all streams outlast that window
ONE_TURNS = 300  # requests in turn for the TTFT of one stream
MANY_TURNS = 5  # requests per connection for the TTFT of concurrent streams, about a second each
MANY_RATE = 20  # events/s of each of those streams meanwhile

WARM_UP = Plan(streams=8, tokens=20, gap=0.005, turns=3)
ONE = Plan(streams=1, tokens=4, gap=0.001, turns=ONE_TURNS, pause=0.002)


@dataclass(frozen=True, slots=True)
class Options:
    streams: int
    rate: float
    seconds: float
    rounds: int
    ttft_streams: int
    headers: tuple[Header, ...]

    def cpu_plan(self, share: float) -> Plan:
        return Plan(
            streams=max(1, round(self.streams * share)),
            tokens=round((SPREAD + SETTLE + self.seconds + MARGIN) * self.rate),
            gap=1 / self.rate,
            spread=SPREAD,
            window=(SPREAD + SETTLE, SPREAD + SETTLE + self.seconds),
        )

    def many_plan(self, share: float) -> Plan:
        streams = max(1, round(self.ttft_streams * share))
        tokens = MANY_RATE - FRAMING_EVENTS
        return Plan(
            streams=streams, tokens=tokens, gap=1 / MANY_RATE, spread=1.0, turns=MANY_TURNS, pause=0.01
        )


@dataclass(frozen=True, slots=True)
class Bench:
    """One peer at work, or none (direct)."""

    load: Load
    target: Target
    probe: Probe
    share: float
    label: str

    def figures(self, options: Options) -> Figures:
        """The warm-up and the three runs of one round."""
        self._play("warm-up", WARM_UP)
        cpu_plan = options.cpu_plan(self.share)
        figures = cpu_figures(cpu_plan, self._play("CPU per event", cpu_plan))
        figures |= ttft_figures("ttft_one", self._play("TTFT, one stream", ONE))
        many = options.many_plan(self.share)
        figures |= ttft_figures("ttft_many", self._play(f"TTFT, {many.streams} streams", many))
        return figures

    def _play(self, step: str, plan: Plan) -> Outcome:
        say(f"{self.label}: {step} ({plan.seconds:.0f} s)")
        outcome = self.load.run(plan, self.target, self.probe)
        trouble = outcome.failed + outcome.unfinished
        if trouble or outcome.reasons:
            count = (
                f"{trouble} of {len(outcome.exchanges)} streams not whole ({outcome.unfinished} unfinished)"
            )
            raise StreamsBroken(f"{step}: {count}; {'; '.join(outcome.reasons)}")
        return outcome


class StreamsBroken(Exception):
    """A peer lost, changed or held back what it had to relay: its figures would mean nothing."""


def cpu_figures(plan: Plan, outcome: Outcome) -> Figures:
    window, whole = outcome.window, outcome.whole
    if window is None or whole is None:
        raise StreamsBroken("the run ended before its window")
    latencies = outcome.latencies()
    return {
        "streams": plan.streams,
        "events_per_s": window.events / window.at,
        "rate_kept": window.events / window.at * plan.gap / plan.streams,
        "cpu_us": window.peer_cpu / window.events * 1e6,
        "cpu_us_with_requests": whole.peer_cpu / whole.events * 1e6,
        "peer_core": window.peer_cpu / window.at,
        "load_core": window.own_cpu / window.at,
        "latency_p50_us": percentile(latencies, 0.5) * 1e6,
        "latency_p99_us": percentile(latencies, 0.99) * 1e6,
        "late_send_p99_us": percentile(outcome.lateness(), 0.99) * 1e6,
        "upstream_connections": outcome.upstream_connections,
    }


def ttft_figures(name: str, outcome: Outcome) -> Figures:
    ttfts = outcome.ttfts()
    return {
        f"{name}_requests": len(ttfts),
        f"{name}_p50_ms": percentile(ttfts, 0.5) * 1e3,
        f"{name}_p99_ms": percentile(ttfts, 0.99) * 1e3,
    }


def play_round(
    label: str, line_up: list[Peer], load: Load, options: Options, results: Results, core: int
) -> None:
    """Measure direct and every peer that has not failed so far."""
    direct = Target(load.port, headers=options.headers)
    results.add(DIRECT, Bench(load, direct, lambda: 0.0, 1.0, f"{label}, {DIRECT}").figures(options))
    with tempfile.TemporaryDirectory(prefix="bench-relay-") as folder:
        for peer in [one for one in line_up if one.name not in results.failures]:
            name = f"{label}, {peer.name}"
            try:
                with peers.started(peer, Path(folder) / peer.name, load.port, core) as running:
                    target = peer.target(running.port, options.headers)
                    bench = Bench(load, target, running.cpu, peer.load_share, name)
                    results.add(peer.name, bench.figures(options))
            except (PeerFailed, StreamsBroken) as error:
                results.failures[peer.name] = str(error)
                say(f"{name}: FAILED: {error}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    line_up = _line_up(given)
    options = Options(
        given.streams, given.rate, given.seconds, given.rounds, given.ttft_streams, tuple(given.header)
    )
    facts = _facts(given)
    machine.raise_open_files()
    peer_core, load_core = machine.take_cores()
    os.sched_setaffinity(0, {load_core})
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that `finally` runs
    results, load = Results(), Load()
    try:
        for number in range(1, options.rounds + 1):
            play_round(f"round {number}/{options.rounds}", line_up, load, options, results, peer_core)
    finally:
        load.close()
    facts |= {"peer_core": peer_core, "load_core": load_core, "load_average_after": os.getloadavg()[0]}
    say(text_report(results))
    line = json.dumps(json_report(results, facts))
    print(line, flush=True)
    if given.json:
        given.json.write_text(line + "\n")
    return 1 if GATEWAY in results.failures or DIRECT in results.failures else 0


def _line_up(given: argparse.Namespace) -> list[Peer]:
    everyone = [peers.nginx(), peers.plain_aiohttp(), peers.gateway(given.ledger)]
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


def _bounded(low: float, high: float, kind: type[int] | type[float]) -> Callable[[str], float]:
    def number(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low:g} to {high:g}")
        return value

    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.relay", description=(__doc__ or "").partition("\n")[0]
    )
    add = parser.add_argument
    add("--streams", type=_bounded(1, 2000, int), default=300, help="concurrent streams of the CPU run")
    add("--rate", type=_bounded(1, 1000, float), default=100.0, help="events/s of each of them")
    add(
        "--seconds",
        type=_bounded(0.5, 120, float),
        default=5.0,
        help="length of the window CPU is counted in",
    )
    add("--rounds", type=_bounded(1, 50, int), default=3, help="rounds; peers take turns within each")
    add("--ttft-streams", type=_bounded(1, 1000, int), default=100, help="concurrent streams of the TTFT run")
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
    add("--ledger", type=Path, help="the gateway's storage file, with keys in it (default: a new one, open)")
    add("--json", type=Path, metavar="FILE", help="write the line of JSON here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
