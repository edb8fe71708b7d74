"""Shell: clients that leave in the middle of an answer, one after another, and the upstream that sees it.

In: a target, the kinds of leaving, how many other streams run meanwhile. Out: per kind the seconds from the
client's close to the upstream's sight of it. Invariant: both ends are of this process and its one clock, and what
arrived before a close was compared; the first fault, or a close that nobody sees, ends the turn with a reason.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bench.frames import FIRST_CONTENT, Exchange, Says, script
from bench.load import GOLDEN
from bench.load_client import Client, Target
from bench.load_upstream import Upstream
from bench.loop import Loop, clock, undisturbed

WAIT = (0.001, 0.004)  # from the request to the close, at random; more than a gap of the tokens
GAP = 0.002  # between the tokens of a stream that is left
TOKENS = 2000  # of it: more than are sent before anybody's patience ends
RETRY = 0.0005  # when the request, or its first token, has not come yet
PAUSE = 0.0005  # between two aborts
PATIENCE = 2.0  # for a request to arrive, for a first token, and for a close to be seen
OTHERS_GAP = 0.025  # 40 events/s of each stream beside
OTHERS_TOKENS = 20  # half a second; then its connection asks again
SETTLE = 0.1  # until all others have begun, beyond half a second


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of leaving."""

    says: Says  # ALL: in mid-stream, else before the first token
    reset: bool  # RST, else FIN

    @property
    def when(self) -> str:
        return "mid" if self.says is Says.ALL else "before"

    @property
    def name(self) -> str:
        return f"{self.when}_{'rst' if self.reset else 'fin'}"


# Before the first token, every other upstream has sent its head and the role, and every other one nothing at all.
EVERY_KIND = tuple(
    Kind(says, reset) for says in (Says.NOTHING, Says.ALL, Says.ROLE, Says.ALL) for reset in (False, True)
)
Delays = dict[str, list[float]]


class AbortFailed(Exception):
    """An answer was wrong, or a close was not seen, or seen before it happened."""


class Others:
    """Streams that run beside; each connection asks again until `wind_down`."""

    def __init__(self, loop: Loop, upstream: Upstream, target: Target, count: int, name: str) -> None:
        self._loop, self._upstream, self._name = loop, upstream, name
        self._clients = {Client(loop, target, self._on_end): slot for slot in range(count)}
        self._asked = 0
        self._winding_down = False
        self.running = 0
        self.completed = 0
        self.reasons: list[str] = []
        self.on_over: Callable[[], None] = lambda: None

    def start(self, now: float) -> None:
        for client, slot in self._clients.items():
            self._loop.call_at(now + (slot * GOLDEN) % 1.0 * OTHERS_TOKENS * OTHERS_GAP, partial(self._ask, client))

    def wind_down(self) -> None:
        """Ask no more; `on_over` is called after the last end, or at once."""
        self._winding_down = True
        if not self.running:
            self.on_over()

    def close(self) -> None:
        for client in self._clients:
            client.close()
            if client.stray:
                self.reasons.append(f"stray bytes {client.stray!r}")

    def _ask(self, client: Client, now: float) -> None:
        if self._winding_down:
            return
        self._asked += 1
        self.running += 1
        key = f"{self._name}.{self._asked}"
        exchange = Exchange(key, script(self._clients[client], OTHERS_TOKENS), OTHERS_GAP)
        self._upstream.expect(exchange)
        client.ask(exchange)

    def _on_end(self, client: Client, reason: str) -> None:
        self.running -= 1
        if reason:
            self.reasons.append(f"a stream beside: {reason}")
        else:
            self.completed += 1
        if self._winding_down or self.reasons:
            if not self.running or self.reasons:
                self.on_over()
        else:
            self._loop.call_at(clock() + PAUSE, partial(self._ask, client))


