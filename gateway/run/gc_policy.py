"""Shell: the policy for Python's collector of cyclic garbage: when it runs, and over which objects.

A stream makes no cycles: it is freed with its last reference, and the collector finds nothing in it. Left to itself,
the collector walks over many objects again and again, for milliseconds in which no token moves. Under this policy it
never walks what the process was built of, nor what is kept of ended streams (`stream/kept.py`: it holds nothing that
the collector tracks, and hangs on a table that was there at the start). A collection covers young objects, and comes
right behind an answer, before the next request; old objects (of running streams and open connections) are covered in
a quiet moment.
"""

import asyncio
import gc
from collections.abc import Callable

from gateway import clock

YOUNG = 400  # new objects, after which the next answer is followed by a collection of them
YOUNG_COLLECTIONS = 10  # then the next one covers the middle-aged objects too, which these collections have left
TOO_MANY = 10_000  # new objects, after which the collector runs by itself, also without an answer
NEVER = 1_000_000_000  # collections of middle-aged objects, after which the collector would cover old ones by itself
PERIOD = 10.0  # seconds between two checks whether a full collection is due
REST = 60.0  # seconds at least between two full collections
PATIENCE = 3600.0  # seconds after which a full collection is made in the midst of traffic too
# A full collection is due at once when there are more old objects than GROWTH times as many as behind the last full
# collection, plus MORE: many of them may be garbage then.
GROWTH = 1.5
MORE = 100_000
_OLD = 2  # the collector's number for old objects


class GarbagePolicy:
    """The policy of a process, which has one collector. `is_quiet`: whether a pause would delay no stream."""

    def __init__(self, is_quiet: Callable[[], bool]) -> None:
        self._is_quiet = is_quiet
        self._timer: asyncio.TimerHandle | None = None
        self._collected_at = 0.0
        self._old = 0  # the number of old objects at `_collected_at`
        self._thresholds = (0, 0, 0)

    def start(self) -> None:
        """Begin: no object that exists so far is walked any more, which would take 40 ms each time.

        There is no collection before: it would make every start 30 ms longer and free a hundredth of the objects.
        """
        self._collected_at = clock.monotonic()
        gc.freeze()
        self._thresholds = gc.get_threshold()
        gc.set_threshold(TOO_MANY, YOUNG_COLLECTIONS, NEVER)
        self._schedule()

    def stop(self) -> None:
        """Give the collector back its own thresholds, and let it see all objects again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    def after_answer(self) -> None:
        """Let a collection follow the answer that is about to end, if there are more than `YOUNG` new objects."""
        young, collections, _ = gc.get_count()
        if young > YOUNG:
            asyncio.get_running_loop().call_soon(gc.collect, int(collections >= YOUNG_COLLECTIONS))

    def _schedule(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._on_time)

    def _on_time(self) -> None:
        since = clock.monotonic() - self._collected_at
        has_grown = _old_objects() > self._old * GROWTH + MORE
        if has_grown or since > PATIENCE or (since > REST and self._is_quiet()):
            gc.collect()
            self._collected_at, self._old = clock.monotonic(), _old_objects()
        self._schedule()


def _old_objects() -> int:
    """How many old objects there are; to count 100,000 takes 2 ms."""
    return len(gc.get_objects(_OLD))
