"""Wiring: how does the cost of the gateway grow, and with what?

    python -m bench.growth [--seconds 1] [--rounds 2] [--only streams,log]

CPU and memory against streams, subscribers, the size of an event, the rate of events, and the length of the log that
a late joiner gets: medians over rounds in which the curves take turns. The exponent of each cost is fitted over the
upper half of its curve: beyond 1.15 it is "worse than linear", a defect. A C loop of send() shows what of the growth
with subscribers is the kernel's. A point counts only if every stream through it was whole, byte for byte.
"""

from __future__ import annotations

import contextlib
import math
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.growth_fit import MEMORY, Point, above_lowest, fits, merged
from bench.kit import peers
from bench.kit.channel import JOIN_SECONDS, TIMEOUT, WARM_UP_EVENTS, Channel, Tally, channel, most_subscribers
from bench.kit.check import Broken, Published, SubscriberCheck
from bench.kit.client import Target
from bench.kit.command import Bench, Given, reporting, say
from bench.kit.load import Load, Sample
from bench.kit.loop import clock
from bench.kit.peers import GATEWAY, C
from bench.kit.processes import Running, started
from bench.kit.script import Script, script
from bench.relay import SETTLE, cpu_plan

BUDGET_SECONDS = 200.0  # no curve begins later; each takes below 40 s
STREAMS = (1, 10, 100, 500, 1000, 1500, 2000)
STREAMS_RATE = 5.0  # events/s of each
RATES = (2, 10, 20, 50, 100, 200)  # events/s of each stream
RATE_STREAMS = 50
EVENT_BYTES = (100, 400, 1600, 6400, 25_600, 65_536)  # of text; about 170 more make the event
SIZED_STREAMS, SIZED_RATE = 10, 20.0
LEARNING_EVENTS = 4  # the first of a stream cost more: its shape is learned
MIN_KEPT_EVENTS = 200  # in a window with fewer, one more or less is no sign of a rate that was not kept
SPREAD = 0.5  # starts, for every thousand streams
SUBSCRIBERS = (1, 10, 100, 1000, 2500, 5000, 10_000)
MAX_EVENTS = 40_000
LOG_BYTES = (1 << 18, 1 << 20, 1 << 22, 1 << 23, (1 << 24) - (1 << 18))  # the last within stream.max_log_bytes
TEXT_BYTES, BATCH, LATE_JOINS = 4096, 16, 3
FRAMING_BYTES, HEAD_BYTES = 100, 1 << 14  # around each event (id line, chunk), at most; of a response head
AT_REST_SECONDS = 0.02  # the kernel books the CPU of a process when that comes to rest


CORE, ALL, KIB = "thousandths of a core", "µs per event to everybody", "KiB"
CAUSES = {  # what a curve is over, and its costs with their units
    "streams": (f"concurrent streams, {STREAMS_RATE:g} events/s each", {"cpu": CORE, MEMORY: KIB}),
    "subscribers": ("subscribers of one stream", {"cpu": ALL, MEMORY: KIB}),
    "subscribers_c": ("subscribers of a C loop of send(), for comparison", {"cpu": ALL, MEMORY: KIB}),
    "event_bytes": (
        f"bytes of text in an event, {SIZED_STREAMS} streams, {SIZED_RATE:g} events/s each",
        {"cpu": "µs per event"},
    ),
    "rate": (f"events/s, {RATE_STREAMS} streams", {"cpu": CORE}),
    "log": ("bytes in the log, one late joiner", {"cpu": "ms until whole", "time": "ms until whole"}),
}


