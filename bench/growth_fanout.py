"""Shell: what a stream costs with more subscribers, and what a late joiner costs with a longer log.

In: a window. Out: points. Invariant: as in the fan-out bench: no event counts of which a byte was not compared.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.command import say
from bench.fanout_join import JOIN_SECONDS, settle
from bench.fanout_peers import Seat, seated
from bench.fanout_report import GATEWAY
from bench.fanout_rounds import PASS_SECONDS, WARM_UP_EVENTS
from bench.frames import Script, script
from bench.growth_fit import MEMORY, Point, above_lowest
from bench.growth_late import LateReader
from bench.loop import clock

SUBSCRIBERS = (1, 10, 100, 1000, 2500, 5000, 10_000)
MAX_EVENTS = 40_000
LOG_BYTES = (1 << 18, 1 << 20, 1 << 22, 1 << 23, (1 << 24) - (1 << 18))  # the last within stream.max_log_bytes
TEXT_BYTES = 4096
BATCH = 16
LATE_JOINS = 3
AT_REST_SECONDS = 0.02  # the kernel books the CPU of a process when that comes to rest


@contextmanager
def _seat(name: str, prepared: Script, core: int) -> Iterator[Seat]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-growth-") as folder,
        seated(name, Path(folder) / name, prepared, core) as seat,
    ):
        yield seat


def with_subscribers(name: str, core: int, seconds: float, most: int) -> list[Point]:
    """CPU us for each event to everybody, KiB of all. They come, and stay. Raises `BrokenStream`, `Late`."""
    with _seat(name, script(0, MAX_EVENTS), core) as seat:
        audience = seat.audience
        audience.join(1, JOIN_SECONDS)
        seat.publish(WARM_UP_EVENTS)
        audience.wait_all(clock() + PASS_SECONDS)
        audience.ask("from=now")  # nothing is published while they join; the C loop has no past anyway
        empty = seat.memory_kib()["private"]
        points = []
        for size in sorted({min(size, most) for size in SUBSCRIBERS}):
            say(f"subscribers of {name}: {size}")
            audience.join(size - len(audience), JOIN_SECONDS, audience.published)
            settle(seat)
            points.append(_passes(seat, size, seconds, seat.memory_kib()["private"]))
        return above_lowest(points, MEMORY, empty)


def _passes(seat: Seat, size: int, seconds: float, memory_kib: float) -> Point:
    audience, events = seat.audience, 0
    begun, cpu, own = clock(), seat.running.cpu(), time.process_time()
    while (now := clock()) < begun + seconds and events < MAX_EVENTS // len(SUBSCRIBERS) - WARM_UP_EVENTS:
        seat.publish(1)
        audience.wait_all(now + PASS_SECONDS)
        events += 1
    spent, used, load = clock() - begun, seat.running.cpu() - cpu, time.process_time() - own
    costs = {"cpu": used / events * 1e6, MEMORY: memory_kib}
    return Point(size, costs, used / spent, load / spent)


def with_log(core: int) -> list[Point]:
    """CPU and time until a late joiner has it all, ms. Raises `BrokenStream`, `Late`."""
    prepared = script(0, LOG_BYTES[-1] // (TEXT_BYTES + 200), TEXT_BYTES)
    with _seat(GATEWAY, prepared, core) as seat:
        seat.audience.join(1, JOIN_SECONDS)  # who stays: a stream that nobody reads would end
        points = []
        for size in LOG_BYTES:
            say(f"log: a late joiner of {size / (1 << 20):.3g} MiB")
            points.append(_late(seat, prepared, _fill(seat, prepared, size)))
        return points


def _fill(seat: Seat, prepared: Script, size: int) -> int:
    """Publish until the log has so many bytes; return how many it has."""
    audience = seat.audience
    held = sum(map(len, prepared.events[: audience.published]))
    while held < size and audience.published + BATCH <= len(prepared.events):
        seat.publish(BATCH)
        held += sum(map(len, prepared.events[audience.published - BATCH : audience.published]))
        audience.wait_all(clock() + PASS_SECONDS)
    settle(seat)
    return held


def _late(seat: Seat, prepared: Script, held: int) -> Point:
    """The median of some joins, one after another."""
    published, joins = seat.audience.published, []
    for _ in range(LATE_JOINS):
        reader = LateReader(prepared.events[:published])
        begun, cpu, own = clock(), seat.running.cpu(), time.process_time()
        reader.read(seat.running.port, seat.publisher.path)
        seconds, load = clock() - begun, time.process_time() - own
        time.sleep(AT_REST_SECONDS)
        joins.append((seconds, seat.running.cpu() - cpu, load))
        reader.check()
        settle(seat, AT_REST_SECONDS)
    seconds, used, load = (statistics.median(values) for values in zip(*joins, strict=True))
    return Point(held, {"cpu": used * 1e3, "time": seconds * 1e3}, used / seconds, load / seconds)
