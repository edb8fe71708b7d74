"""Wiring: how does the cost of the gateway grow, and with what?

CPU and memory against streams, subscribers, the size of an event, the rate of events, and the length of the log that
a late joiner gets: medians over rounds in which the curves take turns. The exponent of each cost is fitted over the
upper half of its curve: beyond 1.15 it is "worse than linear", a defect. A C loop of send() shows what of the growth
with subscribers is the kernel's. A point counts only if every stream through it was whole, byte for byte.
"""

import contextlib
import math
import socket
import statistics
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from typing import Any

from bench.kit.channel import JOIN_SECONDS, TIMEOUT, WARM_UP_EVENTS, Channel, channel, most_subscribers
from bench.kit.command import Bench, Given, reporting, rounds, say
from bench.kit.figures import Figures, Sample
from bench.kit.load import Load
from bench.kit.machine import memory_kib
from bench.kit.peers import GATEWAY, WARM_UP, C, Peer, started
from bench.kit.script import START, BrokenStream, SubscriberCheck, script
from bench.relay import SETTLE, cpu_plan

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
    and as long as these last the kernel sees no growth, which would make what follows look steeper than it is."""
    pairs = [(point["x"], point[cost]) for point in upper]
    if cost != "memory":
        return pairs
    (first, least), *more = pairs
    return [(x - first, kib - least) for x, kib in more]


def relayed(core: int, seconds: float, shapes: Sequence[Shape], looks: list[float] | None = None) -> list[Figures]:
    """A point for each shape, by one gateway. Into `looks` goes its memory before and at the begin of the window."""
    points = []
    with contextlib.closing(Load()) as load, started(Peer(GATEWAY), load.port, core) as server:
        load.run(WARM_UP, server.target)

        def probe() -> float:
            if looks is not None:
                looks.append(memory_kib(server.pid)["private"])
            return server.cpu()

        for x, streams, rate, text_bytes in shapes:
            say(f"{streams} streams, {rate:g} events/s each, {text_bytes or 'few'} bytes of text")
            spread, settle = SPREAD * (1 + streams / 1000), max(SETTLE, LEARNING_EVENTS / rate)
            plan = cpu_plan(streams, rate, seconds, spread, settle, text_bytes)
            window = load.run(replace(plan, tokens=plan.tokens + 1), server.target, probe).window
            script.cache_clear()
            kept = window.events / window.seconds / (streams * rate) if window.events >= MIN_KEPT_EVENTS else 1.0
            points.append({"x": x, "cpu": window.cores()["peer_core"] * 1e3, **window.cores(), "rate_kept": kept})
    return points


def with_streams(core: int, seconds: float) -> list[Figures]:
    """A new gateway for each point: ended streams stay in memory for `stream.retain_seconds`, and would add up."""
    points, idle_kib = [], math.inf
    for shape in STREAMS:
        looks: list[float] = []
        [point] = relayed(core, seconds, [shape], looks)
        points.append(point | {"memory": looks[1]})
        idle_kib = min(idle_kib, looks[0])
    return above_lowest(points, idle_kib)


def with_subscribers(name: str, core: int, seconds: float) -> list[Figures]:
    """CPU us for each event to everybody, KiB of all. Subscribers come, and stay."""
    with channel(name, script(0, MAX_EVENTS), core) as found:
        subscribers = found.subscribers
        subscribers.join(1, JOIN_SECONDS)
        found.warm_up()
        subscribers.from_now()  # nothing is published while they join; the C loop has no past anyway
        empty, points = memory_kib(found.server.pid)["private"], []
        for size in sorted({min(size, most_subscribers()) for size in SUBSCRIBERS}):
            say(f"subscribers of {name}: {size}")
            subscribers.join(size - len(subscribers.sockets), JOIN_SECONDS, subscribers.published)
            subscribers.settle(0.5)
            kib = memory_kib(found.server.pid)["private"]
            spent, events = found.passes(seconds, most=MAX_EVENTS // len(SUBSCRIBERS) - WARM_UP_EVENTS)
            points.append({"x": size, "cpu": spent.peer_cpu / events * 1e6, "memory": kib, **spent.cores()})
        return above_lowest(points, empty)


def with_log(core: int) -> list[Figures]:
    """CPU and time until a late joiner has it all, ms: the median of some joins, one after another."""
    prepared, points = script(0, LOG_BYTES[-1] // (TEXT_BYTES + 200), TEXT_BYTES), []
    with channel(GATEWAY, prepared, core) as found:
        subscribers = found.subscribers
        subscribers.join(1, JOIN_SECONDS)  # who stays: a stream without subscribers would end
        held = 0
        for size in LOG_BYTES:
            while held < size and subscribers.published + BATCH <= len(prepared.events):
                found.publish(BATCH)
                held += sum(map(len, prepared.events[subscribers.published - BATCH : subscribers.published]))
                subscribers.wait_all(JOIN_SECONDS)
            subscribers.settle(0.5)
            say(f"log: a late joiner of {size / (1 << 20):.3g} MiB")
            joins = [astuple(_late(found, prepared.events[: subscribers.published], held)) for _ in range(LATE_JOINS)]
            spent = Sample(*map(statistics.median, zip(*joins, strict=True)))
            points.append({"x": held, "cpu": spent.peer_cpu * 1e3, "time": spent.seconds * 1e3, **spent.cores()})
    return points


def _late(found: Channel, events: tuple[bytes, ...], held: int) -> Sample:
    """Join, and read as fast as the kernel lets us until the last event is there. The bytes are compared when the
    clock has stopped: the comparison would be the slower side."""
    # Written to once, so that no page is new when the clock runs.
    buffer = bytearray(b"x") * (held + len(events) * FRAMING_BYTES + HEAD_BYTES)
    size, into, port, last = 0, memoryview(buffer), found.server.target.port, events[-1] + b"\r\n"

    def read() -> None:
        nonlocal size
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as sock:
            sock.sendall(f"GET {found.publisher.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            while not buffer.endswith(last, 0, size):
                count = sock.recv_into(into[size:])
                if not count:
                    raise BrokenStream(f"ended, or went on, after {size} bytes")
                size += count

    spent = found.spent(len(events), read)
    check = SubscriberCheck(events, len(events))
    position = check.advance(START, bytes(buffer[:size]))
    if (position.events, position.held, position.rest) != (len(events), b"", b""):
        raise BrokenStream(f"a late joiner has {position.events} of {len(events)} events")
    return spent


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    """Curve by curve in each round; who fails is not asked again."""
    core, seconds = cores[0], given.seconds
    curves: dict[str, Callable[[], list[Figures]]] = {
        "streams": lambda: with_streams(core, seconds),
        "subscribers": lambda: with_subscribers(GATEWAY, core, seconds),
        "subscribers_c": lambda: with_subscribers(C, core, seconds),
        "event_bytes": lambda: relayed(core, seconds, EVENT_BYTES),
        "rate": lambda: relayed(core, seconds, RATES),
        "log": lambda: with_log(core),
    }
    points: dict[str, list[list[Figures]]] = {name: [] for name in given.only or curves}
    failures: dict[str, str] = {}
    for label in rounds(given):
        for name in [name for name in points if name not in failures]:
            say(f"{label}: {name}")
            with reporting(failures, name):
                points[name].append(curves[name]())
    found = {name: curve(merged(points[name])) for name in points if name not in failures}
    return {"curves": found, "failures": failures}


def curve(points: Sequence[Figures]) -> dict[str, object]:
    named = {f"{point['x']:,.0f}": {**point, "strained": strained(point)} for point in points}
    return {"points": named, "fits": fits(points)}


BENCH = Bench("growth", __doc__, measure)
BENCH.run_as(__name__)