class Turn:
    """So many aborts of every kind, in mixed order, on one target."""

    def __init__(self, loop: Loop, upstream: Upstream, target: Target, name: str) -> None:
        self._loop, self._upstream, self._target, self._name = loop, upstream, target, name
        self._client = Client(loop, target, self._on_end)
        self._kinds: list[Kind] = []
        self._kind = EVERY_KIND[0]
        self._exchange: Exchange | None = None
        self._left_at = 0.0
        self._done = 0
        self._delays: Delays = {kind.name: [] for kind in EVERY_KIND}
        self._reason = ""

    def play(self, aborts: int, others: int, dice: random.Random) -> Delays:
        """`aborts` of each kind. Raises `AbortFailed`."""
        half = -(-aborts // 2)  # there are two entries of each name in EVERY_KIND
        self._kinds = [*EVERY_KIND] * half
        dice.shuffle(self._kinds)
        self._dice, total = dice, len(self._kinds)
        beside = self._others = Others(self._loop, self._upstream, self._target, others, f"{self._name}.1")
        beside.on_over = self._loop.stop
        self._upstream.on_lost = self._on_lost
        start = clock()
        beside.start(start)
        self._loop.call_at(start + (OTHERS_TOKENS * OTHERS_GAP + SETTLE if others else 0.0), self._next)
        try:
            with undisturbed():
                self._loop.run(start + 5 * PATIENCE + total * 0.05)
        finally:
            self._clear()
        reasons = [self._reason] if self._reason else beside.reasons
        if not reasons and self._done < total:
            reasons = [f"only {self._done} of {total} aborts in time"]
        if not reasons and (beside.running or (others and not beside.completed)):
            reasons = [f"{beside.running} streams beside did not end"]
        if reasons:
            raise AbortFailed("; ".join(reasons[:3]))
        return self._delays

    def _clear(self) -> None:
        self._loop.drop_timers()
        self._upstream.on_lost = lambda exchange: None
        self._client.close()
        self._others.close()
        self._upstream.reset()

    def _next(self, now: float) -> None:
        if not self._kinds:
            self._exchange = None
            self._others.wind_down()
            return
        self._kind = self._kinds.pop()
        number, self._left_at = len(self._kinds), 0.0
        exchange = Exchange(f"{self._name}.0.{number}", script(0, TOKENS), GAP, says=self._kind.says)
        self._exchange = exchange
        self._upstream.expect(exchange)
        self._client.ask(exchange)
        self._loop.call_at(clock() + self._dice.uniform(*WAIT), partial(self._leave, exchange))

    def _leave(self, exchange: Exchange, now: float) -> float | None:
        if self._exchange is not exchange or self._reason:
            return None
        if not exchange.taken_at or (self._kind.says is Says.ALL and len(exchange.receipts) <= FIRST_CONTENT):
            if now > exchange.asked_at + PATIENCE:
                self._fail(f"{self._kind.name}: " + ("no first token" if exchange.taken_at else "no request"))
                return None
            return now + RETRY
        left_at = self._client.leave(reset=self._kind.reset)
        if not left_at:
            self._fail(f"{self._kind.name}: the answer was over before the client left")
            return None
        self._left_at = left_at
        self._loop.call_at(left_at + PATIENCE, partial(self._overdue, exchange))
        return None

    def _on_lost(self, exchange: Exchange) -> None:
        if exchange is not self._exchange:
            self._fail("the upstream of a stream beside was closed")
        elif not self._left_at:
            self._fail(f"{self._kind.name}: the upstream was closed before the client left")
        elif not self._reason:
            self._delays[self._kind.name].append(exchange.lost_at - self._left_at)
            self._done += 1
            self._exchange = None
            self._loop.call_at(clock() + PAUSE, self._next)

    def _overdue(self, exchange: Exchange, now: float) -> None:
        if exchange is self._exchange:
            self._fail(f"{self._kind.name}: the upstream saw no close within {PATIENCE:g} s")

    def _on_end(self, client: Client, reason: str) -> None:
        self._fail(f"{self._kind.name}: {reason or 'the whole answer came'}")

    def _fail(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._loop.stop()
