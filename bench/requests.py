"""Wiring: what does a short request cost, and how late are the tokens of everybody while requests come and go?

Cost: the CPU of a request with five events, by connections. Loop: streams of 0.42 s, a token each 10 ms, each of
which begins as soon as the stream before it on its connection has ended, the first ones evenly or by the dice; how
late tokens are, and the first of them. Silent: requests that come at once, with a budget, on an upstream that says
nothing and a second that answers. Kept: 660 short requests a second while ended streams pile up; the worst pause of
the gateway, seen from outside, and the memory of a kept stream. Running: the memory of a completion that runs.

`--peer` takes any OpenAI-compatible gateway by its shell command, which finds PORT, UPSTREAM_PORT, KEY and FOLDER in
its environment; NAME@MODEL if it has a name of its own for the model `bench`.
"""

import argparse
import contextlib
import math
import random
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.kit.command import Bench, Given, Turns, reporting, rounds, say, servers
from bench.kit.ends import CONNECT_TIMEOUT, RECEIVE_BYTES
from bench.kit.figures import Figures, Results, percentile, times_ms
from bench.kit.load import Load, Outcome, Plan
from bench.kit.loop import Loop, clock
from bench.kit.machine import memory_kib
from bench.kit.peers import (
    AIOHTTP,
    BARE,
    DIRECT,
    GATEWAY,
    LITELLM,
    NGINX,
    WARM_UP,
    WITH_KEY,
    Peer,
    Server,
    fetch,
    started,
)
from bench.kit.script import (
    FIRST_CONTENT,
    FRAMING_EVENTS,
    MODEL,
    BrokenStream,
    Check,
    Position,
    Script,
    Target,
    script,
)
from bench.ttft import RefusalCheck

EVEN, RANDOM = "even", "random"
SEED = 1  # of the phases of random starts, which are the same for every peer
COST, LOOP, SILENT, KEPT, RUNNING = "cost", "loop", "silent", "kept", "running"
GAP = 0.01  # between the tokens of every stream
SHORT_TOKENS = 2  # five events
SHORT_PERIOD = 0.04  # a connection asks 25 times a second, whatever stands between
COST_SECONDS, COST_TURNS = 1.0, 3  # the window of a turn; turns in each round
SETTLE, MARGIN = 0.1, 0.25  # from the last first request to the window; how long requests go on behind it
LOOP_TOKENS = 41  # 0.42 s
TOGETHER = 0.01  # seconds in which starts count as one clump
MUTE_BACKLOG = 4096  # connections that the kernel takes for an upstream that never looks at them
QUICK_GAP = 0.001
KEPT_STREAMS, KEPT_PERIOD = 33, 0.05  # 660 requests a second
FLOOR_SECONDS = 5.0  # of the run without a gateway that keeps anything
FIRST_SECONDS = 2.0  # requests that use up the memory which a process has free from its start
PROBE_PERIOD = 0.01
RUNNING_STREAMS, RUNNING_TOKENS, RUNNING_GAP = 1000, 14, 0.5
RUNNING_SPREAD, RUNNING_LOOKS = 4.0, (1.0, 5.0)  # seconds: they begin within the first; when the memory is looked at
LOG_FACTOR = 1.3  # kept memory over the bytes of the log, and a KiB, is what a kept stream may have
LOG_KIB = sum(map(len, script(0, SHORT_TOKENS).events)) / 1024


def short_plan(connections: int, period: float, seconds: float) -> Plan:
    """Requests with five events; each connection asks every `period`, and the connections spread over it."""
    begin = period + SETTLE
    turns = math.ceil((begin + seconds + MARGIN) / period)
    window = (begin, begin + seconds)
    return Plan(connections, SHORT_TOKENS, GAP, spread=period, turns=turns, window=window, period=period)


def loop_plan(streams: int, seconds: float, starts: str = EVEN) -> Plan:
    """Streams of 0.42 s, one behind the other on each connection; the first ones begin evenly, or by the dice."""
    length, dice = (LOOP_TOKENS + 1) * GAP, random.Random(SEED)
    phases = tuple(dice.random() for _ in range(streams)) if starts == RANDOM else ()
    return Plan(streams, LOOP_TOKENS, GAP, length, 1 + math.ceil(seconds / length), phases=phases)


def commanded(text: str) -> Peer:
    """NAME=COMMAND or NAME@MODEL=COMMAND: a gateway by its shell command."""
    label, _, command = text.partition("=")
    name, _, model = label.partition("@")
    if not name or not command:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=COMMAND")
    return Peer(name, command=command, model=model or MODEL)


