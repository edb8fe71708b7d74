"""Watches the turns of an event loop: how much processor time the longest one took.

Processor time, not the time of day: a turn that waits for a processor on a loaded machine, or for the interpreter's
lock because another thread of the test has it, holds up nobody by itself.
"""

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from gateway.run.gc_policy import TOO_MANY

_lock = threading.Lock()  # a process has one collector
_ROUNDS = 20_000
_USUAL_SECONDS = 0.0045  # what `_work` takes on the machine whose figures are the bounds


def slowness() -> float:
    """How many times longer than on the machine of the bounds work takes here and now; 1 on a machine as fast."""
    began = time.thread_time()
    _work()
    return max(1.0, (time.thread_time() - began) / _USUAL_SECONDS)


def _work() -> dict[str, str]:
    """Some work like that of a turn: short strings, a table, calls."""
    table: dict[str, str] = {}
    for number in range(_ROUNDS):
        table[str(number % 100)] = "text"
    return table


@contextmanager
def collector_as_in_service() -> Iterator[None]:
    """The block in which the collector leaves the objects of the tests alone, as in a service's own process."""
    with _lock:
        thresholds = gc.get_threshold()
        gc.freeze()
        gc.set_threshold(TOO_MANY, *thresholds[1:])
        try:
            yield
        finally:
            gc.set_threshold(*thresholds)
            gc.unfreeze()


class TurnWatch:
    """Counts from `start` to `stop`; both are called in the loop's own thread."""

    def __init__(self) -> None:
        self.longest = 0.0  # seconds
        self.total = 0.0  # seconds of all turns
        self.turns = 0
        self._runs = False
        self._before = 0.0

    def start(self) -> None:
        self._runs, self._before = True, time.thread_time()
        asyncio.get_running_loop().call_soon(self._on_turn)

    def stop(self) -> None:
        self._runs = False

    def _on_turn(self) -> None:
        now = time.thread_time()
        seconds, self._before = now - self._before, now
        self.longest, self.total = max(self.longest, seconds), self.total + seconds
        self.turns += 1
        if self._runs:
            asyncio.get_running_loop().call_soon(self._on_turn)
