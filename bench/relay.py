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
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.kit import peers
from bench.kit.client import Header, Target
from bench.kit.command import Bench, Given, reporting, say, take_turns
from bench.kit.figures import Figures, Results, percentile
from bench.kit.load import Load, Plan, Sample
from bench.kit.machine import told
from bench.kit.peers import AIOHTTP, DIRECT, GATEWAY, LITELLM, NGINX, UNBATCHED, UVLOOP, WITH_KEY, Peer, Proxy

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


def many_plan(streams: int, turns: int = 2) -> Plan:
    """From the second turn on all streams are running, and each connection is warm."""
    return Plan(streams, MANY_TOKENS, gap=1 / MANY_RATE, spread=0.5, turns=turns, pause=0.01)


@dataclass(slots=True)
class Entry:
    """A proxy in its round, and what its turns gave."""

    proxy: Proxy
    plan: Plan
    windows: list[Sample] = field(default_factory=list)
    wholes: list[Sample] = field(default_factory=list)
    requests: list[tuple[float, int]] = field(default_factory=list)  # CPU seconds, and for how many
    latencies: list[float] = field(default_factory=list)
    lateness: list[float] = field(default_factory=list)
    one: list[float] = field(default_factory=list)
    many: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.proxy.name

    def streams(self, count: int) -> int:
        """This peer's share of so many streams."""
        return max(1, round(count * self.proxy.share))

    def figures(self) -> Figures:
        seconds = sum(window.at for window in self.windows)
        events = sum(window.events for window in self.windows)
        cpu, whole_cpu = (sum(each.peer_cpu for each in samples) for samples in (self.windows, self.wholes))
        found = {
            "streams": self.plan.streams,
            "events_per_s": events / seconds,
            "rate_kept": events / seconds * self.plan.gap / self.plan.streams,
            "cpu_us": cpu / events * 1e6,
            "request_us": sum(used for used, _ in self.requests) / sum(count for _, count in self.requests) * 1e6,
            "cpu_us_with_requests": whole_cpu / sum(whole.events for whole in self.wholes) * 1e6,
            "peer_core": cpu / seconds,
            "load_core": sum(window.own_cpu for window in self.windows) / seconds,
            "latency_p50_us": percentile(self.latencies, 0.5) * 1e6,
            "latency_p99_us": percentile(self.latencies, 0.99) * 1e6,
            "late_send_p99_us": percentile(self.lateness, 0.99) * 1e6,
        }
        for kind, ttfts in (("one", self.one), ("many", self.many)):
            found[f"ttft_{kind}_requests"] = len(ttfts)
            found |= {f"ttft_{kind}_p{share}_ms": percentile(ttfts, share / 100) * 1e3 for share in (50, 99)}
        return found


class Round:
    """Starts every peer, gives each its turns, adds a set of figures per peer to the results."""

    def __init__(
        self, label: str, load: Load, given: Given, results: Results, core: int, longest: float = SLICE_SECONDS
    ) -> None:
        self._label, self._load, self._given, self._results, self._core = label, load, given, results, core
        self._slices = math.ceil(given.seconds / longest)
        self._window = given.seconds / self._slices

    def play(self, line_up: list[Peer]) -> None:
        failures, headers = self._results.failures, tuple(self._given.header)
        with tempfile.TemporaryDirectory(prefix="bench-relay-") as folder, contextlib.ExitStack() as stack:
            proxies = [Proxy(DIRECT, Target(self._load.port, headers=headers))]
            for peer in line_up:
                if peer.name not in failures:
                    say(f"{self._label}: starting {peer.name}")
                    with reporting(failures, peer.name):
                        proxy = peers.frozen(peer, Path(folder), self._load, self._core, headers)
                        proxies.append(stack.enter_context(proxy))
            everyone = [self._entry(proxy) for proxy in proxies]
            entries = list(everyone)
            take_turns(f"{self._label}: warm-up", entries, self._warm_up, failures)
            for number in range(1, self._slices + 1):
                entries.reverse()
                step = f"{self._label}: slice {number}/{self._slices}"
                take_turns(f"{step}, CPU per event", entries, self._cpu, failures)
                take_turns(f"{step}, CPU per request", entries, self._requests, failures)
                take_turns(f"{step}, TTFT of one stream", entries, self._one, failures)
                take_turns(f"{step}, TTFT of concurrent streams", entries, self._many, failures)
        for entry in everyone:
            if entry in entries:
                self._results.add(entry.name, entry.figures())

    def _entry(self, proxy: Proxy) -> Entry:
        streams = max(1, round(self._given.streams * proxy.share))
        return Entry(proxy, cpu_plan(streams, self._given.rate, self._window))

    def _warm_up(self, entry: Entry) -> None:
        entry.proxy.run(self._load, peers.WARM_UP)

    def _cpu(self, entry: Entry) -> None:
        outcome = entry.proxy.run(self._load, entry.plan)
        entry.windows.append(outcome.window)
        entry.wholes.append(outcome.whole)
        entry.latencies += outcome.latencies()
        entry.lateness += outcome.lateness()

    def _requests(self, entry: Entry) -> None:
        outcome = entry.proxy.run(self._load, requests_plan(entry.streams(SHORT_STREAMS), self._window))
        entry.requests.append((outcome.whole.peer_cpu, len(outcome.exchanges)))

    def _one(self, entry: Entry) -> None:
        plan = one_plan(math.ceil(ONE_REQUESTS / self._slices))
        entry.one += entry.proxy.run(self._load, plan).ttfts(first_turn=2)

    def _many(self, entry: Entry) -> None:
        plan = many_plan(entry.streams(self._given.ttft_streams))
        entry.many += entry.proxy.run(self._load, plan).ttfts(first_turn=2)


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    line_up = [peers.peer(name) for name in (NGINX, AIOHTTP, UVLOOP, GATEWAY, UNBATCHED, WITH_KEY)]
    line_up += [peers.peer(LITELLM, litellm=given.litellm)] if given.litellm else []
    names = {peer.name for peer in line_up}
    if unknown := set(given.only) - names - {DIRECT}:
        raise SystemExit(f"--only: unknown {sorted(unknown)}, there are {sorted(names)}")
    results, load = Results(), Load()
    with contextlib.closing(load):
        for number in range(1, given.rounds + 1):
            a_round = Round(f"round {number}/{given.rounds}", load, given, results, cores[0])
            a_round.play([peer for peer in line_up if not given.only or peer.name in given.only])
    found = {name: _peer_json(results, name) for name in results.rounds}
    headers = [name for name, _ in given.header]  # the values may be secrets
    return {"peers": found, "failures": results.failures, "headers": headers} | _litellm_version(given.litellm)


def _litellm_version(python: str | None) -> dict[str, str]:
    ask = "from importlib.metadata import version; print(version('litellm'))"
    return {"litellm_version": told(python, "-c", ask) or "absent"} if python else {}


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
main = BENCH.main

if __name__ == "__main__":
    sys.exit(main())
