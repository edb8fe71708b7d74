"""Shell: how often the event loop looks for what upstreams have sent.

A turn of the loop costs as much as two tokens: to wait, to be woken, to ask again. While thousands of tokens come a
second, it finds one or two of them in a turn. So under load the loop rests between two turns, as a network card does
between two interrupts, and relays what has come meanwhile together: half a millisecond later at the most, and for two
thirds of the CPU (bench/NOTES.md). Without load nothing rests, so that a first token is not delayed.

In: the count of reads, and the time. Out: rests of the loop. The invariant: a turn that took longer than a rest is
followed by none, since a loop that is busy gathers enough by itself.
"""

import asyncio
import time

PERIOD = 0.25  # seconds between two looks at the load
WORTH = 4  # reads in the time of one rest from which on resting begins: fewer save less than the rest costs
ENOUGH = 2  # reads in the time of one rest from which on resting goes on: below WORTH, so that it does not flutter


class Pace:
    """The pace of one event loop. A read of an upstream connection adds to `reads`, and begins a turn if `is_due`."""

    __slots__ = ("_last_rest", "_loaded", "_reads_before", "_seconds", "_timer", "is_due", "reads", "rests")

    def __init__(self, seconds: float = 0.0) -> None:
        """`seconds`: from one turn to the next under load; 0: the loop never rests."""
        self._seconds = seconds
        self._loaded = False
        self._last_rest = 0.0
        self._reads_before = 0
        self._timer: asyncio.TimerHandle | None = None
        self.is_due = False  # the next read is the first of its turn
        self.reads = 0  # reads so far
        self.rests = 0  # rests so far

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
        """Find out whether the reads since the last look, a `PERIOD` ago, are a load."""
        together = (self.reads - self._reads_before) * self._seconds / PERIOD
        self._reads_before = self.reads
        loaded = together >= (ENOUGH if self._loaded else WORTH)
        if loaded and not self._loaded:
            self.is_due = True
        self._loaded = loaded

    def begin_turn(self) -> None:
        """Take the first read of a turn: the loop rests behind the reads that this turn found.

        What these reads have woken up waits for the end of the rest.
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
