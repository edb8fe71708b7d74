"""Wiring: how soon after the last subscriber has closed does the upstream see the close?

    python -m bench.abort [--aborts 300] [--others 100] [--rounds 3] [--json FILE]

Clients leave before the first token and in mid-stream, by FIN and by RST, alone and while other streams run: on the
gateway, on nginx (`proxy_buffering off`) and, as "direct", on the upstream itself. All peers run on one core, the
load on another, and they take turns. Both ends of a close are of this process and its one clock.
"""

import contextlib
import random
import shutil
import sys
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from bench.kit.command import Bench, Given, reporting, take_turns
from bench.kit.ends import Client, Target
from bench.kit.figures import Figures, times_ms
from bench.kit.load import Load, Plan, Streams
from bench.kit.loop import clock
from bench.kit.machine import PROGRAMS
from bench.kit.peers import DIRECT, GATEWAY, NGINX, Peer, Server, started
from bench.kit.script import FIRST_CONTENT, BrokenStream, Exchange, Speech, script

WARM_UP_ABORTS = 10
WAIT = (0.001, 0.004)  # from the request to the close, at random; more than a gap of the tokens
GAP = 0.002  # between the tokens of a stream that is left
TOKENS = 2000  # more than are sent before anybody's patience ends
RETRY = 0.0005  # when the request, or its first token, has not come yet
PAUSE = 0.0005  # between two aborts
PATIENCE = 2.0  # for a request to arrive, for a first token, and for a close to be seen
SETTLE = 0.1  # until all streams beside have begun, beyond their spread
ALONE, BESIDE = "alone", "beside"


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of leaving: `speech` ALL: in mid-stream, else before the first token; by RST or by FIN."""

    speech: Speech
    reset: bool

    @property
    def name(self) -> str:
        return f"{'mid' if self.speech is Speech.ALL else 'before'}_{'rst' if self.reset else 'fin'}"


# Before the first token, every other upstream has sent its head and the role, and every other one nothing at all.
EVERY_KIND = tuple(
    Kind(speech, reset) for speech in (Speech.NOTHING, Speech.ALL, Speech.ROLE, Speech.ALL) for reset in (False, True)
)
KINDS = tuple(dict.fromkeys(kind.name for kind in EVERY_KIND))
Delays = dict[str, list[float]]  # by kind: seconds from the client's close to the upstream's sight of it


def beside_plan(streams: int) -> Plan:
    """Streams of half a second at 40 events/s, again and again."""
    return Plan(streams, tokens=20, gap=0.025, spread=0.5, turns=1_000_000, pause=PAUSE)


class Turn:
    """Aborts of every kind, in mixed order, on one target; the first fault ends them."""

    def __init__(self, load: Load, target: Target) -> None:
        self._load, self._loop, self._upstream, self._target = load, load.loop, load.upstream, target
        self._name, self._reason = load.name(), ""
        self._client = Client(load.loop, target, self._on_end)
        self._kind, self._exchange, self._left_at = EVERY_KIND[0], Exchange("", script(0, 0), 0.0), 0.0
        self._delays: Delays = {kind.name: [] for kind in EVERY_KIND}

    def play(self, aborts: int, others: int, dice: random.Random) -> Delays:
        """`aborts` of each kind while `others` streams run. Raises `BrokenStream`."""
        self._kinds = [*EVERY_KIND] * -(-aborts // 2)  # there are two entries of each name in EVERY_KIND
        dice.shuffle(self._kinds)
        self._dice, total = dice, len(self._kinds)
        beside = self._beside = Streams(self._load, beside_plan(others), self._target, self._loop.stop)
        self._upstream.on_lost = self._on_lost

        def start(now: float) -> float:
            beside.start(now)
            self._loop.call_at(now + (0.5 + SETTLE if others else 0.0), self._next)
            return now + 5 * PATIENCE + total * 0.05

        self._load.play(start, self._client.close, beside.close)
        done = sum(map(len, self._delays.values()))
        missing = f"only {done} of {total} aborts in time" if done < total else ""
        if reason := self._reason or beside.outcome.trouble() or missing:
            raise BrokenStream(reason)
        return self._delays

    def _next(self, now: float) -> None:
        if not self._kinds:
            self._beside.wind_down()
            return
        self._kind, self._left_at = self._kinds.pop(), 0.0
        key = f"{self._name}.0.{len(self._kinds)}"
        exchange = self._exchange = Exchange(key, script(0, TOKENS), GAP, speech=self._kind.speech)
        self._upstream.expect(exchange)
        self._client.ask(exchange)
        self._loop.call_at(clock() + self._dice.uniform(*WAIT), partial(self._leave, exchange))

    def _leave(self, exchange: Exchange, now: float) -> float | None:
        if self._exchange is not exchange or self._reason:
            return None
        if not exchange.taken_at or (self._kind.speech is Speech.ALL and len(exchange.receipts) <= FIRST_CONTENT):
            if now <= exchange.asked_at + PATIENCE:
                return now + RETRY
            self._fail("no first token" if exchange.taken_at else "no request")
        elif left_at := self._client.leave(reset=self._kind.reset):
            self._left_at = left_at
            self._loop.call_at(left_at + PATIENCE, partial(self._overdue, exchange))
        else:
            self._fail("the answer was over before the client left")
        return None

    def _on_lost(self, exchange: Exchange) -> None:
        if exchange is not self._exchange:
            self._fail("the upstream of a stream beside was closed")
        elif not self._left_at:
            self._fail("the upstream was closed before the client left")
        elif not self._reason:
            self._delays[self._kind.name].append(exchange.lost_at - self._left_at)
            self._loop.call_at(clock() + PAUSE, self._next)

    def _overdue(self, exchange: Exchange, now: float) -> None:
        if exchange is self._exchange and not exchange.lost_at:
            self._fail(f"the upstream saw no close within {PATIENCE:g} s")

    def _on_end(self, client: Client, reason: str) -> None:
        self._fail(reason or "the whole answer came")

    def _fail(self, reason: str) -> None:
        self._reason = self._reason or f"{self._kind.name}: {reason}"
        self._loop.stop()


@dataclass(slots=True)
class AbortEntry:
    """A peer, and the delays of all its turns."""

    server: Server
    delays: dict[str, Delays] = field(default_factory=lambda: {ALONE: {}, BESIDE: {}})

    def turn(self, load: Load, company: str, aborts: int, others: int, dice: random.Random) -> None:
        with self.server.awake():
            for kind, values in Turn(load, self.server.target).play(aborts, others, dice).items():
                self.delays.setdefault(company, {}).setdefault(kind, []).extend(values)

    def figures(self) -> dict[str, dict[str, Figures]]:
        return {
            company: {kind: {"aborts": len(values), **times_ms(values)} for kind, values in kinds.items()}
            for company, kinds in self.delays.items()
            if company  # not the warm-up
        }


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    has_nginx, dice = shutil.which(PROGRAMS["nginx"][0]) is not None, random.Random(given.seed)
    failures: dict[str, str] = {}
    with contextlib.closing(Load()) as load, contextlib.ExitStack() as stack:
        entries = {DIRECT: AbortEntry(Server(DIRECT, Target(load.port)))}
        for name in (GATEWAY, *([NGINX] if has_nginx else [])):
            with reporting(failures, name):
                server = stack.enter_context(started(Peer(name), load.port, cores[0]))
                server.freeze()
                entries[name] = AbortEntry(server)
        everyone = dict(entries)
        turn = partial(AbortEntry.turn, load=load, dice=dice)
        take_turns("warm-up", entries, partial(turn, company="", aborts=WARM_UP_ABORTS, others=0), failures)
        for number in range(1, given.rounds + 1):
            share = given.aborts * number // given.rounds - given.aborts * (number - 1) // given.rounds
            for company, others in ((ALONE, 0), (BESIDE, given.others)):
                step = f"round {number}/{given.rounds}: {company}"
                take_turns(step, entries, partial(turn, company=company, aborts=share, others=others), failures)
            entries = dict(reversed(entries.items()))
    found = {name: entry.figures() for name, entry in everyone.items()}
    return {"peers": found, "skipped": [] if has_nginx else [NGINX], "failures": failures}


BENCH = Bench("abort", __doc__, measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