class Relay:
    """One gateway and its load."""

    def __init__(self, load: Load, running: Running, seconds: float) -> None:
        self._load, self._running, self._seconds, self._target = load, running, seconds, Target(running.port)
        load.run(peers.WARM_UP, self._target)
        self.idle_kib = self._private_kib()

    def point(
        self, x: float, cost: Callable[[Sample], float], streams: int, rate: float, text_bytes: int = 0
    ) -> Point:
        """The costs while so many streams run at this rate. Raises `Broken`."""
        spread = SPREAD * (1 + streams / 1000)
        plan = cpu_plan(streams, rate, self._seconds, spread, max(SETTLE, LEARNING_EVENTS / rate), text_bytes)
        kib: list[float] = []

        def probe() -> float:
            """Looks at the memory too; at the second look the window begins, and all streams are running."""
            kib.append(self._private_kib())
            return self._running.cpu()

        window = self._load.run(plan, self._target, probe).window
        script.cache_clear()
        kept = window.events / window.at / (streams * rate) if window.events >= MIN_KEPT_EVENTS else 1.0
        costs = {"cpu": cost(window), MEMORY: kib[1]}
        return Point(x, costs, window.peer_cpu / window.at, window.own_cpu / window.at, kept)

    def _private_kib(self) -> float:
        return self._running.memory_kib()["private"]


