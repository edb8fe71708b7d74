"""Wiring: what does it cost to relay an event, what a request, and how much later does the first token come?

    python -m bench.relay [--streams 300] [--rate 100] [--seconds 5] [--rounds 3] [--litellm PYTHON]

The gateway, open and with keys on, beside nginx, a plain aiohttp proxy and (`--litellm`) LiteLLM; "direct" is the
load without a proxy. All peers run on one core, the load on another. They take turns of about a second, experiment by
experiment and in alternating order: a virtual machine's cost of a system call was seen to drift by a factor of three
within half a minute, which long turns would hand to one peer alone. Whoever is not on turn is frozen.
"""

import argparse
import contextlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

from bench.kit.command import Bench, Given, reporting, say, take_turns
from bench.kit.ends import Header, Target
from bench.kit.figures import NO_SAMPLE, Figures, Results, percentile
from bench.kit.load import Load, Outcome, Plan
from bench.kit.machine import output_of
from bench.kit.peers import AIOHTTP, DIRECT, GATEWAY, LITELLM, NGINX, WARM_UP, WITH_KEY, Peer, Server, started

SLICE_SECONDS = 1.0  # the longest window of one turn
SPREAD = 0.5  # starts of the CPU run
SETTLE = 0.1  # from the last start to the window in which CPU is counted
MARGIN = 0.25  # how long all streams outlast that window
ONE_REQUESTS = 300  # per round, for the TTFT of one stream at a time
SHORT_STREAMS, SHORT_GAP, SHORT_TOKENS = 20, 0.02, 2  # at once, in the run that counts requests
MANY_RATE, MANY_TOKENS = 40, 20  # events/s of each of the concurrent streams, half a second long
TTFT_KEYS = ("ttft_one_p50_ms", "ttft_one_p99_ms", "ttft_many_p50_ms", "ttft_many_p99_ms")


def cpu_plan(
    streams: int, rate: float, window: float, spread: float = SPREAD, settle: float = SETTLE, text_bytes: int = 0
) -> Plan:
    """Long streams, all of which run during the window."""
    begin = spread + settle
    tokens = round((begin + window + MARGIN) * rate)
    return Plan(streams, tokens, gap=1 / rate, spread=spread, window=(begin, begin + window), text_bytes=text_bytes)


def requests_plan(streams: int, seconds: float) -> Plan:
    """Streams of next to nothing, one after another."""
    turns = max(1, round(seconds / (SHORT_GAP * (SHORT_TOKENS + 2))))
    return Plan(streams, SHORT_TOKENS, gap=SHORT_GAP, spread=SHORT_GAP, turns=turns)


def one_plan(requests: int) -> Plan:
    """One stream at a time; the first request opens the connection and does not count."""
    return Plan(streams=1, tokens=4, gap=0.001, turns=requests + 1, pause=0.002)


def many_plan(streams: int, turns: int) -> Plan:
    """From the second turn on all streams are running, and each connection is warm."""
    return Plan(streams, MANY_TOKENS, gap=1 / MANY_RATE, spread=0.5, turns=turns, pause=0.01)


EVENTS, REQUESTS, ONE, MANY = "CPU per event", "CPU per request", "TTFT of one stream", "TTFT of concurrent streams"
TAKEN: dict[str, Callable[[Outcome], list[Any]]] = {  # what an experiment keeps of each turn
    EVENTS: lambda outcome: [(outcome.window, outcome.latencies())],
    REQUESTS: lambda outcome: [replace(outcome.whole, events=len(outcome.exchanges))],
    ONE: lambda outcome: outcome.ttfts(first_turn=2),
    MANY: lambda outcome: outcome.ttfts(first_turn=2),
}


@dataclass(slots=True)
class RelayEntry:
    """A peer in its round, its plan for each experiment, and what its turns gave."""

    server: Server
    plans: dict[str, Plan]
    found: dict[str, list[Any]] = field(default_factory=lambda: {experiment: [] for experiment in TAKEN})

    def turn(self, experiment: str, load: Load) -> None:
        self.found[experiment] += TAKEN[experiment](self.server.run(load, self.plans[experiment]))

    def figures(self) -> Figures:
        windows, latencies = (list(column) for column in zip(*self.found[EVENTS], strict=True))
        window, requests = sum(windows, NO_SAMPLE), sum(self.found[REQUESTS], NO_SAMPLE)
        plan = self.plans[EVENTS]
        found = {
            "streams": plan.streams,
            "events_per_s": window.events / window.seconds,
            "rate_kept": window.events / window.seconds * plan.gap / plan.streams,
            "cpu_us": window.each_us,
            "request_us": requests.each_us,
            **window.cores(),
        }
        waited = sorted(chain.from_iterable(latencies))
        found |= {f"latency_p{share}_us": percentile(waited, share / 100) * 1e6 for share in (50, 99)}
        for kind, ttfts in (("one", self.found[ONE]), ("many", self.found[MANY])):
            found |= {f"ttft_{kind}_p{share}_ms": percentile(ttfts, share / 100) * 1e3 for share in (50, 99)}
        return found


