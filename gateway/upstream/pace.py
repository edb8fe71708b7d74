"""Shell: the pace of the event loop: how often it looks for what upstreams have sent.

A turn of the loop (to wait, to be woken, to ask the kernel) costs as much as two tokens. While thousands of tokens
come a second, a turn finds only one or two of them. So under load the loop rests between two turns, as a network card
does between two interrupts, and then relays all tokens that came during the rest. A token comes half a millisecond
later at the most, and costs two thirds of the CPU (bench/README.md). Without load the loop never rests, so that a
first token is not delayed.

In: the count of reads, and the time. Out: rests of the loop. The invariant: no rest follows a turn that took longer
than a rest, since a loop that is busy gathers enough tokens by itself.
"""

import asyncio
import time

from gateway.upstream.later_turns import LaterTurns

PERIOD = 0.25  # seconds between two looks at the load
# With this many reads in the time of a rest, resting begins. From half as many on a rest saves something, but the
# core has time to spare then, and a token that comes at once is worth more (bench/README.md).
WORTH = 8
ENOUGH = 4  # with this many reads in the time of a rest, resting goes on; below WORTH, so that it does not flutter


class Pace:
    """The pace of one event loop. A read of an upstream connection adds to `reads`, and begins a turn if `is_due`."""

    __slots__ = ("_last_rest", "_loaded", "_reads_before", "_seconds", "_timer", "is_due", "later", "reads", "rests")

    def __init__(self, seconds: float = 0.0) -> None:
        """Make a pace at rest. `seconds`: the time from one turn to the next under load; 0: the loop never rests."""
        self._seconds = seconds
        self._loaded = False
        self._last_rest = 0.0
        self._reads_before = 0
        self._timer: asyncio.TimerHandle | None = None
        self.is_due = False  # the next read is the first of its turn
        self.reads = 0  # reads so far
        self.rests = 0  # rests so far
        self.later = LaterTurns()  # for long work on what connections have read

    def start(self) -> None:
        """Look at the load every `PERIOD` until `stop`."""
        if self._seconds > 0:
            self._timer = asyncio.get_running_loop().call_later(PERIOD, self._on_time)

    def stop(self) -> None:
        """Rest no more."""
        self._loaded = self.is_due = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def look(self) -> None:
        """Find out whether there is load: by the count of reads since the last look, a `PERIOD` ago."""
        together = (self.reads - self._reads_before) * self._seconds / PERIOD
        self._reads_before = self.reads
        loaded = together >= (ENOUGH if self._loaded else WORTH)
        if loaded and not self._loaded:
            self.is_due = True
        self._loaded = loaded

    def begin_turn(self) -> None:
        """Take the first read of a turn: the loop rests after it has taken all reads of this turn.

        Callbacks that these reads have scheduled wait for the end of the rest.
        """
        self.is_due = False
        asyncio.get_running_loop().call_soon(self._rest)

    def _rest(self) -> None:
        left = self._last_rest + self._seconds - time.monotonic()
        if left > 0:
            self.rests += 1
            time.sleep(left)
        self._last_rest = time.monotonic()
        self.is_due = self._loaded

    def _on_time(self) -> None:
        self.look()
        self.start()
