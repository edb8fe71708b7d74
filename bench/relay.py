"""Wiring: what does it cost to relay an event, what a request, and how much later does the first token come?

The gateway, open and with keys on, beside nginx, a plain aiohttp proxy and (`--litellm`) LiteLLM; "direct" is the
load without a proxy. All peers run on one core, the load on another. They take turns of about a second, experiment by
experiment and in alternating order: a virtual machine's cost of a system call was seen to drift by a factor of three
within half a minute, which long turns would hand to one peer alone. Whoever is not on turn is frozen.
"""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from bench.kit.command import Bench, Given, Turns, rounds, servers, specs
from bench.kit.figures import NO_SAMPLE, Figures, Results, percentile
from bench.kit.load import Load, Outcome, Plan
from bench.kit.peers import AIOHTTP, DIRECT, GATEWAY, LITELLM, NGINX, WARM_UP, WITH_KEY, Peer, Server

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


EVENTS, REQUESTS, ONE, MANY = "CPU per event", "CPU per request", "TTFT of one stream", "TTFT of concurrent streams"
TAKEN: dict[str, Callable[[Outcome], list[Any]]] = {  # what an experiment keeps of each turn
    EVENTS: lambda outcome: [(outcome.window, outcome.latencies())],
    REQUESTS: lambda outcome: [replace(outcome.whole, events=len(outcome.exchanges))],
    ONE: lambda outcome: outcome.ttfts(first_turn=2),
    MANY: lambda outcome: outcome.ttfts(first_turn=2),
}
Found = dict[str, list[Any]]  # by experiment: what the turns of a peer gave


@dataclass(frozen=True, slots=True)
class RelayRound:
    """Starts every peer, gives each its turns, adds a set of figures per peer to the results."""

    label: str
    load: Load
    given: Given
    results: Results
    core: int
    longest: float = SLICE_SECONDS  # the longest window of a turn
    turns: int = 2  # how often each of the concurrent streams asks

    def play(self, line_up: list[Peer]) -> None:
        turns = Turns[Server](self.label, self.results.failures)
        slices = math.ceil(self.given.seconds / self.longest)
        with servers(turns, self.load, line_up, self.core, WARM_UP):
            plans = {name: self._plans(server.share, slices) for name, server in turns.entries.items()}
            found: dict[str, Found] = {name: {experiment: [] for experiment in TAKEN} for name in turns.entries}

            def turn(server: Server, experiment: str) -> None:
                outcome = server.run(self.load, plans[server.name][experiment])
                found[server.name][experiment] += TAKEN[experiment](outcome)

            for number in range(1, slices + 1):
                turns.reverse()
                for experiment in TAKEN:
                    turns.take(f"slice {number}/{slices}, {experiment}", turn, experiment)
        for name in [name for name in found if name in turns.entries]:
            self.results.add(name, figures(plans[name][EVENTS], found[name]))

    def _plans(self, share: float, slices: int) -> dict[str, Plan]:
        """The plan of each experiment, for a peer that takes this share of the load."""
        given, window = self.given, self.given.seconds / slices
        counts = (given.streams, SHORT_STREAMS, given.ttft_streams)
        streams, short, many = (max(1, round(count * share)) for count in counts)
        short_turns = max(1, round(window / (SHORT_GAP * (SHORT_TOKENS + 2))))
        one_turns = math.ceil(ONE_REQUESTS / slices) + 1  # the first opens the connection and does not count
        return {
            EVENTS: cpu_plan(streams, given.rate, window),
            REQUESTS: Plan(short, SHORT_TOKENS, gap=SHORT_GAP, spread=SHORT_GAP, turns=short_turns),
            ONE: Plan(1, tokens=4, gap=0.001, turns=one_turns, pause=0.002),
            # From the second turn on all streams are running, and each connection is warm.
            MANY: Plan(many, MANY_TOKENS, gap=1 / MANY_RATE, spread=0.5, turns=self.turns, pause=0.01),
        }


def figures(plan: Plan, found: Found) -> Figures:
    """What the turns of one peer gave; `plan`: that of the CPU per event."""
    windows, latencies = zip(*found[EVENTS], strict=True)
    window, requests = sum(windows, NO_SAMPLE), sum(found[REQUESTS], NO_SAMPLE)
    events_per_s = window.events / window.seconds
    costs = {"cpu_us": window.each_us, "request_us": requests.each_us, **window.cores()}
    rates = {"events_per_s": events_per_s, "rate_kept": events_per_s * plan.gap / plan.streams}
    waited = sorted(chain.from_iterable(latencies))
    times = {f"latency_p{share}_us": percentile(waited, share / 100) * 1e6 for share in (50, 99)}
    for kind, ttfts in (("one", found[ONE]), ("many", found[MANY])):
        times |= {f"ttft_{kind}_p{share}_ms": percentile(ttfts, share / 100) * 1e3 for share in (50, 99)}
    return costs | rates | times


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    line_up = [
        Peer(name, values={"litellm": given.litellm})
        for name in specs()["relay"]["options"]["only"]["among"]
        if name in (given.only or [name]) and (given.litellm or name != LITELLM)
        if given.only or "form" not in specs().get(name, {})
    ]
    results = Results()
    with contextlib.closing(Load()) as load:
        for label in rounds(given):
            RelayRound(label, load, given, results, cores[0]).play(line_up)
    return {"peers": {name: _peer_json(results, name) for name in results.rounds}, "failures": results.failures}


def _peer_json(results: Results, name: str) -> dict[str, object]:
    found: dict[str, object] = {**results.spreads(name)}
    if name != DIRECT:
        others = [other for other in (NGINX, AIOHTTP, LITELLM, GATEWAY) if other != name]
        found |= {f"cpu_vs_{other}": results.ratio(name, other, "cpu_us") for other in others}
        found |= {f"added_{key}": results.beyond(name, DIRECT, key) for key in TTFT_KEYS}
    if name == WITH_KEY:
        found["request_us_of_key"] = results.beyond(name, GATEWAY, "request_us")
    return found


BENCH = Bench("relay", __doc__, measure)
BENCH.run_as(__name__)
