"""Shell: what relaying costs with more streams, larger events, and a higher rate.

In: a window. Out: points. Invariant: a point counts only if every stream through it was whole, byte for byte.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine, peers
from bench.command import say
from bench.frames import script
from bench.growth_fit import MEMORY, Point, above_lowest
from bench.load import Load, Plan, Sample
from bench.load_client import Target
from bench.peers import Running
from bench.relay_rounds import MARGIN, SETTLE, WARM_UP, StreamsBroken

STREAMS = (1, 10, 100, 500, 1000, 1500, 2000)
STREAMS_RATE = 5.0  # events/s of each
RATES = (2, 10, 20, 50, 100, 200)  # events/s of each of
RATE_STREAMS = 50
EVENT_BYTES = (100, 400, 1600, 6400, 25_600, 65_536)  # of text; about 170 more make the event
SIZED_STREAMS, SIZED_RATE = 10, 20.0
LEARNING_EVENTS = 4  # the first of a stream cost more: its shape is learned
MIN_KEPT_EVENTS = 200  # in a window with fewer, one more or less is no sign of a rate that was not kept
SPREAD = 0.5  # starts, for every thousand streams


@dataclass(slots=True)
class Probe:
    """Looks at the memory, too, each time that the load looks at the CPU."""

    running: Running
    private_kib: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        self.private_kib.append(machine.memory_kib(self.running.pid)["private"])
        return self.running.cpu()

    @property
    def in_window(self) -> float:
        """The second look: the window has begun, all streams are running."""
        return self.private_kib[1]


@dataclass(frozen=True, slots=True)
class Shape:
    streams: int
    rate: float
    text_bytes: int = 0

    def plan(self, seconds: float) -> Plan:
        spread = SPREAD * (1 + self.streams / 1000)
        begin = spread + max(SETTLE, LEARNING_EVENTS / self.rate)
        return Plan(
            streams=self.streams,
            tokens=round((begin + seconds + MARGIN) * self.rate) + 1,
            gap=1 / self.rate,
            spread=spread,
            window=(begin, begin + seconds),
            text_bytes=self.text_bytes,
        )


class StreamedCompletion:
    """One gateway and its load."""

    def __init__(self, load: Load, running: Running, seconds: float) -> None:
        self._load, self._running, self._seconds = load, running, seconds
        self._target = Target(running.port)
        self.idle_kib = 0.0

    def warm_up(self) -> None:
        self._load.run(WARM_UP, self._target)
        self.idle_kib = machine.memory_kib(self._running.pid)["private"]

    def look(self, shape: Shape) -> tuple[Sample, float]:
        """The window's counters, and the private KiB in it. Raises `StreamsBroken`."""
        probe = Probe(self._running)
        outcome = self._load.run(shape.plan(self._seconds), self._target, probe)
        script.cache_clear()
        if outcome.failed or outcome.unfinished or outcome.reasons or outcome.window is None:
            trouble = f"{outcome.failed + outcome.unfinished} of {shape.streams} streams not whole"
            raise StreamsBroken(f"{trouble}; {'; '.join(outcome.reasons)}")
        return outcome.window, probe.in_window

    def point(self, x: float, shape: Shape, cost: Callable[[Sample], float], *, memory: bool = False) -> Point:
        """Raises `StreamsBroken`."""
        window, private_kib = self.look(shape)
        costs = {"cpu": cost(window)} | ({MEMORY: private_kib} if memory else {})
        kept = window.events / window.at / (shape.streams * shape.rate)
        kept = kept if window.events >= MIN_KEPT_EVENTS else 1.0
        return Point(x, costs, window.peer_cpu / window.at, window.own_cpu / window.at, kept)


@contextmanager
def relaying(core: int, seconds: float) -> Iterator[StreamedCompletion]:
    """A new gateway on `core`. Raises `PeerFailed`."""
    load = Load()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bench-growth-") as folder,
            peers.started(peers.gateway(), Path(folder) / "gateway", load.port, core) as running,
        ):
            relay = StreamedCompletion(load, running, seconds)
            relay.warm_up()
            yield relay
    finally:
        load.close()


def _millicores(window: Sample) -> float:
    return window.peer_cpu / window.at * 1e3


def _each_us(window: Sample) -> float:
    return window.peer_cpu / max(window.events, 1) * 1e6


def with_streams(core: int, seconds: float) -> list[Point]:
    """A new gateway for each point: ended streams stay in memory for `stream.retain_seconds`, and would add up."""
    points, idle_kib = [], math.inf
    for count in STREAMS:
        say(f"streams: {count}")
        with relaying(core, seconds) as relay:
            points.append(relay.point(count, Shape(count, STREAMS_RATE), _millicores, memory=True))
            idle_kib = min(idle_kib, relay.idle_kib)
    return above_lowest(points, MEMORY, idle_kib)


def with_rate(core: int, seconds: float) -> list[Point]:
    with relaying(core, seconds) as relay:
        points = []
        for rate in RATES:
            say(f"rate: {RATE_STREAMS} streams at {rate} events/s")
            points.append(relay.point(RATE_STREAMS * rate, Shape(RATE_STREAMS, rate), _millicores))
        return points


def with_event_bytes(core: int, seconds: float) -> list[Point]:
    with relaying(core, seconds) as relay:
        points = []
        for size in EVENT_BYTES:
            say(f"event size: {size} bytes of text")
            points.append(relay.point(size, Shape(SIZED_STREAMS, SIZED_RATE, size), _each_us))
        return points
