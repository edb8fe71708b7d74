"""Wiring: how does the cost of the gateway grow, and with what?

    python -m bench.growth [--seconds 1] [--rounds 2] [--only streams,log]

CPU and memory against streams, subscribers, the size of an event, the rate of events, and the length of the log that
a late joiner gets: medians over rounds in which the curves take turns. The exponent of each cost is fitted over the
upper half of its curve: beyond 1.15 it is "worse than linear", a defect. A C loop of send() shows what of the growth
with subscribers is the kernel's. A point counts only if every stream through it was whole, byte for byte.
"""

import contextlib
import math
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bench.kit.channel import JOIN_SECONDS, TIMEOUT, WARM_UP_EVENTS, Channel, channel, most_subscribers
from bench.kit.command import Bench, Given, reporting, say
from bench.kit.figures import Figures
from bench.kit.load import Load
from bench.kit.loop import clock
from bench.kit.peers import GATEWAY, WARM_UP, C, Peer, Server, started
from bench.kit.script import BrokenStream, Script, SubscriberCheck, script
from bench.relay import SETTLE, cpu_plan

BUDGET_SECONDS = 200.0  # no curve begins later; each takes below 40 s
Shape = tuple[float, int, float, int]  # the cause, streams, events/s of each, bytes of text in an event
STREAMS: list[Shape] = [(streams, streams, 5.0, 0) for streams in (1, 10, 100, 500, 1000, 1500, 2000)]
RATES: list[Shape] = [(50 * rate, 50, rate, 0) for rate in (2, 10, 20, 50, 100, 200)]
EVENT_BYTES: list[Shape] = [(size, 10, 20.0, size) for size in (100, 400, 1600, 6400, 25_600, 65_536)]
LEARNING_EVENTS = 4  # the first of a stream cost more: its shape is learned
MIN_KEPT_EVENTS = 200  # in a window with fewer, one more or less is no sign of a rate that was not kept
SPREAD = 0.5  # starts, for every thousand streams
SUBSCRIBERS = (1, 10, 100, 1000, 2500, 5000, 10_000)
MAX_EVENTS = 40_000
LOG_BYTES = (1 << 18, 1 << 20, 1 << 22, 1 << 23, (1 << 24) - (1 << 18))  # the last within stream.max_log_bytes
TEXT_BYTES, BATCH, LATE_JOINS = 4096, 16, 3
FRAMING_BYTES, HEAD_BYTES = 100, 1 << 14  # around each event (id line, chunk), at most; of a response head
AT_REST_SECONDS = 0.02  # the kernel books the CPU of a process when that comes to rest
COSTS = ("cpu", "memory", "time")
MIN_POINTS = 3
FULL_CORE = 0.95  # of a core: whoever needs as much would need more
RATE_KEPT = 0.95  # of what was asked


def strained(point: Figures) -> str:
    """Who was at its end, "" if nobody."""
    if point["load_core"] > FULL_CORE:
        return "the load"
    if "rate_kept" in point and (point["peer_core"] > FULL_CORE or point["rate_kept"] < RATE_KEPT):
        return "the gateway"
    return ""


def merged(rounds: Sequence[Sequence[Figures]]) -> list[Figures]:
    """Point by point the median over the rounds."""
    return [
        {name: statistics.median(point[name] for point in points) for name in points[0]}
        for points in zip(*rounds, strict=True)
    ]


def above_lowest(points: Sequence[Figures], lowest_kib: float) -> list[Figures]:
    """The points with their memory counted from the lowest that was seen, which may be below `lowest_kib`."""
    floor = min(lowest_kib, *(point["memory"] for point in points))
    return [point | {"memory": point["memory"] - floor} for point in points]


