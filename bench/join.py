"""Wiring: what does it cost a stream that a subscriber joins it, and how soon have ten thousand joined?

    python -m bench.join [--subscribers 10000] [--alone 500] [--rounds 3] [--only gateway,nchan,c,aiohttp]

The gateway beside Nchan, a C loop that only sends a head, and aiohttp with a queue per subscriber: the CPU of a join
when the next subscriber comes as soon as the one before has its response head, and of a crowd that comes as fast as
the load can connect it. The C loop shows how fast that is. All peers run on one core, the load on another.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

from bench.kit.channel import JOIN_SECONDS, PEERS, Channel, channel, most_subscribers
from bench.kit.command import Bench, Given, reporting, say
from bench.kit.figures import Figures, Results, Sample, times_ms
from bench.kit.loop import clock, undisturbed
from bench.kit.peers import NCHAN, C
from bench.kit.script import script

EVENTS = 10
WARM_SUBSCRIBERS = 100  # who join before anything counts
AT_REST_SECONDS = 0.05  # the kernel books the CPU of a process when that comes to rest


def spent(found: Channel, joins: int, act: Callable[[], object]) -> Sample:
    """What these joins took: the clock until the last response head, CPU also of what comes behind it."""
    begin = found.sample()
    act()
    seconds, own = clock() - begin.seconds, time.process_time() - begin.own_cpu
    found.subscribers.settle(AT_REST_SECONDS)
    return Sample(seconds, joins, found.server.cpu() - begin.peer_cpu, own)


def joins(found: Channel, size: int, alone: int) -> Figures:
    """One after the other, then a crowd. Nothing is published before all are there: a join brings a head, no event.
    Raises `BrokenStream` when somebody got no head, or not the first event."""
    subscribers = found.subscribers
    subscribers.join(WARM_SUBSCRIBERS, JOIN_SECONDS)

    def one_by_one() -> None:
        for _ in range(alone):
            subscribers.join(1, JOIN_SECONDS)

    quiet = spent(found, alone, one_by_one)
    subscribers.join_seconds.clear()
    crowd = spent(found, size, lambda: subscribers.join(size, JOIN_SECONDS))
    figures = {"alone_us": quiet.each_us, "crowd_us": crowd.each_us, **crowd.cores()}
    figures |= {"crowd_seconds": crowd.seconds, "joins_per_s": size / crowd.seconds}
    found.warm_up()
    return figures | times_ms(subscribers.join_seconds, "head_")


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    given.subscribers = min(given.subscribers, most_subscribers() - WARM_SUBSCRIBERS - given.alone)
    results, names = Results(), list(given.only or PEERS)
    for number in range(1, given.rounds + 1):
        for name in [name for name in names if name not in results.failures]:
            say(f"round {number}/{given.rounds}: {given.subscribers} subscribers join {name}")
            with (
                reporting(results.failures, name),
                channel(name, script(0, EVENTS), cores[0]) as found,
                undisturbed(),
            ):
                results.add(name, joins(found, given.subscribers, given.alone))
        names.reverse()
    return {"peers": {name: _peer_json(results, name) for name in results.rounds}, "failures": results.failures}


def _peer_json(results: Results, name: str) -> dict[str, object]:
    keys = [(other, key) for other in (NCHAN, C) for key in ("alone_us", "crowd_us", "crowd_seconds")]
    ratios = {f"{key}_vs_{other}": results.ratio(name, other, key) for other, key in keys}
    return {**results.spreads(name), **ratios}


BENCH = Bench("join", __doc__, measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
