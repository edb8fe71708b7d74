"""Shell: the later turns of the event loop that long work on the bytes of upstreams gets.

In: callbacks, each of which works for some milliseconds. Out: one callback in each turn of the loop, in the order in
which they came, so that any number of connections with long work together hold the loop no longer than one does.
"""

import asyncio
from collections import deque
from collections.abc import Callable


class LaterTurns:
    """The queue of callbacks of one event loop."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()

    def add(self, callback: Callable[[], None]) -> None:
        """Call back in a later turn."""
        self._waiting.append(callback)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        callback = self._waiting.popleft()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        callback()