def slope(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Least squares over the logarithms; None for fewer than two different causes."""
    logs = [(math.log(x), math.log(y)) for x, y in pairs if x > 0 and y > 0]
    xs, ys = [x for x, _ in logs], [y for _, y in logs]
    return statistics.linear_regression(xs, ys).slope if len(set(xs)) > 1 else None


def upper_half(points: Sequence[Figures]) -> list[Figures]:
    """At least `MIN_POINTS`, without the strained ones."""
    fit = sorted((point for point in points if not strained(point)), key=lambda point: point["x"])
    return fit[min(len(fit) // 2, max(len(fit) - MIN_POINTS, 0)) :]


def fits(points: Sequence[Figures]) -> dict[str, dict[str, float | None]]:
    """The slope of every cost, and from where on it was taken."""
    upper = upper_half(points)
    ends = {"from": upper[0]["x"], "to": upper[-1]["x"]} if upper else {}
    costs = [cost for cost in COSTS if upper and cost in upper[0]]
    return {cost: {"slope": slope(_pairs(cost, upper)), **ends} for cost in costs}


def _pairs(cost: str, upper: Sequence[Figures]) -> list[tuple[float, float]]:
    """Memory as what it grows by from the first of these points on: a process has some megabytes free from its start,
    and as long as these last the kernel sees no growth, which would make what follows look steeper than it is.
    """
    pairs = [(point["x"], point[cost]) for point in upper]
    if cost != "memory":
        return pairs
    (first, least), *more = pairs
    return [(x - first, kib - least) for x, kib in more]


def private_kib(server: Server) -> float:
    return server.memory_kib()["private"]


def relayed(core: int, seconds: float, shapes: Sequence[Shape]) -> tuple[list[Figures], float]:
    """A point for each shape, `cpu` in thousandths of a core, by one gateway; and its memory before all of them."""
    with contextlib.closing(Load()) as load, started(Peer(GATEWAY), load.port, core) as server:
        load.run(WARM_UP, server.target)
        idle_kib = private_kib(server)
        return [_relayed(load, server, seconds, *shape) for shape in shapes], idle_kib


def _relayed(
    load: Load, server: Server, seconds: float, x: float, streams: int, rate: float, text_bytes: int
) -> Figures:
    say(f"{streams} streams, {rate:g} events/s each, {text_bytes or 'few'} bytes of text")
    spread, settle = SPREAD * (1 + streams / 1000), max(SETTLE, LEARNING_EVENTS / rate)
    kib: list[float] = []

    def probe() -> float:
        """Looks at the memory too; at the second look the window begins, and all streams are running."""
        kib.append(private_kib(server))
        return server.cpu()

    plan = cpu_plan(streams, rate, seconds, spread, settle, text_bytes)
    window = load.run(replace(plan, tokens=plan.tokens + 1), server.target, probe).window
    script.cache_clear()
    kept = window.events / window.seconds / (streams * rate) if window.events >= MIN_KEPT_EVENTS else 1.0
    costs = {"cpu": window.cores()["peer_core"] * 1e3, "event_us": window.each_us, "memory": kib[1]}
    return {"x": x, **costs, **window.cores(), "rate_kept": kept}


def with_streams(core: int, seconds: float) -> list[Figures]:
    """A new gateway for each point: ended streams stay in memory for `stream.retain_seconds`, and would add up."""
    found = [relayed(core, seconds, [shape]) for shape in STREAMS]
    return above_lowest([point for points, _ in found for point in points], min(idle_kib for _, idle_kib in found))


def without_memory(points: Sequence[Figures], cpu: str) -> list[Figures]:
    """The points with this figure as their CPU."""
    return [
        {name: value for name, value in {**point, "cpu": point[cpu]}.items() if name != "memory"} for point in points
    ]


def with_subscribers(name: str, core: int, seconds: float) -> list[Figures]:
    """CPU us for each event to everybody, KiB of all. Subscribers come, and stay."""
    with channel(name, script(0, MAX_EVENTS), core) as found:
        subscribers = found.subscribers
        subscribers.join(1, JOIN_SECONDS)
        found.warm_up()
        subscribers.from_now()  # nothing is published while they join; the C loop has no past anyway
        empty, points = private_kib(found.server), []
        for size in sorted({min(size, most_subscribers()) for size in SUBSCRIBERS}):
            say(f"subscribers of {name}: {size}")
            subscribers.join(size - len(subscribers.sockets), JOIN_SECONDS, subscribers.published)
            subscribers.settle(0.5)
            kib = private_kib(found.server)
            spent, events = found.passes(seconds, most=MAX_EVENTS // len(SUBSCRIBERS) - WARM_UP_EVENTS)
            points.append({"x": size, "cpu": spent.peer_cpu / events * 1e6, "memory": kib, **spent.cores()})
        return above_lowest(points, empty)


def with_log(core: int) -> list[Figures]:
    """CPU and time until a late joiner has it all, ms."""
    prepared = script(0, LOG_BYTES[-1] // (TEXT_BYTES + 200), TEXT_BYTES)
    with channel(GATEWAY, prepared, core) as found:
        found.subscribers.join(1, JOIN_SECONDS)  # who stays: a stream without subscribers would end
        return [_late(found, prepared, size) for size in LOG_BYTES]


def _late(found: Channel, prepared: Script, size: int) -> Figures:
    """Publish until the log has this size; then the median of some joins, one after another."""
    subscribers, joins = found.subscribers, []
    held = sum(map(len, prepared.events[: subscribers.published]))
    while held < size and subscribers.published + BATCH <= len(prepared.events):
        found.publish(BATCH)
        held += sum(map(len, prepared.events[subscribers.published - BATCH : subscribers.published]))
        subscribers.wait_all(JOIN_SECONDS)
    subscribers.settle(0.5)
    say(f"log: a late joiner of {size / (1 << 20):.3g} MiB")
    events = prepared.events[: subscribers.published]
    for _ in range(LATE_JOINS):
        # Written to once, so that no page is new when the clock runs.
        buffer = bytearray(b"x") * (held + len(events) * FRAMING_BYTES + HEAD_BYTES)
        begun, cpu, own = clock(), found.server.cpu(), time.process_time()
        read = _read_late(found, buffer, events[-1] + b"\r\n")
        seconds, load = clock() - begun, time.process_time() - own
        time.sleep(AT_REST_SECONDS)
        joins.append((seconds, found.server.cpu() - cpu, load))
        check = SubscriberCheck(events, len(events))
        position = check.advance(check.start(), bytes(buffer[:read]))
        if (position.events, position.held, position.rest) != (len(events), b"", b""):
            raise BrokenStream(f"a late joiner has {position.events} of {len(events)} events")
        subscribers.settle(AT_REST_SECONDS)
    seconds, used, load = (statistics.median(values) for values in zip(*joins, strict=True))
    shares = {"peer_core": used / seconds, "load_core": load / seconds}
    return {"x": held, "cpu": used * 1e3, "time": seconds * 1e3, **shares}


def _read_late(found: Channel, buffer: bytearray, last: bytes) -> int:
    """Join, and read as fast as the kernel lets us until the last event is there; the bytes are compared when the
    clock has stopped: at full speed the comparison would be the slower side."""
    size, into, port = 0, memoryview(buffer), found.server.target.port
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as sock:
        sock.sendall(f"GET {found.publisher.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        while not buffer.endswith(last, 0, size):
            count = sock.recv_into(into[size:])
            if not count:
                raise BrokenStream(f"ended, or went on, after {size} bytes")
            size += count
    return size


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    """Curve by curve in each round, as long as there is time; who fails is not asked again."""
    core, seconds, begun = cores[0], given.seconds, clock()
    curves: dict[str, Callable[[], list[Figures]]] = {
        "streams": lambda: with_streams(core, seconds),
        "subscribers": lambda: with_subscribers(GATEWAY, core, seconds),
        "subscribers_c": lambda: with_subscribers(C, core, seconds),
        "event_bytes": lambda: without_memory(relayed(core, seconds, EVENT_BYTES)[0], "event_us"),
        "rate": lambda: without_memory(relayed(core, seconds, RATES)[0], "cpu"),
        "log": lambda: with_log(core),
    }
    rounds: dict[str, list[list[Figures]]] = {name: [] for name in given.only or curves}
    failures: dict[str, str] = {}
    for number in range(1, given.rounds + 1):
        for name in [name for name in rounds if name not in failures]:
            if clock() - begun > BUDGET_SECONDS:
                say(f"no time for {name} in round {number}/{given.rounds}")
                continue
            say(f"round {number}/{given.rounds}: {name}")
            with reporting(failures, name):
                rounds[name].append(curves[name]())
    failures |= {name: "no time for it" for name, found in rounds.items() if not found and name not in failures}
    merged_rounds = {name: merged(found) for name, found in rounds.items() if name not in failures}
    return {"curves": {name: _curve(points) for name, points in merged_rounds.items()}, "failures": failures}


def _curve(points: Sequence[Figures]) -> dict[str, object]:
    named = {f"{point['x']:,.0f}": {**point, "strained": strained(point)} for point in points}
    return {"points": named, "fits": fits(points)}


BENCH = Bench("growth", __doc__, measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
