"""Shell: arrivals at a fixed rate, whatever the answers do, on gateways in front of simulated upstreams.

In: a seat (a gateway and its two upstreams), how many arrivals, how many a second. Out: the time from when each
request was due to its first token, and how many requests the upstreams counted. Invariant: the text of every answer
was compared; an arrival never waits for an answer.
"""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import peers
from bench.frames import FIRST_CONTENT, FRAMING_EVENTS, MODEL, ContentCheck, Exchange
from bench.frames import Script as Expected
from bench.load_client import Client, Target
from bench.loop import Loop, clock, undisturbed
from bench.peers import Peer, Running, Site
from gateway.simulate import Script
from gateway.simulate.dice import settled
from gateway.simulate.words import text_tokens

PATIENCE = 10.0  # for the last answer
USUAL_TEXT, FAST_TEXT = "usual1 usual2 usual3", "fast1 fast2 fast3"
USUAL = {"ttft_ms": 100.0, "ttft_jitter_ms": 10.0, "slow_ttft_ms": 1000.0, "text": USUAL_TEXT, "gap_ms": 1.0}
FAST = {"ttft_ms": 60.0, "ttft_jitter_ms": 5.0, "text": FAST_TEXT, "gap_ms": 1.0}


class TailFailed(Exception):
    """An answer was wrong or missing, or the upstreams counted fewer requests than were answered."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests that the two upstreams have counted."""

    first: int
    second: int

    def __sub__(self, other: Tally) -> Tally:
        return Tally(self.first - other.first, self.second - other.second)


@dataclass(frozen=True, slots=True)
class Seat:
    """A gateway with this `hedge_after`, and its own two upstreams: with the same dice at every seat."""

    hedge_after: str
    gateway: Running
    first: Running
    second: Running
    script: Script  # of the first upstream

    def count(self) -> Tally:
        return Tally(_requests(self.first.port), _requests(self.second.port))

    def slow_between(self, since: Tally, until: Tally) -> float:
        """The share of slow ones that the dice gave the first upstream among these requests."""
        numbers = range(since.first + 1, until.first + 1)
        slow = sum(settled(self.script, number).ttft_ms == self.script.slow_ttft_ms for number in numbers)
        return slow / max(len(numbers), 1)


@contextlib.contextmanager
def seated(hedge_after: str, slow_share: float, seed: int, folder: Path, cores: tuple[int, int]) -> Iterator[Seat]:
    """Start a gateway on the first core and its upstreams on the second. Raises `PeerFailed`."""
    peer_core, load_core = cores
    script = Script.parse(USUAL | {"slow_share": slow_share, "seed": seed})
    with contextlib.ExitStack() as stack:

        def start(peer: Peer, core: int) -> Running:
            return stack.enter_context(peers.started(peer, folder / peer.name, 0, core))

        first = start(_simulated("usual", script), load_core)
        second = start(_simulated("fast", Script.parse(FAST | {"seed": seed + 1})), load_core)
        ports = (first.port, second.port)
        gateway = start(Peer(f"gateway-{hedge_after}", lambda site: _gateway(site, hedge_after, ports)), peer_core)
        yield Seat(hedge_after, gateway, first, second, script)


def _simulated(name: str, script: Script) -> Peer:
    command = [sys.executable, "-m", "gateway", "sim", "--script", json.dumps(asdict(script)), "--port"]
    return Peer(name, lambda site: [*command, str(site.port)])


def _gateway(site: Site, hedge_after: str, ports: tuple[int, int]) -> list[str]:
    upstreams = (("usual", ports[0], 1.0), ("fast", ports[1], 10.0))
    sections = [
        f'[ttft]\nhedge_after = "{hedge_after}"\n[routing]\noptimize = "priority"',
        f'[storage]\npath = "{site.folder / "bench.db"}"',
    ]
    sections += [
        f'[[upstreams]]\nname = "{name}"\nbase_url = "http://127.0.0.1:{port}/v1"\n'
        f'[[upstreams.models]]\nid = "{MODEL}"\ninput_usd_per_mtok = {usd}\noutput_usd_per_mtok = {usd}'
        for name, port, usd in upstreams
    ]
    return peers.gateway_command(site, "\n".join(sections))


def _requests(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=5.0) as answer:
        return int(json.load(answer)["requests"])


def _expected(text: str) -> Expected:
    """The texts of an answer, between the role, the finish and `[DONE]`."""
    texts = tuple(text_tokens(Script(text=text)))
    return Expected((b"",) * (len(texts) + FRAMING_EVENTS), texts, ())


_USUAL, _FAST = _expected(USUAL_TEXT), _expected(FAST_TEXT)


class EitherCheck(ContentCheck):
    """The texts must be those of one upstream, from the first to the last; never of both."""

    __slots__ = ()

    def _take(self, block: bytes) -> None:
        if self.done <= FIRST_CONTENT and _FAST.texts[0].encode() in block:
            self._script = _FAST
        super()._take(block)


class Arrivals:
    """One turn: so many requests, one each `1 / rate` seconds."""

    def __init__(self, loop: Loop, seat: Seat, name: str) -> None:
        self._loop, self._name = loop, name
        self._target = Target(seat.gateway.port, EitherCheck)
        self._clients: list[Client] = []
        self._idle: list[Client] = []
        self._asked: list[tuple[float, Exchange]] = []
        self._completed = 0
        self._reason = ""

    def play(self, count: int, rate: float) -> list[float]:
        """The TTFT of every request, in seconds from when it was due. Raises `TailFailed`."""
        start = clock()
        self._count, self._start, self._gap = count, start, 1 / rate
        self._loop.call_at(start, self._arrive)
        try:
            with undisturbed():
                self._loop.run(start + count / rate + PATIENCE)
        finally:
            self._loop.drop_timers()
            for client in self._clients:
                client.close()
        strays = [client.stray for client in self._clients if client.stray]
        if not self._reason and strays:
            self._reason = f"stray bytes {strays[0]!r}"
        if not self._reason and self._completed < count:
            self._reason = f"{count - self._completed} of {count} answers missing"
        if self._reason:
            raise TailFailed(self._reason)
        return [exchange.receipts[FIRST_CONTENT] - due for due, exchange in self._asked]

    def _arrive(self, now: float) -> float | None:
        number = len(self._asked)
        client = self._idle.pop() if self._idle else self._connected()
        exchange = Exchange(f"{self._name}.{number}", _USUAL, 0.0)
        self._asked.append((self._start + number * self._gap, exchange))
        client.ask(exchange)
        return self._start + (number + 1) * self._gap if number + 1 < self._count else None

    def _connected(self) -> Client:
        client = Client(self._loop, self._target, self._on_end)
        self._clients.append(client)
        return client

    def _on_end(self, client: Client, reason: str) -> None:
        if reason:
            self._reason = reason
            self._loop.stop()
            return
        self._completed += 1
        self._idle.append(client)
        if self._completed == self._count:
            self._loop.stop()