def most_within(times: Iterable[float], width: float) -> int:
    """The most of these times that lie in one interval of this width, of all intervals."""
    ordered, most, first = sorted(times), 0, 0
    for last, time in enumerate(ordered):
        while time - ordered[first] > width:
            first += 1
        most = max(most, last - first + 1)
    return most


def lateness(outcome: Outcome, first_turn: int = 1) -> list[float]:
    """How late each token behind the first of a stream came: from the time at which the upstream had to send it.

    What the load itself is late with is in it; a direct run shows how much that is.
    """
    return [
        exchange.receipts[number] - exchange.sends[0] - (number - FIRST_CONTENT) * exchange.gap
        for exchange in outcome.exchanges
        if exchange.turn >= first_turn
        for number in range(FIRST_CONTENT + 1, FIRST_CONTENT + len(exchange.script.texts))
    ]


def gauge(port: int, name: str) -> float:
    """A metric without labels of a gateway. Raises `OSError`, and `StopIteration` if there is none of this name."""
    lines = fetch(port, "/metrics").decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


class Prober:
    """Asks for one small answer again and again while the loop runs, over one connection; `waits`: how long after it
    was due each question was answered. A question that is due while an answer is missing waits for that answer and
    counts from its own time, so that a pause of the peer shows in its whole length, and in many questions."""

    def __init__(self, loop: Loop, port: int, path: str, period: float) -> None:
        self._loop, self._period = loop, period
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
        self._sock = socket.create_connection(("127.0.0.1", port), CONNECT_TIMEOUT)
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open: list[float] = []  # when the questions without an answer were due
        self.waits: list[float] = []
        self._due = clock() + period
        loop.watch(self._sock.fileno(), self._on_ready)
        loop.call_at(self._due, self._on_time)

    def close(self) -> None:
        self._loop.forget(self._sock.fileno())
        self._sock.close()

    def _on_time(self, now: float) -> float:
        self._open.append(self._due)
        if len(self._open) == 1:
            self._sock.send(self._request)
        self._due += self._period
        return self._due

    def _on_ready(self, mask: int) -> None:
        """The answer, which is small and comes in one piece, answers all who wait. Raises `BrokenStream`."""
        data = self._sock.recv(RECEIVE_BYTES)
        if not data.startswith(b"HTTP/1.1 200 ") or not self._open:
            raise BrokenStream(f"a probe was answered {data[:100]!r}")
        now = clock()
        self.waits += [now - due for due in self._open]
        self._open.clear()


@dataclass(frozen=True, slots=True)
class Experiment:
    """A load of this kind and size, and what one turn of a peer with it has shown."""

    kind: str
    size: int
    seconds: float
    starts: str = EVEN

    @property
    def name(self) -> str:
        """What it is called among those of its kind."""
        return f"{self.size}" if self.starts == EVEN else f"{self.size} {self.starts}"

    def plan(self, share: float) -> Plan:
        """`share`: of the load that the others get."""
        size = max(1, round(self.size * share))
        if self.kind == COST:
            return short_plan(size, SHORT_PERIOD, self.seconds)
        return loop_plan(size, self.seconds, self.starts)

    def figures(self, outcome: Outcome) -> Figures:
        """The first request of each connection opens it, and counts for no time."""
        found = {f"ttft_{key}": value for key, value in times_ms(outcome.ttfts(first_turn=2)).items()}
        if self.kind == COST:
            spent, events = outcome.window, SHORT_TOKENS + FRAMING_EVENTS
            rate = spent.events / events / spent.seconds
            return found | {"us": spent.each_us * events, "requests_per_s": rate, **spent.cores()}
        starts = [exchange.asked_at for exchange in outcome.exchanges if exchange.turn >= 2]
        rate, together = len(starts) / (max(starts) - min(starts)), most_within(starts, TOGETHER)
        found |= times_ms(lateness(outcome, first_turn=2), "late_")
        return found | {"starts_per_s": rate, "starts_together": together, **outcome.whole.cores()}


