"""Shell: who is listening to a stream. Decides when nobody is, which is when the upstream has to go.

Three different events (DESIGN.md 1.6): a reader left, the last reader left (then, after a grace, `on_empty`),
and an explicit stop, which is not decided here.
"""

import asyncio
from collections.abc import Callable


class Audience:
    """Counts the readers of one stream, those that still wait for the first token included."""

    __slots__ = ("_grace", "_on_empty", "_timer", "readers", "total")

    def __init__(self, grace_seconds: float, on_empty: Callable[[], None]) -> None:
        self._grace = grace_seconds
        self._on_empty = on_empty
        self._timer: asyncio.TimerHandle | None = None
        self.readers = 0
        self.total = 0  # readers there ever were

    def join(self) -> None:
        self.readers += 1
        self.total += 1
        self.close()

    def leave(self) -> None:
        self.readers -= 1
        if self.readers == 0:
            if self._grace <= 0:
                self._on_empty()
            else:
                self._timer = asyncio.get_running_loop().call_later(self._grace, self._on_empty)

    def close(self) -> None:
        """Forget a pending `on_empty`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
