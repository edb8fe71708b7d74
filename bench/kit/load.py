"""Shell: the load, clients and upstream in one process on one core, around whatever stands between them.

In: a plan (how many streams, how fast) and a target (the proxy's port). Out: an outcome with the times of all events
and the CPU spent in the middle of the run. Invariant: a run is bounded in time, leaves nothing behind, and has an
outcome only if every stream was whole.

    load = Load()
    outcome = load.run(Plan(streams=300, tokens=500, gap=0.01), Target(load.port))    # direct: no proxy
"""

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from bench.kit.ends import Client, Upstream
from bench.kit.figures import NO_SAMPLE, Sample
from bench.kit.loop import Loop, clock, undisturbed
from bench.kit.script import FIRST_CONTENT, FRAMING_EVENTS, BrokenStream, Exchange, Script, Speech, Target, script

GOLDEN = 0.6180339887498949  # multiples modulo 1 are spread evenly, and so are they modulo any gap
MAX_REASONS = 5
LEAVE_WAIT = (0.001, 0.003)  # from the request to the client's close: at least, and at most more
LEAVE_SECONDS = 0.05  # for one request that is left, at most
RETRY = 0.0005  # when the request, or its first token, has not come yet
SETTLE = 0.1  # until all streams beside have begun, beyond their spread
GRACE = 10.0  # how long beyond its schedule a run may last
Probe = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Plan:
    """`streams` connections with `turns` requests each, in turn; a stream has `tokens` content events.
    `expected`: what other upstreams than the load's answer. `period`: the requests of a connection are due this many
    seconds apart, whenever the answers come; one whose time has passed is sent as soon as the connection is free.
    `phases`: where in `spread` each connection begins, 0 to 1; evenly if there are none."""

    streams: int
    tokens: int
    gap: float
    spread: float = 0.0  # the first requests are spread over this time
    turns: int = 1
    pause: float = 0.0  # between the turns of a connection
    window: tuple[float, float] | None = None  # seconds after the start between which CPU is counted
    text_bytes: int = 0  # the least size of the text in a content event
    linger: float = 0.0  # how long it goes on after its last answer
    speech: tuple[Speech, ...] = (Speech.ALL,)  # how much the upstream says, by turns
    resets: tuple[bool, ...] = ()  # whether the client hangs up by RST or by FIN, by turns; (): it waits for the end
    expected: Script | None = None
    period: float = 0.0
    phases: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        """The schedule without any delay."""
        length = LEAVE_SECONDS if self.resets else (self.tokens + FRAMING_EVENTS) * self.gap
        return self.spread + self.turns * max(length + self.pause, self.period)

    def phase(self, slot: int) -> float:
        return self.phases[slot] if self.phases else slot * GOLDEN % 1.0

    def script(self, slot: int, target: Target) -> Script:
        return self.expected or script(slot, self.tokens, self.text_bytes, target.form)


@dataclass(slots=True)
class Outcome:
    """`whole` counts from before the first connection to the end, `window` while all streams were running."""

    due: int  # streams of the whole plan
    exchanges: list[Exchange] = field(default_factory=list)
    completed: int = 0
    reasons: list[str] = field(default_factory=list)  # of streams that failed
    whole: Sample = NO_SAMPLE
    window: Sample = NO_SAMPLE
    window_span: tuple[float, float] = (-math.inf, math.inf)  # by the clock; everything if the plan has no window

    def trouble(self) -> str:
        """Why the figures mean nothing, "" if every stream was whole."""
        missing = self.due - self.completed
        return "; ".join([f"{missing} of {self.due} streams not whole"] * bool(missing) + self.reasons[:MAX_REASONS])

    def ttfts(self, first_turn: int = 1) -> list[float]:
        """The TTFT of each turn from `first_turn` on: 2 leaves out the request that opens the connection."""
        counted = (exchange for exchange in self.exchanges if exchange.turn >= first_turn)
        return [exchange.receipts[FIRST_CONTENT] - exchange.asked_at for exchange in counted]

    def latencies(self) -> list[float]:
        """From send to receipt, of the events sent within the window: starts of streams are not in it."""
        since, until = self.window_span
        pairs = ((exchange.sends, exchange.receipts) for exchange in self.exchanges)
        both = itertools.chain.from_iterable(zip(*pair, strict=False) for pair in pairs)
        return [received - sent for sent, received in both if since <= sent < until]