@contextlib.contextmanager
def relaying(core: int, seconds: float) -> Iterator[Relay]:
    """A new gateway on `core`. Raises `PeerFailed`."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-growth-") as folder,
        contextlib.closing(Load()) as load,
        started(peers.gateway(), Path(folder), load.port, core) as running,
    ):
        yield Relay(load, running, seconds)


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
            points.append(relay.point(count, _millicores, count, STREAMS_RATE))
            idle_kib = min(idle_kib, relay.idle_kib)
    return above_lowest(points, idle_kib)


def with_rate(core: int, seconds: float) -> list[Point]:
    with relaying(core, seconds) as relay:
        say(f"rate: {RATE_STREAMS} streams at {RATES} events/s")
        points = [relay.point(RATE_STREAMS * rate, _millicores, RATE_STREAMS, rate) for rate in RATES]
        return [point.without(MEMORY) for point in points]


def with_event_bytes(core: int, seconds: float) -> list[Point]:
    with relaying(core, seconds) as relay:
        say(f"event size: {EVENT_BYTES} bytes of text")
        points = [relay.point(size, _each_us, SIZED_STREAMS, SIZED_RATE, size) for size in EVENT_BYTES]
        return [point.without(MEMORY) for point in points]


def with_subscribers(name: str, core: int, seconds: float) -> list[Point]:
    """CPU us for each event to everybody, KiB of all. Subscribers come, and stay."""
    with channel(name, script(0, MAX_EVENTS), core) as found:
        subscribers = found.subscribers
        subscribers.join(1, JOIN_SECONDS)
        found.warm_up()
        subscribers.from_now()  # nothing is published while they join; the C loop has no past anyway
        empty = found.running.memory_kib()["private"]
        points = []
        for size in sorted({min(size, most_subscribers()) for size in SUBSCRIBERS}):
            say(f"subscribers of {name}: {size}")
            subscribers.join(size - len(subscribers), JOIN_SECONDS, subscribers.published)
            subscribers.settle(0.5)
            kib, tally = found.running.memory_kib()["private"], Tally()
            events = found.passes(tally, seconds, most=MAX_EVENTS // len(SUBSCRIBERS) - WARM_UP_EVENTS)
            points.append(_point(size, {"cpu": tally.peer_cpu / events * 1e6, MEMORY: kib}, tally))
        return above_lowest(points, empty)


def _point(x: float, costs: dict[str, float], tally: Tally) -> Point:
    return Point(x, costs, tally.peer_cpu / tally.seconds, tally.own_cpu / tally.seconds)


class Late:
    """A late subscriber that reads as fast as the kernel lets it. Every byte is compared when the clock has stopped:
    at full speed the comparison would be the slower side."""

    def __init__(self, events: tuple[bytes, ...]) -> None:
        self._events, size = events, sum(map(len, events)) + len(events) * FRAMING_BYTES + HEAD_BYTES
        self._buffer = bytearray(b"x") * size  # written to once, so that no page is new when the clock runs
        self._size = 0

    def read(self, port: int, path: str) -> None:
        """Join, and return when the last event is there. Raises `Broken`, `OSError`."""
        last, into = self._events[-1] + b"\r\n", memoryview(self._buffer)
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as sock:
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            while not self._buffer.endswith(last, 0, self._size):
                count = sock.recv_into(into[self._size :])
                if not count:
                    raise Broken(f"ended, or went on, after {self._size} bytes")
                self._size += count

    def check(self) -> None:
        """Raises `Broken`."""
        check = SubscriberCheck(Published(self._events, len(self._events)))
        found = check.advance(check.start(), bytes(self._buffer[: self._size]))
        if (found.events, found.held, found.rest) != (len(self._events), b"", b""):
            raise Broken(f"a late joiner has {found.events} of {len(self._events)} events")


def with_log(core: int) -> list[Point]:
    """CPU and time until a late joiner has it all, ms."""
    prepared = script(0, LOG_BYTES[-1] // (TEXT_BYTES + 200), TEXT_BYTES)
    with channel(GATEWAY, prepared, core) as found:
        found.subscribers.join(1, JOIN_SECONDS)  # who stays: a stream that nobody reads would end
        points = []
        for size in LOG_BYTES:
            say(f"log: a late joiner of {size / (1 << 20):.3g} MiB")
            points.append(_late(found, prepared, _fill(found, prepared, size)))
        return points


def _fill(found: Channel, prepared: Script, size: int) -> int:
    """Publish until the log has this size; its bytes."""
    subscribers = found.subscribers
    held = sum(map(len, prepared.events[: subscribers.published]))
    while held < size and subscribers.published + BATCH <= len(prepared.events):
        found.publish(BATCH)
        held += sum(map(len, prepared.events[subscribers.published - BATCH : subscribers.published]))
        subscribers.wait_all(JOIN_SECONDS)
    subscribers.settle(0.5)
    return held


def _late(found: Channel, prepared: Script, held: int) -> Point:
    """The median of some joins, one after another."""
    joins = []
    for _ in range(LATE_JOINS):
        late = Late(prepared.events[: found.subscribers.published])
        begun, cpu, own = clock(), found.running.cpu(), time.process_time()
        late.read(found.running.port, found.publisher.path)
        seconds, load = clock() - begun, time.process_time() - own
        time.sleep(AT_REST_SECONDS)
        joins.append((seconds, found.running.cpu() - cpu, load))
        late.check()
        found.subscribers.settle(AT_REST_SECONDS)
    seconds, used, load = (statistics.median(values) for values in zip(*joins, strict=True))
    return Point(held, {"cpu": used * 1e3, "time": seconds * 1e3}, used / seconds, load / seconds)


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    """Curve by curve in each round, as long as there is time; who fails is not asked again."""
    core, seconds, begun = cores[0], given.seconds, clock()
    curves: dict[str, Callable[[], list[Point]]] = {
        "streams": lambda: with_streams(core, seconds),
        "subscribers": lambda: with_subscribers(GATEWAY, core, seconds),
        "subscribers_c": lambda: with_subscribers(C, core, seconds),
        "event_bytes": lambda: with_event_bytes(core, seconds),
        "rate": lambda: with_rate(core, seconds),
        "log": lambda: with_log(core),
    }
    wanted = [name for name in curves if not given.only or name in given.only]
    rounds: dict[str, list[list[Point]]] = {name: [] for name in wanted}
    failures: dict[str, str] = {}
    for number in range(1, given.rounds + 1):
        for name in [name for name in wanted if name not in failures]:
            if clock() - begun > BUDGET_SECONDS:
                say(f"no time for {name} in round {number}/{given.rounds}")
                continue
            say(f"round {number}/{given.rounds}: {name}")
            with reporting(failures, name):
                rounds[name].append(curves[name]())
    failures |= {name: "no time for it" for name, points in rounds.items() if not points and name not in failures}
    found = {name: _curve(name, merged(points)) for name, points in rounds.items() if name not in failures}
    return {"curves": found, "failures": failures}


def _curve(name: str, points: Sequence[Point]) -> dict[str, object]:
    in_json = {f"{point.x:,.0f}": point.as_json() for point in points}
    return {"cause": CAUSES[name][0], "units": CAUSES[name][1], "points": in_json, "fits": fits(points)}


BENCH = Bench("growth", __doc__, measure)
main = BENCH.main

if __name__ == "__main__":
    sys.exit(main())