@dataclass(frozen=True, slots=True)
class RequestsRound:
    """Starts every peer and gives each its turns, whose figures go to the results of the experiment."""

    label: str
    load: Load
    results: dict[Experiment, Results]
    failures: dict[str, str]

    def play(self, line_up: list[Peer], core: int) -> None:
        turns = Turns[Server](self.label, self.failures)
        with servers(turns, self.load, line_up, core, WARM_UP):
            for number in range(1, COST_TURNS + 1):
                for experiment in self.results:
                    if number == 1 or experiment.kind == COST:
                        step = f"turn {number}, {experiment.kind} {experiment.name}"
                        turns.take(step, self._turn, experiment)
                turns.reverse()

    def _turn(self, server: Server, experiment: Experiment) -> None:
        outcome = server.run(self.load, experiment.plan(server.share))
        self.results[experiment].add(server.name, experiment.figures(outcome))


class EitherCheck(Check):
    """Expects the stream, or the 504 of a budget that is spent; the script of whoever got that goes to `refused`."""

    def __init__(self, script: Script, refused: list[Script]) -> None:
        super().__init__(script)
        self._refusal, self._refused = RefusalCheck(script), refused

    def advance(self, position: Position, data: bytes) -> Position:
        if position.begun or not (position.held + data).startswith(b"HTTP/1.1 504 "):
            return super().advance(position, data)
        new = self._refusal.advance(position, data)
        self._refused += [self._script] * new.ended
        return new


def silent(given: Given, core: int, results: Results) -> None:
    """How many of the requests that come at once are answered, by rounds. Raises `BrokenStream`, `PeerFailure`."""
    refused: list[Script] = []
    check, budget = partial(EitherCheck, refused=refused), (("X-Max-TTFT-Ms", f"{given.budget_ms}"),)
    with contextlib.closing(Load()) as load, socket.create_server(("127.0.0.1", 0), backlog=MUTE_BACKLOG) as mute:
        ports = {"usual_port": mute.getsockname()[1], "fast_port": load.port}
        peer = Peer(GATEWAY, "hedging", values={"hedge_after": "off", **ports})
        with started(peer, 0, core) as server:
            target = Target(server.target.port, check, budget)
            load.run(Plan(WARM_UP.streams, SHORT_TOKENS, QUICK_GAP), target)
            for label in rounds(given):
                say(f"{label}: {given.burst} requests at once, the first upstream silent")
                refused.clear()
                outcome = load.run(Plan(given.burst, SHORT_TOKENS, QUICK_GAP), target)
                answered = [exchange for exchange in outcome.exchanges if exchange.script not in refused]
                ttfts = [exchange.receipts[FIRST_CONTENT] - exchange.asked_at for exchange in answered]
                in_time = sum(seconds <= given.budget_ms / 1e3 for seconds in ttfts)  # as the client sees it
                counts = {"requests": given.burst, "answered": len(answered), "in_time": in_time}
                results.add(GATEWAY, counts | times_ms(ttfts))


def paced(load: Load, server: Server, seconds: float) -> Figures:
    """660 short requests a second, and a probe each 10 ms: how long nothing went on. Raises `BrokenStream`."""
    with contextlib.closing(Prober(load.loop, server.target.port, "/healthz", PROBE_PERIOD)) as prober:
        outcome = load.run(short_plan(KEPT_STREAMS, KEPT_PERIOD, seconds), server.target, server.cpu)
    late, requests = lateness(outcome), outcome.window.events / (SHORT_TOKENS + FRAMING_EVENTS)
    found = {"requests_per_s": requests / outcome.window.seconds, **outcome.window.cores()}
    found |= times_ms(late, "late_") | times_ms(prober.waits, "healthz_")
    return found | {"pause_ms": max(percentile(late, 1.0), percentile(prober.waits, 1.0)) * 1e3}


def piling_up(load: Load, server: Server, seconds: float) -> Figures:
    """The same of a gateway: its own word for the pause, and the memory of a kept stream."""
    load.run(short_plan(KEPT_STREAMS, KEPT_PERIOD, FIRST_SECONDS), server.target)
    port = server.target.port
    gauge(port, "rivergate_event_loop_lag_seconds")  # from now on
    kept, kib = gauge(port, "rivergate_streams_kept"), memory_kib(server.pid)["private"]
    found = paced(load, server, seconds)
    lag, after = gauge(port, "rivergate_event_loop_lag_seconds"), gauge(port, "rivergate_streams_kept")
    each = (memory_kib(server.pid)["private"] - kib) / (after - kept)
    memory = {"kept": after, "kept_kib": each, "beyond_log_kib": each - LOG_FACTOR * LOG_KIB}
    return found | {"loop_lag_ms": lag * 1e3} | memory


