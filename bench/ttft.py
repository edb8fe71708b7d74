"""Wiring: how late is a TTFT deadline, and what becomes of a slow tail when the gateway hedges?

Deadline: concurrent requests with a budget (`X-Max-TTFT-Ms`) on an upstream that stalls before its first content; how
late after the budget the 504 is there, with the deadlines spread evenly and with all at once. Tail: arrivals at a
fixed rate on an upstream with a TTFT of 100 ms of which some take a second; a second, dearer one takes 60 ms. One
gateway hedges (`hedge_after = "auto"`), one does not, both with the same dice; they take turns.
"""

import contextlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.kit.command import Bench, Given, reporting, rounds, say
from bench.kit.figures import Figures, times_ms
from bench.kit.load import Load, Plan
from bench.kit.peers import GATEWAY, Peer, ask, started
from bench.kit.script import FRAMING_EVENTS, BrokenStream, Check, ContentCheck, Position, Script, Speech, Target

DEADLINE, TAIL = "deadline", "tail"
SPREAD, AT_ONCE = "spread", "at_once"
EARLY = 0.001  # the grain of timers: an answer earlier than this cut the budget short
PAUSE = 0.002  # between the answer and the next request of a connection
LINGER = 0.25  # for the last close behind the last answer
REFUSAL = ("api_error", "ttft_budget_exceeded")  # type and code
REFUSAL_HEAD = re.compile(rb"HTTP/1\.1 504 .*?\r\ncontent-length: (\d+)", re.IGNORECASE | re.DOTALL)
SLOW_MS = 1000.0
TEXTS = ("token1 ", "token2 ", "token3")
EXPECTED = Script((b"",) * (len(TEXTS) + FRAMING_EVENTS), TEXTS, ())  # its events are known by their texts alone
FAST = {"text": "".join(TEXTS), "ttft_ms": 60.0, "ttft_jitter_ms": 5.0, "gap_ms": 1.0}
USUAL = FAST | {"ttft_ms": 100.0, "ttft_jitter_ms": 10.0, "slow_ttft_ms": SLOW_MS}


class RefusalCheck(Check):
    """Expects the one 504 that DESIGN.md section 6 has for a budget that is spent, whole, instead of a stream."""

    exact = False

    def advance(self, position: Position, data: bytes) -> Position:
        answer = position.held + data
        head, separator, body = answer.partition(b"\r\n\r\n")
        if not separator:
            return Position(held=answer)
        size = REFUSAL_HEAD.match(head)
        if size is None or len(body) > int(size[1]):
            raise BrokenStream(f"answered {answer[:300]!r}")
        if len(body) < int(size[1]):
            return Position(held=answer)
        error = json.loads(body).get("error") or {}
        if (error.get("type"), error.get("code")) != REFUSAL:
            raise BrokenStream(f"not the expected error: {body[:300]!r}")
        return Position(len(self._script.events), ended=True)


def lateness(load: Load, port: int, budget: float, streams: int, turns: int, spread: float) -> list[float]:
    """Requests with a budget that their upstream never keeps: seconds from the end of the budget, counted from the
    request's last byte, to the last byte of each answer. Raises `BrokenStream` if an answer came early, or the
    upstream has not seen a request or its close."""
    gap = budget / (1 + FRAMING_EVENTS)  # no event is sent: the schedule alone has this gap
    speech = (Speech.ROLE, Speech.NOTHING)  # by turns
    plan = Plan(streams, 1, gap, spread, turns, PAUSE, linger=LINGER, speech=speech)
    outcome = load.run(plan, Target(port, RefusalCheck, (("X-Max-TTFT-Ms", f"{budget * 1e3:.0f}"),)))
    late = [exchange.receipts[-1] - exchange.asked_at - budget for exchange in outcome.exchanges]
    if min(late) < -EARLY:
        raise BrokenStream(f"answered {-min(late) * 1e3:.1f} ms before the end of the budget")
    lost = sum(exchange.lost_at > 0 for exchange in outcome.exchanges)
    if lost != len(late):
        raise BrokenStream(f"of {len(late)} requests the upstream has seen {lost} come and close")
    return late


