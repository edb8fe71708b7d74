"""Wiring: what does it cost a stream that a subscriber joins it, and how soon have ten thousand joined?

The gateway beside Nchan, a C loop that only sends a head, and aiohttp with a queue per subscriber: the CPU of a join
when the next subscriber comes as soon as the one before has its response head, and of a crowd that comes as fast as
the load can connect it. The C loop shows how fast that is. All peers run on one core, the load on another.
"""

from typing import Any

from bench.kit.channel import JOIN_SECONDS, PEERS, Channel, channel, most_subscribers
from bench.kit.command import Bench, Given, reporting, rounds, say
from bench.kit.figures import Figures, Results, times_ms
from bench.kit.loop import undisturbed
from bench.kit.peers import NCHAN, C
from bench.kit.script import script

EVENTS = 10
WARM_SUBSCRIBERS = 100  # who join before anything counts


def joins(found: Channel, size: int, alone: int) -> Figures:
    """One after the other, then a crowd. Nothing is published before all are there: a join brings a head, no event.
    Raises `BrokenStream` when somebody got no head, or not the first event."""
    subscribers = found.subscribers
    subscribers.join(WARM_SUBSCRIBERS, JOIN_SECONDS)

    def one_by_one() -> None:
        for _ in range(alone):
            subscribers.join(1, JOIN_SECONDS)

    quiet = found.spent(alone, one_by_one)
    subscribers.join_seconds.clear()
    crowd = found.spent(size, lambda: subscribers.join(size, JOIN_SECONDS))
    figures = {"alone_us": quiet.each_us, "crowd_us": crowd.each_us, **crowd.cores()}
    figures |= {"crowd_seconds": crowd.seconds, "joins_per_s": size / crowd.seconds}
    found.warm_up()
    return figures | times_ms(subscribers.join_seconds, "head_")


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    given.subscribers = min(given.subscribers, most_subscribers() - WARM_SUBSCRIBERS - given.alone)
    results, names = Results(), list(given.only or PEERS)
    for label in rounds(given):
        for name in [name for name in names if name not in results.failures]:
            say(f"{label}: {given.subscribers} subscribers join {name}")
            with (
                reporting(results.failures, name),
                channel(name, script(0, EVENTS), cores[0]) as found,
                undisturbed(),
            ):
                results.add(name, joins(found, given.subscribers, given.alone))
        names.reverse()
    return results.json((other, key) for other in (NCHAN, C) for key in ("alone_us", "crowd_us", "crowd_seconds"))


BENCH = Bench("join", __doc__, measure)
BENCH.run_as(__name__)
