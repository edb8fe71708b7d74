"""Wiring: what does it cost that a subscriber joins, how soon have ten thousand joined, and what if they only wait?

The gateway beside Nchan, a C loop that only sends a head, and aiohttp with a queue per subscriber: the CPU of a join
when the next subscriber comes as soon as the one before has its response head, and of a crowd that comes as fast as
the load can connect it. The C loop shows how fast that is. All peers run on one core, the load on another. Then the
CPU of the gateway alone, while thousands get nothing but a keep-alive every 15 s, each of which is counted and
compared.
"""

import time
from typing import Any

from bench.kit.channel import JOIN_SECONDS, PEERS, Channel, channel, most_subscribers
from bench.kit.command import Bench, Given, reporting, rounds, say
from bench.kit.figures import Figures, Results, times_ms
from bench.kit.loop import clock, undisturbed
from bench.kit.peers import GATEWAY, NCHAN, C
from bench.kit.script import BrokenStream, script

KEEPALIVE_SECONDS = 15  # stream.keepalive_seconds, its default
FIRST_SECONDS = 25.0  # the gateway looks every half pause, so that the first may come after one and a half
KEEPALIVE_BYTES = len(b"c\r\n: keepalive\n\r\n")
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


def quiet(size: int, seconds: float, core: int) -> Figures:
    """The gateway's CPU while nothing comes, over a multiple of the pause."""
    pauses = max(1, round(seconds / KEEPALIVE_SECONDS))
    with channel(GATEWAY, script(0, EVENTS), core) as found:
        found.subscribers.join(size, JOIN_SECONDS)
        found.warm_up()
        until = clock() + FIRST_SECONDS
        while not min(found.subscribers.waiting_bytes()):
            if clock() > until:
                raise BrokenStream(f"no keep-alive within {FIRST_SECONDS:g} s")
            time.sleep(0.1)
        found.subscribers.settle(1.0)  # from then on each pause has exactly one
        begin = found.sample()
        # The load sleeps: what comes meanwhile waits in the sockets, where it is counted and then compared.
        time.sleep(pauses * KEEPALIVE_SECONDS)
        spent = found.sample() - begin
        waiting = found.subscribers.waiting_bytes()
        found.subscribers.settle(0.5)
    if min(waiting) < pauses * KEEPALIVE_BYTES:
        raise BrokenStream(f"a subscriber got {min(waiting)} bytes, {pauses} keep-alives are more")
    keepalives_each = sum(waiting) / KEEPALIVE_BYTES / size
    return {"seconds": spent.seconds, "core_share": spent.cores()["peer_core"], "keepalives_each": keepalives_each}


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
    calm, given.quiet = Figures(), min(given.quiet, most_subscribers())
    if given.quiet and GATEWAY in names:
        with reporting(results.failures, GATEWAY, "quiet"):
            say(f"{given.quiet} quiet subscribers, {given.quiet_seconds:g} s")
            calm = quiet(given.quiet, given.quiet_seconds, cores[0])
    ratios = ((other, key) for other in (NCHAN, C) for key in ("alone_us", "crowd_us", "crowd_seconds"))
    return {**results.json(ratios), "quiet": calm}


BENCH = Bench("join", __doc__, measure)
BENCH.run_as(__name__)
