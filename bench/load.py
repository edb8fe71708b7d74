"""Shell: the load, clients and upstream in one process on one core, around whatever stands between them.

In: a plan (how many streams, how fast) and a target (the proxy's port). Out: an outcome with the times of all
events and the CPU spent in the middle of the run. Invariant: bounded in time; nothing is left behind.

    load = Load()
    outcome = load.run(Plan(streams=300, tokens=500, gap=0.01), Target(load.port))    # direct: no proxy
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from bench.frames import FRAMING_EVENTS, Exchange, script
from bench.load_client import Client, Target
from bench.load_upstream import Upstream
from bench.loop import Loop, clock, undisturbed

GOLDEN = 0.6180339887498949  # multiples modulo 1 are spread evenly, and so are they modulo any gap
MAX_REASONS = 5
Probe = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Plan:
    """`streams` connections with `turns` requests each, in turn; a stream has `tokens` content events."""

    streams: int
    tokens: int
    gap: float
    spread: float = 0.0  # the first requests are spread over this time
    turns: int = 1
    pause: float = 0.0  # between the turns of a connection
    window: tuple[float, float] | None = None  # seconds after the start between which CPU is counted
    text_bytes: int = 0  # at least so many in each content event
    grace: float = 10.0  # how long beyond its schedule a run may last

    @property
    def seconds(self) -> float:
        """The schedule without any delay."""
        return self.spread + self.turns * ((self.tokens + FRAMING_EVENTS) * self.gap + self.pause)


@dataclass(frozen=True, slots=True)
class Sample:
    """The counters at one moment: seconds of the clock and of CPU (the peer's, the load's own)."""

    at: float
    events: int
    peer_cpu: float
    own_cpu: float

    def __sub__(self, other: Sample) -> Sample:
        return Sample(
            self.at - other.at,
            self.events - other.events,
            self.peer_cpu - other.peer_cpu,
            self.own_cpu - other.own_cpu,
        )


@dataclass(slots=True)
class Outcome:
    """`whole` counts from before the first connection to the end, `window` while all streams were running."""

    exchanges: list[Exchange] = field(default_factory=list)
    completed: int = 0
    failed: int = 0
    unfinished: int = 0
    reasons: list[str] = field(default_factory=list)
    whole: Sample | None = None
    window: Sample | None = None
    window_span: tuple[float, float] = (-math.inf, math.inf)  # by the clock; everything if the plan has no window
    upstream_connections: int = 0

    @property
    def events(self) -> int:
        return sum(len(exchange.receipts) for exchange in self.exchanges)

    def ttfts(self, first_turn: int = 1) -> list[float]:
        """From `first_turn` on: with 2, the request that opens the connection does not count."""
        kept = (one for one in self.exchanges if one.turn >= first_turn and len(one.receipts) > 1)
        return [one.ttft() for one in kept]

    def latencies(self) -> list[float]:
        """Of the events sent within the window: starts of streams are not in it."""
        since, until = self.window_span
        return list(itertools.chain.from_iterable(one.latencies(since, until) for one in self.exchanges))

    def lateness(self) -> list[float]:
        return list(itertools.chain.from_iterable(exchange.lateness() for exchange in self.exchanges))


class Load:
    """Owns the loop and the upstream's port for a whole bench; runs plans one after another."""

    def __init__(self) -> None:
        self._loop = Loop()
        self._upstream = Upstream(self._loop)
        self._runs = itertools.count(1)

    @property
    def port(self) -> int:
        """Of the upstream: what proxies are pointed at, and the target of a direct run."""
        return self._upstream.port

    def run(self, plan: Plan, target: Target, probe: Probe = lambda: 0.0) -> Outcome:
        """`probe` returns the CPU seconds the peer has used so far."""
        for slot in range(plan.streams):
            script(slot, plan.tokens, plan.text_bytes)
        run = _Run(self._loop, self._upstream, plan, target, probe, f"{next(self._runs)}")
        with undisturbed():
            return run.play()

    def close(self) -> None:
        self._upstream.close()
        self._loop.close()


class _Run:
    """One plan on one target."""

    def __init__(self, loop: Loop, upstream: Upstream, plan: Plan, target: Target, probe: Probe, name: str) -> None:
        self._loop, self._upstream, self._plan, self._probe, self._name = loop, upstream, plan, probe, name
        self._clients = {Client(loop, target, self._on_end): slot for slot in range(plan.streams)}
        self._turns = dict.fromkeys(self._clients, 0)
        self._outcome = Outcome()
        self._open = plan.streams
        self._marks: list[Sample] = []

    def play(self) -> Outcome:
        plan, outcome = self._plan, self._outcome
        connections = self._upstream.connections_made
        begin = self._sample()
        try:
            self._schedule(begin.at)
            self._loop.run(begin.at + plan.seconds + plan.grace)
        finally:
            self._clear()
        outcome.whole = self._sample() - begin
        outcome.reasons += [f"stray bytes {client.stray!r}" for client in self._clients if client.stray]
        if len(self._marks) == 2:
            outcome.window = self._marks[1] - self._marks[0]
            outcome.window_span = (self._marks[0].at, self._marks[1].at)
        outcome.unfinished = len(outcome.exchanges) - outcome.completed - outcome.failed
        outcome.upstream_connections = self._upstream.connections_made - connections
        return outcome

    def _schedule(self, start: float) -> None:
        for client, slot in self._clients.items():
            offset = (slot * GOLDEN) % 1.0 * self._plan.spread
            self._loop.call_at(start + offset, partial(self._ask, client))
        for offset in self._plan.window or ():
            self._loop.call_at(start + offset, self._mark)

    def _clear(self) -> None:
        self._loop.drop_timers()
        for client in self._clients:
            client.close()
        self._upstream.reset()

    def _ask(self, client: Client, now: float) -> None:
        slot = self._clients[client]
        self._turns[client] += 1
        key = f"{self._name}.{slot}.{self._turns[client]}"
        plan = self._plan
        exchange = Exchange(key, script(slot, plan.tokens, plan.text_bytes), plan.gap, self._turns[client])
        self._outcome.exchanges.append(exchange)
        self._upstream.expect(exchange)
        client.ask(exchange)

    def _on_end(self, client: Client, reason: str) -> None:
        outcome = self._outcome
        if reason:
            outcome.failed += 1
            if len(outcome.reasons) < MAX_REASONS:
                outcome.reasons.append(f"stream {self._clients[client]}: {reason}")
        else:
            outcome.completed += 1
        if not reason and self._turns[client] < self._plan.turns:
            self._loop.call_at(clock() + self._plan.pause, partial(self._ask, client))
            return
        self._open -= 1
        if not self._open:
            self._loop.stop()

    def _mark(self, now: float) -> None:
        self._marks.append(self._sample())

    def _sample(self) -> Sample:
        return Sample(clock(), self._outcome.events, self._probe(), time.process_time())
