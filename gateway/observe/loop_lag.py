"""Shell: the lag of the event loop: how long a callback that is due waits for its turn."""

import asyncio

from gateway import clock

PERIOD = 0.25  # seconds between two measurements
TIMER_GRAIN = 0.001  # seconds by which uvloop's timers may be late anyway


class LoopLag:
    """The lag in seconds, measured every `PERIOD` between `start` and `stop`. `last`: the newest value."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.last = 0.0
        self._worst = 0.0

    def start(self) -> None:
        self._due = clock.monotonic() + PERIOD
        self._timer = asyncio.get_running_loop().call_later(PERIOD, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def worst(self) -> float:
        """The longest lag since the last call of `worst`."""
        worst, self._worst = max(self._worst, self.last), 0.0
        return worst

    def _look(self) -> None:
        self.last = max(clock.monotonic() - self._due - TIMER_GRAIN, 0.0)
        self._worst = max(self._worst, self.last)
        self.start()