def deadline(given: Given, core: int) -> dict[str, Figures]:
    """Lateness with spread deadlines, and with all at once. Raises `BrokenStream`, `PeerFailure`."""
    late: dict[str, list[float]] = {SPREAD: [], AT_ONCE: []}
    budget = given.budget_ms / 1000
    with contextlib.closing(Load()) as load, started(Peer(GATEWAY), load.port, core) as server:
        port = server.target.port
        lateness(load, port, budget, min(20, given.streams), 1, 0.0)
        for label in rounds(given):
            say(f"deadline, {label}")
            late[SPREAD] += lateness(load, port, budget, given.streams, given.turns, budget)
            late[AT_ONCE] += lateness(load, port, budget, given.streams, 1, 0.0)
    return {name: {"answers": len(values), **times_ms(values)} for name, values in late.items()}


@dataclass(slots=True)
class Hedger:
    """A gateway with this `hedge_after` and its own two upstreams, whose dice are the same for every gateway."""

    name: str
    port: int
    upstream_ports: tuple[int, int]
    before: Sequence[int] = (0, 0)  # requests that the upstreams had counted when the warm-up was over
    ttfts: list[float] = field(default_factory=list)

    def counts(self) -> list[int]:
        """Requests that each upstream has counted."""
        return [int(ask(port, "/stats")["requests"]) for port in self.upstream_ports]

    def arrivals(self, load: Load, count: int, rate: float) -> list[float]:
        """The TTFT of every request, each on a connection of its own. Raises `BrokenStream`."""
        plan = Plan(count, len(TEXTS), gap=0.0, spread=count / rate, expected=EXPECTED)
        return load.run(plan, Target(self.port, ContentCheck)).ttfts()

    def figures(self) -> Figures:
        """Raises `BrokenStream` if fewer requests were counted than answered."""
        asked = len(self.ttfts)
        first, second = (after - before for after, before in zip(self.counts(), self.before, strict=True))
        if first + second < asked:
            raise BrokenStream(f"{asked} requests answered, but the upstreams counted {first} and {second}")
        slow = sum(seconds * 1e3 > SLOW_MS / 2 for seconds in self.ttfts)
        shares = {"extra_share": (first + second - asked) / asked, "slow_share": slow / asked}
        return {"requests": asked, **times_ms(self.ttfts), "hedges": second, **shares}


def hedging(hedge_after: str, given: Given, cores: tuple[int, int], stack: contextlib.ExitStack) -> Hedger:
    """Start a gateway on the first core and its upstreams on the second. Raises `PeerFailure`."""
    usual = USUAL | {"slow_share": given.slow_share, "seed": given.seed}
    fast = FAST | {"seed": given.seed + 1}
    first, second = (
        stack.enter_context(started(Peer(name, "simulated", values={"script": json.dumps(told)}), 0, cores[1]))
        for name, told in (("usual", usual), ("fast", fast))
    )
    ports = {"usual_port": first.target.port, "fast_port": second.target.port}
    peer = Peer(f"gateway-{hedge_after}", "hedging", values={"hedge_after": hedge_after, **ports})
    gateway = stack.enter_context(started(peer, 0, cores[0]))
    return Hedger(hedge_after, gateway.target.port, (first.target.port, second.target.port))


def tail(given: Given, cores: tuple[int, int]) -> dict[str, Figures]:
    """TTFT and requests spent per `hedge_after`. Raises `BrokenStream`, `PeerFailure`."""
    say("tail: starting two gateways, each with two upstreams")
    with contextlib.closing(Load()) as load, contextlib.ExitStack() as stack:
        hedgers = [hedging(hedge_after, given, cores, stack) for hedge_after in ("off", "auto")]
        for hedger in hedgers:
            hedger.arrivals(load, given.warm_up, given.rate)
            hedger.before = hedger.counts()
        for label, step in zip(rounds(given), itertools.cycle((-1, 1)), strict=False):
            say(f"tail, {label}")
            for hedger in hedgers[::step]:
                hedger.ttfts += hedger.arrivals(load, given.requests, given.rate)
        return {hedger.name: hedger.figures() for hedger in hedgers}


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    runs = {DEADLINE: lambda: deadline(given, cores[0]), TAIL: lambda: tail(given, cores)}
    found, failures = {name: dict[str, Figures]() for name in runs}, dict[str, str]()
    for name in given.only or runs:
        with reporting(failures, name):
            found[name] = runs[name]()
    return {**found, "failures": failures}


BENCH = Bench("ttft", __doc__, measure)
BENCH.run_as(__name__)