def keeping(given: Given, core: int, failures: dict[str, str]) -> dict[str, Figures]:
    """The gateway, beside the load alone and nginx, which keep nothing."""
    found: dict[str, Figures] = {}
    with contextlib.closing(Load()) as load:
        for name in (DIRECT, NGINX, GATEWAY):
            say(f"ended streams pile up: {name}")
            with reporting(failures, name, KEPT), _running(name, load, core) as server:
                load.run(WARM_UP, server.target)
                run, seconds = (piling_up, given.kept_seconds) if name == GATEWAY else (paced, FLOOR_SECONDS)
                found[name] = run(load, server, min(seconds, given.kept_seconds))
    return found


def running(line_up: list[Peer], core: int, failures: dict[str, str]) -> dict[str, Figures]:
    """The memory of a completion that runs: what a peer grows by from a quarter of them to all."""
    found: dict[str, Figures] = {}
    with contextlib.closing(Load()) as load:
        for peer in line_up:
            say(f"completions run: {peer.name}")
            with reporting(failures, peer.name, RUNNING), started(peer, load.port, core, load.serve) as server:
                load.run(WARM_UP, server.target)
                streams = round(RUNNING_STREAMS * server.share)
                plan = Plan(streams, RUNNING_TOKENS, RUNNING_GAP, RUNNING_SPREAD, window=RUNNING_LOOKS)
                outcome = load.run(plan, server.target, partial(private_kib, server.pid))  # which stands for the CPU
                begun = sum(exchange.asked_at > outcome.window_span[0] for exchange in outcome.exchanges)
                found[peer.name] = {"kib": outcome.window.peer_cpu / begun}
    return found


def private_kib(pid: int) -> float:
    return memory_kib(pid)["private"]


@contextlib.contextmanager
def _running(name: str, load: Load, core: int) -> Iterator[Server]:
    if name == DIRECT:
        yield Server(DIRECT, Target(load.port))
        return
    with started(Peer(name), load.port, core) as server:
        yield server


def experiments(given: Given) -> dict[Experiment, Results]:
    """What the rounds consist of, each with its results to come."""
    costs = [Experiment(COST, size, COST_SECONDS) for size in given.connections]
    loops = [Experiment(LOOP, size, given.seconds, starts) for size in given.streams for starts in given.starts]
    return {experiment: Results() for experiment in costs + loops if experiment.kind in (given.only or (COST, LOOP))}


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    results, failures, only = experiments(given), dict[str, str](), given.only or (SILENT, KEPT, RUNNING)
    line_up = [Peer(name) for name in (NGINX, BARE, AIOHTTP, GATEWAY, WITH_KEY)]
    line_up += [Peer(LITELLM, values={"litellm": given.litellm})] * bool(given.litellm)
    with contextlib.closing(Load()) as load:
        for label in rounds(given) if results else ():
            RequestsRound(label, load, results, failures).play(line_up + given.peer, cores[0])
    burst = Results(failures=failures)
    if SILENT in only:
        with reporting(failures, GATEWAY, SILENT):
            silent(given, cores[0], burst)
    found: dict[str, Any] = {COST: {}, LOOP: {}, SILENT: {name: burst.spreads(name) for name in burst.rounds}}
    for experiment, each in results.items():
        found[experiment.kind][experiment.name] = {"peers": peers_json(experiment.kind, each)}
    found[KEPT] = keeping(given, cores[0], failures) if KEPT in only else {}
    found[RUNNING] = running(line_up + given.peer, cores[0], failures) if RUNNING in only else {}
    return {**found, "failures": failures}


def peers_json(kind: str, results: Results) -> dict[str, Any]:
    """The figures of every peer, and those that are compared with another peer's in the same turn."""
    ratio, beyond = results.ratio, results.beyond
    key, others = ("us", (NGINX, BARE, AIOHTTP, LITELLM, GATEWAY)) if kind == COST else ("late_p99_ms", (NGINX,))
    found: dict[str, Any] = {}
    for name in results.rounds:
        compared = {f"{key}_vs_{other}": ratio(name, other, key) for other in others if name != DIRECT}
        added = {f"added_{ttft}": beyond(name, DIRECT, ttft) for ttft in ("ttft_p50_ms", "ttft_p99_ms")}
        found[name] = {**results.spreads(name), **compared, **added}
    return found


BENCH = Bench("requests", __doc__, measure, {"peer": commanded})
BENCH.run_as(__name__)
