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
PERIOD = 10.0  # seconds between two thoughts of a look at everything
REST = 60.0  # seconds between two such looks at the least
PATIENCE = 3600.0  # seconds after which one is taken in the midst of traffic too
GROWTH = 1.5  # or when so many times as many objects are settled as were left by the last one,
MORE = 100_000  # and so many more: they may be garbage


class GarbagePolicy:
    """One of a process, since its collector is. `is_quiet`: whether it matters to nobody if all stops for a while."""

    def __init__(self, is_quiet: Callable[[], bool]) -> None:
        self._is_quiet = is_quiet
        self._timer: asyncio.TimerHandle | None = None
        self._settled_at = 0.0
        self._settled = 0  # objects, by then
        self._thresholds = (0, 0, 0)

    def start(self) -> None:
        """From now on; what the process is made of so far stays out of every look but those at everything.

        It is not looked at now: that would make every start 30 ms longer, for a hundredth of it that is garbage.
        """
        self._settle()
        self._thresholds = gc.get_threshold()
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
        """An answer is about to be over."""
        if gc.get_count()[0] > YOUNG:
            asyncio.get_running_loop().call_soon(gc.collect, 0)

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._on_time)

    def _on_time(self) -> None:
        since = clock.monotonic() - self._settled_at
        has_grown = gc.get_freeze_count() > self._settled * GROWTH + MORE
        if has_grown or since > PATIENCE or (since > REST and self._is_quiet()):
            self._look_at_all()
        self._schedule()

    def _look_at_all(self) -> None:
        gc.unfreeze()
        gc.collect()
        self._settle()

    def _settle(self) -> None:
        self._settled_at = clock.monotonic()
        gc.freeze()
        self._settled = gc.get_freeze_count()


def _keep_survivors(phase: str, _: dict[str, int]) -> None:
    """What is left of the youngest counts as settled: no later look has to walk over it."""
    if phase == "stop":
        gc.freeze()