class RelayRound:
    """Starts every peer, gives each its turns, adds a set of figures per peer to the results.

    `longest`: the longest window of a turn; `turns`: how often each of the concurrent streams asks.
    """

    def __init__(
        self,
        label: str,
        load: Load,
        given: Given,
        results: Results,
        core: int,
        longest: float = SLICE_SECONDS,
        turns: int = 2,
    ) -> None:
        self._label, self._load, self._given, self._results, self._core = label, load, given, results, core
        self._slices, self._turns = math.ceil(given.seconds / longest), turns

    def play(self, line_up: list[Peer]) -> None:
        failures, headers = self._results.failures, tuple(self._given.header)
        with contextlib.ExitStack() as stack:
            entries = {DIRECT: self._entry(Server(DIRECT, Target(self._load.port, headers=headers)))}
            for peer in line_up:
                if peer.name not in failures:
                    say(f"{self._label}: starting {peer.name}")
                    with reporting(failures, peer.name):
                        server = stack.enter_context(started(peer, self._load.port, self._core, headers))
                        server.freeze()
                        entries[peer.name] = self._entry(server)
            take_turns(
                f"{self._label}: warm-up", entries, lambda entry: entry.server.run(self._load, WARM_UP), failures
            )
            for number in range(1, self._slices + 1):
                entries = dict(reversed(entries.items()))
                for experiment in TAKEN:
                    step = f"{self._label}: slice {number}/{self._slices}, {experiment}"
                    turn = partial(RelayEntry.turn, experiment=experiment, load=self._load)
                    take_turns(step, entries, turn, failures)
        for name in (DIRECT, *(peer.name for peer in line_up)):
            if name in entries:
                self._results.add(name, entries[name].figures())

    def _entry(self, server: Server) -> RelayEntry:
        given, window = self._given, self._given.seconds / self._slices
        streams, short, many = (
            max(1, round(count * server.share)) for count in (given.streams, SHORT_STREAMS, given.ttft_streams)
        )
        plans = {EVENTS: cpu_plan(streams, given.rate, window), REQUESTS: requests_plan(short, window)}
        plans |= {ONE: one_plan(math.ceil(ONE_REQUESTS / self._slices)), MANY: many_plan(many, self._turns)}
        return RelayEntry(server, plans)


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    line_up = [Peer(name) for name in BENCH.spec["line-up"]]
    line_up += [Peer(LITELLM, values={"litellm": given.litellm})] if given.litellm else []
    names = {peer.name for peer in line_up}
    if unknown := set(given.only) - names - {DIRECT}:
        raise SystemExit(f"--only: unknown {sorted(unknown)}, there are {sorted(names)}")
    results, load = Results(), Load()
    with contextlib.closing(load):
        for number in range(1, given.rounds + 1):
            a_round = RelayRound(f"round {number}/{given.rounds}", load, given, results, cores[0])
            a_round.play([peer for peer in line_up if not given.only or peer.name in given.only])
    found = {name: _peer_json(results, name) for name in results.rounds}
    headers = [name for name, _ in given.header]  # the values may be secrets
    return {"peers": found, "failures": results.failures, "headers": headers} | _litellm_version(given.litellm)


def _litellm_version(python: str | None) -> dict[str, str]:
    ask = "from importlib.metadata import version; print(version('litellm'))"
    return {"litellm_version": output_of(python, "-c", ask) or "absent"} if python else {}


def _peer_json(results: Results, name: str) -> dict[str, object]:
    found: dict[str, object] = {**results.spreads(name)}
    if name != DIRECT:
        found |= {f"cpu_vs_{other}": results.ratio(name, other, "cpu_us") for other in (NGINX, AIOHTTP, LITELLM)}
        found |= {f"added_{key}": results.beyond(name, DIRECT, key) for key in TTFT_KEYS}
    if name == WITH_KEY:
        found["request_us_of_key"] = results.beyond(name, GATEWAY, "request_us")
    return found | {"rounds": results.rounds[name]}


def _header(text: str) -> Header:
    name, separator, value = text.partition(":")
    if not separator or not name.strip():
        raise argparse.ArgumentTypeError("expected 'Name: value'")
    return name.strip(), value.strip()


BENCH = Bench("relay", __doc__, measure, {"header": _header})

if __name__ == "__main__":
    sys.exit(BENCH.main())
