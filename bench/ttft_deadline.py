"""Shell: requests with a TTFT budget that an upstream never keeps, and how late after it the 504 is there.

In: a target whose requests carry the budget. Out: seconds from the end of the budget, counted from the request's
last byte, to the last byte of the answer. Invariant: every answer is the one 504 that DESIGN.md section 6 has for
it, none comes early, and the upstream has seen each of the requests, and the close of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from bench.frames import BrokenStream, Exchange, Says, script
from bench.load import GOLDEN
from bench.load_client import Client, Target
from bench.load_upstream import Upstream
from bench.loop import Loop, clock, undisturbed

EARLY = 0.001  # the grain of timers: an answer earlier than this cut the budget short
PAUSE = 0.002  # between the answer and the next request of a connection
PATIENCE = 5.0  # for the last answer and the last close
EXPECTED = {"type": "api_error", "code": "ttft_budget_exceeded"}


class DeadlineFailed(Exception):
    """An answer was wrong, early or missing, or an upstream was left running."""


class RefusedClient(Client):
    """Expects a whole JSON error instead of a stream; notes the time of its last byte."""

    __slots__ = ("_answer", "answered_at")

    def __init__(self, loop: Loop, target: Target, on_end: Callable[[Client, str], None]) -> None:
        super().__init__(loop, target, on_end)
        self._answer = b""
        self.answered_at = 0.0

    def ask(self, exchange: Exchange) -> None:
        self._answer = b""
        super().ask(exchange)

    def _take(self, exchange: Exchange, data: bytes, now: float) -> None:
        self._answer += data
        try:
            if not data:
                raise BrokenStream(f"closed after {self._answer[:100]!r}")
            if _is_refusal(self._answer):
                self.answered_at = now
                self._end("")
        except BrokenStream as error:
            self._end(str(error))


def _is_refusal(answer: bytes) -> bool:
    """Whether the answer is complete. Raises `BrokenStream` for any other than the expected one."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    if not head.startswith(b"HTTP/1.1 504 "):
        raise BrokenStream(f"answered {answer[:300]!r}")
    sizes = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    size = int(sizes[0].partition(b":")[2]) if sizes else -1
    if size < 0 or len(body) > size:
        raise BrokenStream(f"the length of the answer is wrong: {answer[:300]!r}")
    if len(body) < size:
        return False
    try:
        error = json.loads(body)["error"]
        right = {name: error[name] for name in EXPECTED} == EXPECTED
    except (ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise BrokenStream(f"not the expected error: {body[:300]!r}")
    return True


class Deadlines:
    """`streams` connections, each with `turns` requests one after another; starts spread over `spread` seconds."""

    def __init__(self, loop: Loop, upstream: Upstream, target: Target, budget: float, name: str) -> None:
        self._loop, self._upstream, self._target, self._budget, self._name = loop, upstream, target, budget, name
        self._exchanges: dict[Client, Exchange] = {}
        self._left: dict[Client, int] = {}
        self._asked = self._answered = self._seen = self._lost = 0
        self._late: list[float] = []
        self._reason = ""

    def play(self, streams: int, turns: int, spread: float) -> list[float]:
        """The lateness of every answer. Raises `DeadlineFailed`."""
        clients = [RefusedClient(self._loop, self._target, self._on_end) for _ in range(streams)]
        self._left = dict.fromkeys(clients, turns)
        self._upstream.on_lost = self._on_lost
        start, total = clock(), streams * turns
        for number, client in enumerate(clients):
            self._loop.call_at(start + (number * GOLDEN) % 1.0 * spread, partial(self._ask, client))
        try:
            with undisturbed():
                self._loop.run(start + spread + turns * (self._budget + PAUSE) + PATIENCE)
        finally:
            self._loop.drop_timers()
            self._upstream.on_lost = lambda exchange: None
            for client in clients:
                client.close()
            self._upstream.reset()
        if not self._reason and (self._answered, self._seen, self._lost) != (total, total, total):
            counts = f"{self._answered} answered, {self._seen} seen by the upstream, {self._lost} closed there"
            self._reason = f"of {total} requests {counts}"
        if self._reason:
            raise DeadlineFailed(self._reason)
        return self._late

    def _ask(self, client: Client, now: float) -> None:
        self._asked += 1
        self._left[client] -= 1
        # Every other upstream says nothing at all, every other one its head and the role.
        says = Says.ROLE if self._asked % 2 else Says.NOTHING
        exchange = Exchange(f"{self._name}.{self._asked}", script(0, 1), 0.0, says=says)
        self._exchanges[client] = exchange
        self._upstream.expect(exchange)
        client.ask(exchange)

    def _on_end(self, client: Client, reason: str) -> None:
        exchange = self._exchanges[client]
        if reason or not isinstance(client, RefusedClient):
            self._fail(reason)
            return
        late = client.answered_at - exchange.asked_at - self._budget
        if late < -EARLY:
            self._fail(f"answered {-late * 1e3:.1f} ms before the end of the budget")
            return
        self._late.append(late)
        self._answered += 1
        self._seen += bool(exchange.taken_at)
        if self._left[client]:
            self._loop.call_at(clock() + PAUSE, partial(self._ask, client))
        self._stop_if_over()

    def _on_lost(self, exchange: Exchange) -> None:
        self._lost += 1
        self._stop_if_over()

    def _stop_if_over(self) -> None:
        if self._lost == self._answered == self._asked and not any(self._left.values()):
            self._loop.stop()

    def _fail(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._loop.stop()
