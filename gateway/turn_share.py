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

    __slots__ = ("_is_set", "_left", "_waiting")

    def __init__(self) -> None:
        self._left = SHARE_SECONDS  # of this turn
        self._is_set = False  # the next turn is known to the loop
        self._waiting: deque[Callable[[], None]] = deque()

    def __len__(self) -> int:
        """How many pieces of work wait."""
        return len(self._waiting)

    def run(self, work: Callable[[], None]) -> None:
        """Do the work now, or in its order in one of the next turns; then an exception in it is logged."""
        if self._waiting or self._left <= 0:
            self._waiting.append(work)
            return
        self._set()
        began = time.perf_counter()
        try:
            work()
        finally:
            self._left -= time.perf_counter() - began

    async def turn(self) -> None:
        """Wait for the turn of a request whose work is not one call. Such a request takes the rest of a share."""
        if self._waiting or self._left <= 0:
            has_come: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(lambda: self._let_go(has_come))
            await has_come
            return
        self._left = 0.0
        self._set()

    def _set(self) -> None:
        if not self._is_set:
            self._is_set = True
            asyncio.get_running_loop().call_soon(self._on_turn)

    def _let_go(self, has_come: asyncio.Future[None]) -> None:
        if not has_come.done():
            has_come.set_result(None)
            self._left = 0.0

    def _on_turn(self) -> None:
        self._left, self._is_set = SHARE_SECONDS, False
        if not self._waiting:
            return
        self._set()
        while self._waiting and self._left > 0:
            began = time.perf_counter()
            try:
                self._waiting.popleft()()
            except Exception:
                _log.exception("the beginning or the end of a request failed")
            self._left -= time.perf_counter() - began
