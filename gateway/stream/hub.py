"""Shell: what runs in this process, by id: streams, and completions that are not streamed."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import Ending


class Running(Protocol):
    """Something that runs and can be ended."""

    id: str

    def stop(self, ending: Ending) -> None: ...


@dataclass(frozen=True, slots=True)
class HubStatistics:
    running: int
    ended: int


class Hub:
    """Knows everything that runs. It enters at its start and leaves at its end."""

    def __init__(self) -> None:
        self._running: dict[str, Running] = {}
        self._ended = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, running: Running) -> None:
        self._running[running.id] = running
        self._empty.clear()

    def remove(self, running_id: str) -> None:
        """Forget one; unknown ids are fine, so that an end may be told twice."""
        if self._running.pop(running_id, None) is not None:
            self._ended += 1
        if not self._running:
            self._empty.set()

    async def drain(self, seconds: float) -> None:
        """Wait until all have ended by themselves, at most so long; then end the rest as drained."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            for running in list(self._running.values()):
                running.stop(Ending.DRAINED)

    def statistics(self) -> HubStatistics:
        return HubStatistics(len(self._running), self._ended)
