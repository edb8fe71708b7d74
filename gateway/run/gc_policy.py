"""Shell: the policy for Python's collector of cyclic garbage: when it runs, and over which objects.

A stream makes no cycles: it is freed with its last reference, and the collector finds nothing in it. Left to itself,
the collector still walks over every stream that is kept for replay, again and again, for milliseconds in which no
token moves. Under this policy a collection covers only young objects, and comes right behind an answer, before the
next request; the objects that it leaves are settled, and are covered again only in a quiet moment.
"""

import asyncio
import gc
from collections.abc import Callable

from gateway import clock

YOUNG = 400  # new objects, after which the next answer is followed by a collection of them
TOO_MANY = 10_000  # new objects, after which the collector runs by itself, also without an answer
PERIOD = 10.0  # seconds between two checks whether a full collection is due
REST = 60.0  # seconds at least between two full collections
PATIENCE = 3600.0  # seconds after which a full collection is made in the midst of traffic too
# A full collection is due at once when there are more settled objects than GROWTH times as many as behind the last
# full collection, plus MORE: many of the settled objects may be garbage then.
GROWTH = 1.5
MORE = 100_000


class GarbagePolicy:
    """The policy of a process, which has one collector. `is_quiet`: whether a pause would delay no stream."""

    def __init__(self, is_quiet: Callable[[], bool]) -> None:
        self._is_quiet = is_quiet
        self._timer: asyncio.TimerHandle | None = None
        self._settled_at = 0.0
        self._settled = 0  # the number of settled objects at `_settled_at`
        self._thresholds = (0, 0, 0)

    def start(self) -> None:
        """Begin: every object that exists so far is settled.

        There is no collection before: it would make every start 30 ms longer and free a hundredth of the objects.
        """
        self._settle()
        self._thresholds = gc.get_threshold()
        gc.set_threshold(TOO_MANY, *self._thresholds[1:])
        gc.callbacks.append(_keep_survivors)
        self._schedule()

    def stop(self) -> None:
        """Give the collector back its own thresholds, and let it see the settled objects again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            gc.callbacks.remove(_keep_survivors)
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    def after_answer(self) -> None:
        """Let a collection follow the answer that is about to end, if there are more than `YOUNG` new objects."""
        if gc.get_count()[0] > YOUNG:
            asyncio.get_running_loop().call_soon(gc.collect, 0)

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._on_time)

    def _on_time(self) -> None:
        since = clock.monotonic() - self._settled_at
        has_grown = gc.get_freeze_count() > self._settled * GROWTH + MORE
        if has_grown or since > PATIENCE or (since > REST and self._is_quiet()):
            self._collect_all()
        self._schedule()

    def _collect_all(self) -> None:
        gc.unfreeze()
        gc.collect()
        self._settle()

    def _settle(self) -> None:
        self._settled_at = clock.monotonic()
        gc.freeze()
        self._settled = gc.get_freeze_count()


def _keep_survivors(phase: str, _: dict[str, int]) -> None:
    """The objects that a collection leaves are settled: no later one has to walk over them."""
    if phase == "stop":
        gc.freeze()
