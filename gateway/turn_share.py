"""Shell: the share of each turn of the event loop that the beginnings and ends of requests get.

A token takes microseconds, and what begins or ends a request takes hundreds. If a hundred requests began in one turn,
the tokens of all streams would wait for them. So a turn spends about a millisecond on such work, in the order in
which it came; what is left is done in the next turns, behind the tokens that have come by then.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

SHARE_SECONDS = 0.001  # of one turn

_log = logging.getLogger("rivergate.tasks")


class TurnShare:
    """The queue of one event loop. Work that finds a free share is done in the very call that brings it."""

    __slots__ = ("_is_set", "_left", "_now", "_waiting")

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        """`now` is a clock, in seconds."""
        self._now = now
        self._left = SHARE_SECONDS  # of this turn
        self._is_set = False  # the next turn is known to the loop
        self._waiting: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        """How many pieces of work wait."""
        return len(self._waiting)

    def run(self, work: Callable[[], None]) -> None:
        """Do the work now, or in its order in one of the next turns; then an exception in it is logged."""
        self._set()
        if self._waiting or self._left <= 0:
            self._waiting.append(work)
            return
        began = self._now()
        try:
            work()
        finally:
            self._left -= self._now() - began

    def take_rest(self) -> None:
        """Leave nothing of this turn's share: the work that was begun goes on in the next turn, unmeasured."""
        self._left = 0.0
        self._set()

    def _set(self) -> None:
        if not self._is_set:
            self._is_set = True
            asyncio.get_running_loop().call_soon(self._on_turn)

    def _on_turn(self) -> None:
        self._left, self._is_set = SHARE_SECONDS, False
        if not self._waiting:
            return
        self._set()
        while self._waiting and self._left > 0:
            began = self._now()
            try:
                self._waiting.popleft()()
            except Exception:
                _log.exception("the beginning or the end of a request failed")
            self._left -= self._now() - began
