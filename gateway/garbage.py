"""Shell: when Python's collector of cyclic garbage runs, and over what.

A stream makes no cycles: all of it goes with its last reference, and there is nothing to find. Left to itself the
collector still walks over every stream that is kept for replay, again and again, for milliseconds in which no token
moves. So what a look at the youngest objects leaves is never looked at again, but in a quiet moment; and that look
comes behind an answer, while the next request is not there yet.
"""

import asyncio
import gc
from collections.abc import Callable

from gateway import clock

YOUNG = 400  # objects more than before: the next answer is followed by a look at them
TOO_MANY = 10_000  # without any answer the collector looks by itself
PERIOD = 60.0  # seconds between two attempts at a look at everything
PATIENCE = 3600.0  # seconds after which it is done in the midst of traffic too


class GarbageControl:
    """One of a process, since its collector is. `is_quiet`: whether it matters to nobody if all stops for a while."""

    def __init__(self, is_quiet: Callable[[], bool]) -> None:
        self._is_quiet = is_quiet
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at_all = 0.0
        self._thresholds = gc.get_threshold()

    def start(self) -> None:
        """From now on; what the process is made of so far stays out of every look."""
        self._look_at_all()
        gc.set_threshold(TOO_MANY, *self._thresholds[1:])
        gc.callbacks.append(_keep_survivors)
        self._schedule()

    def stop(self) -> None:
        """As it was before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            gc.callbacks.remove(_keep_survivors)
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    def after_answer(self) -> None:
        """An answer is over."""
        if gc.get_count()[0] > YOUNG:
            gc.collect(0)

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._on_time)

    def _on_time(self) -> None:
        if self._is_quiet() or clock.monotonic() - self._looked_at_all > PATIENCE:
            self._look_at_all()
        self._schedule()

    def _look_at_all(self) -> None:
        self._looked_at_all = clock.monotonic()
        gc.unfreeze()
        gc.collect()
        gc.freeze()


def _keep_survivors(phase: str, _: dict[str, int]) -> None:
    """What is left of the youngest counts as settled: no later look has to walk over it."""
    if phase == "stop":
        gc.freeze()
