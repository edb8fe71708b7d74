"""Shell: an audience that joins and then only waits: what its coming costs, and what its being there.

In: a seat, a size. Out: figures per subscriber. Invariant: memory is looked at when all response heads are there and
the peer has had time to let go of what joining took.
"""

from __future__ import annotations

import math

from bench.fanout_peers import Seat
from bench.loop import clock
from bench.relay_report import Figures

JOIN_SECONDS = 60.0
SETTLE_SECONDS = 0.5  # from the last response head to the look at the memory


def join(seat: Seat, size: int, have: int = 0) -> Figures:
    """So many come, that have the first `have` events; KiB of each kind of memory, seconds and CPU of each."""
    before, cpu, begun = seat.memory_kib(), seat.running.cpu(), clock()
    seat.audience.join(size, JOIN_SECONDS, have)
    figures = {"join_seconds": clock() - begun, "join_cpu_us": (seat.running.cpu() - cpu) / size * 1e6}
    settle(seat)
    after = seat.memory_kib()
    return figures | {f"{kind}_kib": (after[kind] - before[kind]) / size for kind in after}


def settle(seat: Seat, seconds: float = SETTLE_SECONDS) -> None:
    """Read what comes, for so long."""
    until = clock() + seconds
    while clock() < until:
        seat.audience.look(math.inf)
