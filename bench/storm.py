"""Wiring: what happens when everybody comes at once, and when a tenth of them is cut off and comes back?

While events flow, subscribers join the gateway within `--seconds`; later `--resume` of them hang up and come back
with their Last-Event-ID. Every event must reach everybody, in order, exactly once.
"""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench.kit import machine
from bench.kit.channel import Channel, channel, most_subscribers
from bench.kit.command import Bench, Given, reporting, say
from bench.kit.figures import Figures, times_ms
from bench.kit.loop import clock, undisturbed
from bench.kit.peers import GATEWAY
from bench.kit.script import BrokenStream, script

CALM_SECONDS = 2.0  # events flow between and after the storms
PATIENCE_SECONDS = 30.0  # for the last of a storm to be served, and for the last event to arrive
FILES_SECONDS = 5.0  # for descriptors to be closed after their clients
EVENTS = 20_000  # prepared
JOINS_A_LOOK = 8


@dataclass(slots=True)
class Flow:
    """Events on schedule, for as long as somebody runs it."""

    channel: Channel
    rate: float
    due: float

    def run(self, seconds: float, joins: Iterable[tuple[float, Callable[[], object]]] = ()) -> None:
        """Publish, read, and make each join when it is due, for this long, and until everybody is served."""
        until, waiting, subscribers = clock() + seconds, deque(joins), self.channel.subscribers
        while (now := clock()) < until or waiting or subscribers.joining:
            if now > until + PATIENCE_SECONDS:
                raise BrokenStream(f"{len(waiting)} not joined, {len(subscribers.joining)} without a response head")
            if now >= self.due:
                self.channel.publish(1)
                self.due += 1 / self.rate
            for _ in range(JOINS_A_LOOK):
                if waiting and waiting[0][0] <= now:
                    waiting.popleft()[1]()
            subscribers.look(now + PATIENCE_SECONDS)

    def wave(self, name: str, seconds: float, joins: list[Callable[[], object]]) -> Figures:
        """Spread the joins over the time; how long each waited for its response head, and what it cost."""
        begin, waits = self.channel.sample(), self.channel.subscribers.join_seconds
        waits.clear()
        times = (begin.seconds + seconds * number / len(joins) for number in range(len(joins)))
        self.run(seconds, zip(times, joins, strict=True))
        return times_ms(waits, f"{name}_") | (self.channel.sample() - begin).cores(f"{name}_")


def storm(found: Channel, given: Given) -> Figures:
    """The whole run. Raises `BrokenStream` when a subscriber missed an event or got it twice."""
    subscribers, flow, pid = found.subscribers, Flow(found, given.rate, clock()), found.server.pid
    figures: Figures = {"files_before": machine.open_files(pid)}
    flow.run(CALM_SECONDS / 2)
    fds: list[int] = []
    say(f"{given.subscribers} join within {given.seconds:g} s")
    figures |= flow.wave("join", given.seconds, [lambda: fds.append(subscribers.connect())] * given.subscribers)
    flow.run(CALM_SECONDS)
    say(f"{given.resume} hang up and come back")
    left = [subscribers.drop(fd) for fd in random.Random(1).sample(fds, given.resume)]
    flow.run(0.2)
    figures |= flow.wave("resume", given.seconds / 4, [partial(subscribers.connect, *place) for place in left])
    flow.run(CALM_SECONDS)
    subscribers.wait_all(PATIENCE_SECONDS)
    figures |= {"events": subscribers.published, "deliveries": subscribers.received}
    subscribers.close()
    until = clock() + FILES_SECONDS
    while machine.open_files(pid) > figures["files_before"] and clock() < until:
        time.sleep(0.05)
    return figures | {"files_after": machine.open_files(pid)}


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    given.subscribers = min(given.subscribers, most_subscribers())
    given.resume = min(given.resume, given.subscribers)
    figures, failures = Figures(), dict[str, str]()
    with reporting(failures, GATEWAY), undisturbed(), channel(GATEWAY, script(0, EVENTS), cores[0]) as found:
        figures = storm(found, given)
    return {"figures": figures, "failures": failures}


BENCH = Bench("storm", __doc__, measure)
BENCH.run_as(__name__)