class Load:
    """Owns the loop and the upstream's port for a whole bench; runs plans one after another."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.upstream = Upstream(self.loop)
        self._runs = itertools.count(1)
        self.port = self.upstream.port  # what proxies are pointed at, and the target of a direct run

    def run(self, plan: Plan, target: Target, probe: Probe = lambda: 0.0, beside: Plan | None = None) -> Outcome:
        """`probe` returns the CPU seconds that the peer has used so far; `beside`: streams that run until the plan is
        over. Leaves no timer and no running exchange behind. Raises `BrokenStream`."""
        runs = f"{next(self._runs)}"
        others = Streams(self, f"{runs}.1", beside, target) if beside else None
        streams, marks = Streams(self, f"{runs}.0", plan, target), list[Sample]()
        outcome, self.upstream.on_lost = streams.outcome, streams.on_lost

        def mark(now: float) -> None:
            events = sum(len(exchange.receipts) for exchange in outcome.exchanges)
            marks.append(Sample(clock(), events, probe(), time.process_time()))

        try:
            with undisturbed():
                mark(clock())
                begin = marks[0].seconds
                if others and beside:
                    others.start(begin)
                    begin += beside.spread + SETTLE
                streams.start(begin)
                for offset in plan.window or ():
                    self.loop.call_at(begin + offset, mark)
                self.loop.run(begin + plan.seconds + GRACE)
                self.loop.run(clock() + plan.linger)
        finally:
            self.loop.timers.clear()
            for each in filter(None, (streams, others)):
                each.close()
            self.upstream.reset()
        mark(clock())
        if trouble := outcome.trouble() or (others and "; ".join(others.outcome.reasons[:MAX_REASONS])):
            raise BrokenStream(trouble)
        outcome.whole = marks[-1] - marks[0]
        if plan.window:
            first, last = marks[1:3]
            outcome.window, outcome.window_span = last - first, (first.seconds, last.seconds)
        return outcome

    def serve(self, seconds: float) -> None:
        """Be an upstream for as long as that: some gateways ask theirs for its models before they listen."""
        self.loop.run(clock() + seconds)

    def close(self) -> None:
        self.upstream.close()
        self.loop.close()


class Streams:
    """The connections of one plan; the loop is stopped when none of them has anything to ask any more."""

    def __init__(self, load: Load, name: str, plan: Plan, target: Target) -> None:
        self._loop, self._upstream, self._name = load.loop, load.upstream, name
        self._plan, self._target = plan, target
        self._open = plan.streams
        self._clients = {Client(self._loop, target, self._on_end): slot for slot in range(plan.streams)}
        self._turns = dict.fromkeys(self._clients, 0)
        self._first_due = dict.fromkeys(self._clients, 0.0)  # when the first request of a connection is due
        self._left: dict[str, Client] = {}  # who has hung up, by the key of the exchange
        self.outcome = Outcome(plan.streams * plan.turns)
        for slot in range(plan.streams):
            plan.script(slot, target)

    def start(self, now: float) -> None:
        for client, slot in self._clients.items():
            due = self._first_due[client] = now + self._plan.phase(slot) * self._plan.spread
            self._loop.call_at(due, partial(self._ask, client))

    def close(self) -> None:
        for client in self._clients:
            client.close()
            if client.stray:
                self.outcome.reasons.append(f"stray bytes {client.stray!r}")

    def _ask(self, client: Client, now: float) -> None:
        slot, plan = self._clients[client], self._plan
        turn = self._turns[client] = self._turns[client] + 1
        key = f"{self._name}.{slot}.{turn}"
        asked = len(self.outcome.exchanges)
        said, speech = plan.script(slot, self._target), plan.speech[asked % len(plan.speech)]
        exchange = Exchange(key, said, plan.gap, turn, speech)
        self.outcome.exchanges.append(exchange)
        self._upstream.expected[key] = exchange
        client.ask(exchange)
        if plan.resets:
            exchange.reset = plan.resets[asked % len(plan.resets)]
            wait = LEAVE_WAIT[0] + asked * GOLDEN % 1.0 * LEAVE_WAIT[1]
            self._loop.call_at(clock() + wait, partial(self._leave, client, exchange))

    def _leave(self, client: Client, exchange: Exchange, now: float) -> float | None:
        """Hang up, as soon as the upstream has the request and the client a first token, if one is to come."""
        if not exchange.taken_at or (exchange.speech is Speech.ALL and len(exchange.receipts) <= FIRST_CONTENT):
            return now + RETRY
        self._left[exchange.key] = client
        exchange.left_at = client.leave(reset=bool(exchange.reset))
        return None

    def on_lost(self, exchange: Exchange) -> None:
        """The upstream has seen its connection closed; that is the end of an exchange whose client has left."""
        if exchange.left_at:
            self._on_end(self._left.pop(exchange.key), "")

    def _on_end(self, client: Client, reason: str) -> None:
        if reason:
            self.outcome.reasons.append(f"stream {self._clients[client]}: {reason}")
        else:
            self.outcome.completed += 1
        if not reason and self._turns[client] < self._plan.turns:
            due = self._first_due[client] + self._turns[client] * self._plan.period
            self._loop.call_at(max(clock() + self._plan.pause, due), partial(self._ask, client))
            return
        self._open -= 1
        if not self._open:
            self._loop.stop()
