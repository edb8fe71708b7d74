"""Wiring: how soon after the last subscriber has closed does the upstream see the close?

    python -m bench.abort [--aborts 300] [--others 100] [--rounds 3] [--json FILE]

Clients leave before the first token and in mid-stream, by FIN and by RST, alone and while other streams run: on the
gateway, on nginx (`proxy_buffering off`) and, as "direct", on the upstream itself. All peers run on one core, the
load on another, and they take turns. Both ends of a close are of this process and its one clock.
"""

import contextlib
import random
import sys
from functools import partial
from typing import Any

from bench.kit.command import Bench, Given, start_all, take_turns
from bench.kit.ends import Client, Target
from bench.kit.figures import times_ms
from bench.kit.load import Load, Plan, Streams
from bench.kit.loop import clock
from bench.kit.peers import GATEWAY, NGINX, Peer, Server
from bench.kit.script import FIRST_CONTENT, BrokenStream, Exchange, Speech, script

WARM_UP, ALONE, BESIDE = "", "alone", "beside"
WARM_UP_ABORTS = 10
WAIT = (0.001, 0.004)  # from the request to the close, at random; more than a gap of the tokens
GAP = 0.002  # between the tokens of a stream that is left
TOKENS = 2000  # more than are sent before a turn is given up
RETRY = 0.0005  # when the request, or its first token, has not come yet
PAUSE = 0.0005  # between two aborts
PATIENCE = (10.0, 0.05)  # seconds for a turn, and for each of its aborts
SETTLE = 0.6  # until all streams beside have begun
# The name of a way of leaving, what its upstream says, and whether it is by RST: half of the upstreams that have sent
# no token yet have sent their head and the role, the other half nothing at all.
KINDS = tuple(
    (f"{moment}_{'rst' if reset else 'fin'}", speech, reset)
    for moment, speech in (
        ("before", Speech.NOTHING),
        ("mid", Speech.ALL),
        ("before", Speech.ROLE),
        ("mid", Speech.ALL),
    )
    for reset in (False, True)
)
Delays = dict[str, list[float]]  # by kind: seconds from the client's close to the upstream's sight of it


def beside_plan(streams: int) -> Plan:
    """Streams of half a second at 40 events/s, again and again."""
    return Plan(streams, tokens=20, gap=0.025, spread=0.5, turns=1_000_000, pause=PAUSE)


class Aborts:
    """Aborts of every kind, in mixed order, on one target; the first fault ends them."""

    def __init__(self, load: Load, target: Target, aborts: int, dice: random.Random) -> None:
        self._load, self._loop, self._target, self._dice = load, load.loop, target, dice
        self._name, self._reason = load.name(), ""
        self._client = Client(load.loop, target, self._on_end)
        self._kinds = [*KINDS] * -(-aborts // 2)  # each name stands twice in KINDS
        self._kind, self._exchange, self._left_at = KINDS[0], Exchange("", script(0, 0), 0.0), 0.0
        self._delays: Delays = {name: [] for name, _, _ in KINDS}
        dice.shuffle(self._kinds)

    def play(self, others: int) -> Delays:
        """All of them while `others` streams run. Raises `BrokenStream`."""
        total, beside = len(self._kinds), Streams(self._load, beside_plan(others), self._target, self._loop.stop)
        self._load.upstream.on_lost = self._on_lost

        def start(now: float) -> float:
            beside.start(now)
            self._loop.call_at(now + (SETTLE if others else 0.0), self._next)
            return now + PATIENCE[0] + total * PATIENCE[1]

        self._load.play(start, self._client.close, beside.close)
        done = sum(map(len, self._delays.values()))
        missing = f"only {done} of {total} aborts in time, then {self._kind[0]}" if done < total else ""
        if reason := self._reason or "; ".join(beside.outcome.reasons) or missing:
            raise BrokenStream(reason)
        return self._delays

    def _next(self, now: float) -> None:
        if not self._kinds:
            self._loop.stop()
            return
        self._kind, self._left_at = self._kinds.pop(), 0.0
        key = f"{self._name}.0.{len(self._kinds)}"
        self._exchange = Exchange(key, script(0, TOKENS), GAP, speech=self._kind[1])
        self._load.upstream.expect(self._exchange)
        self._client.ask(self._exchange)
        self._loop.call_at(clock() + self._dice.uniform(*WAIT), self._leave)

    def _leave(self, now: float) -> float | None:
        exchange, (_, speech, reset) = self._exchange, self._kind
        if not exchange.taken_at or (speech is Speech.ALL and len(exchange.receipts) <= FIRST_CONTENT):
            return now + RETRY
        self._left_at = self._client.leave(reset=reset)
        if not self._left_at:
            self._fail("the answer was over before the client left")
        return None

    def _on_lost(self, exchange: Exchange) -> None:
        if exchange is not self._exchange or not self._left_at:
            self._fail("an upstream was closed whose client had not left")
        else:
            self._delays[self._kind[0]].append(exchange.lost_at - self._left_at)
            self._loop.call_at(clock() + PAUSE, self._next)

    def _on_end(self, client: Client, reason: str) -> None:
        self._fail(reason or "the whole answer came")

    def _fail(self, reason: str) -> None:
        self._reason = self._reason or f"{self._kind[0]}: {reason}"
        self._loop.stop()


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    dice, failures = random.Random(given.seed), dict[str, str]()
    delays: dict[str, dict[str, Delays]] = {}
    with contextlib.closing(Load()) as load, contextlib.ExitStack() as stack:

        def turn(server: Server, company: str, aborts: int, others: int = 0) -> None:
            with server.awake():
                found = Aborts(load, server.target, aborts, dice).play(others)
            kept = delays.setdefault(server.name, {}).setdefault(company, {})
            for kind, values in found.items():
                kept.setdefault(kind, []).extend(values)

        entries = start_all(stack, load, [Peer(GATEWAY), Peer(NGINX)], cores[0], failures)
        take_turns("warm-up", entries, partial(turn, company=WARM_UP, aborts=WARM_UP_ABORTS), failures)
        for number in range(1, given.rounds + 1):
            share = given.aborts * number // given.rounds - given.aborts * (number - 1) // given.rounds
            for company, others in ((ALONE, 0), (BESIDE, given.others)):
                step = f"round {number}/{given.rounds}: {company}"
                take_turns(step, entries, partial(turn, company=company, aborts=share, others=others), failures)
            entries = dict(reversed(entries.items()))
    found = {
        name: {
            company: {kind: {"aborts": len(values), **times_ms(values)} for kind, values in kinds.items()}
            for company, kinds in companies.items()
            if company != WARM_UP
        }
        for name, companies in delays.items()
    }
    return {"peers": found, "failures": failures}


BENCH = Bench("abort", __doc__, measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
