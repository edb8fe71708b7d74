"""Wiring: what does a subscriber cost that only waits?

User-space memory of each subscriber of one stream (bench/fanout.py shows that of other programs); and the CPU of the
gateway while thousands of subscribers get nothing but a keep-alive every 15 s, each of which is counted and
compared.
"""

import time
from typing import Any

from bench.kit.channel import JOIN_SECONDS, channel, most_subscribers
from bench.kit.command import Bench, Given, reporting, rounds, say
from bench.kit.figures import Figures, Results
from bench.kit.loop import clock
from bench.kit.peers import GATEWAY
from bench.kit.script import BrokenStream, script

KEEPALIVE_SECONDS = 15  # stream.keepalive_seconds, its default
FIRST_SECONDS = 25.0  # the gateway looks every half pause, so that the first may come after one and a half
KEEPALIVE_BYTES = len(b"c\r\n: keepalive\n\r\n")
EVENTS = 10


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
    sizes = sorted({min(size, most_subscribers()) for size in given.subscribers})
    given.quiet = min(given.quiet, most_subscribers())
    results, calm = Results(), Figures()
    with reporting(results.failures, GATEWAY):
        for label in rounds(given):
            for size in sizes:
                say(f"{label}: {size} subscribers")
                with channel(GATEWAY, script(0, EVENTS), cores[0]) as found:
                    results.add(f"{size}", found.join(size))
                    found.warm_up()  # all of them get a first event
        if given.quiet:
            say(f"{given.quiet} quiet subscribers, {given.quiet_seconds:g} s")
            calm = quiet(given.quiet, given.quiet_seconds, cores[0])
    peers = {GATEWAY: {size: results.spreads(size) for size in results.rounds}}
    return {"peers": peers, "quiet": calm, "failures": results.failures}


BENCH = Bench("memory", __doc__, measure)
BENCH.run_as(__name__)
