"""Shell: the streams of this process, by id."""

import asyncio
from dataclasses import dataclass

from gateway.errors import Ending
from gateway.stream.stream import Stream


@dataclass(frozen=True, slots=True)
class HubStatistics:
    running: int
    ended: int


class Hub:
    """Knows every stream that runs. A stream enters at its start and leaves at its end."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}
        self._ended = 0
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, stream: Stream) -> None:
        self._streams[stream.id] = stream
        self._empty.clear()

    def remove(self, stream_id: str) -> None:
        """Forget a stream; unknown ids are fine, so that an end may be told twice."""
        if self._streams.pop(stream_id, None) is not None:
            self._ended += 1
        if not self._streams:
            self._empty.set()

    async def drain(self, seconds: float) -> None:
        """Wait until the streams have ended by themselves, at most so long; then end the rest as drained."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            for stream in list(self._streams.values()):
                stream.stop(Ending.DRAINED)

    def statistics(self) -> HubStatistics:
        return HubStatistics(len(self._streams), self._ended)
