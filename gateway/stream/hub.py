"""Shell: the streams of this process, by id: those that run, and for a while those that have ended.

Completions that are not streamed are here only while they run, so that a drain waits for them too.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.endings import Ending
from gateway.stream.stream import Stream, StreamStatistics

DRAIN_GRAIN = 0.02  # seconds between two looks whether everybody has read what has ended


class Running(Protocol):
    """Something that runs and can be ended."""

    id: str

    def stop(self, ending: Ending) -> None: ...


class Production(Running, Protocol):
    """A stream with what makes it."""

    stream: Stream
    owner: str  # whose it is: the id of an API key, "" for the machine's own users
    key: str | None  # X-Stream-Key
    fingerprint: bytes  # of the request
    announced: bool  # somebody was told its id

    def headers(self) -> dict[str, str]:
        """Who answers, as response headers; nothing while that is not known."""

    def describe(self) -> dict[str, Any]:
        """The stream as `GET /v1/streams/{id}` tells it."""


@dataclass(frozen=True, slots=True)
class HubStatistics:
    running: int
    ended: int
    kept: int
    kept_bytes: int
    # Over all streams there ever were:
    deliveries: int
    sends: int
    lagged_readers: int
    orphan_seconds: float


@dataclass(slots=True)
class _Gone:
    """What streams did that are forgotten."""

    deliveries: int = 0
    sends: int = 0
    lagged_readers: int = 0
    orphan_seconds: float = 0.0

    def add(self, numbers: StreamStatistics) -> None:
        self.deliveries += numbers.deliveries
        self.sends += numbers.sends
        self.lagged_readers += numbers.lagged_readers
        self.orphan_seconds += numbers.orphan_seconds


class Hub:
    """Knows every stream. It enters at its start, is kept after its end for replay, and leaves in the end."""

    def __init__(self, retain_seconds: float, max_retained_bytes: int) -> None:
        self._retain_seconds = retain_seconds
        self._max_retained_bytes = max_retained_bytes
        self._running: dict[str, Running] = {}
        self._streams: dict[str, Production] = {}  # running and kept
        self._by_key: dict[tuple[str, str], Production] = {}
        # Ended, oldest first, with the time of leaving and the bytes that were counted.
        self._kept: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._kept_bytes = 0
        self._ended = 0
        self._forgotten: list[Production] = []  # not to be found any more, and still read
        self._gone = _Gone()
        self._sweep: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, running: Running) -> None:
        """A completion that is not streamed begins."""
        self._running[running.id] = running
        self._empty.clear()

    def add_stream(self, production: Production) -> None:
        """A stream begins; it can be found from now on."""
        self.add(production)
        self._streams[production.id] = production
        if production.key is not None:
            self._by_key[production.owner, production.key] = production

    def end(self, running_id: str) -> None:
        """One has ended; a stream is kept for replay. Unknown ids are fine, so that an end may be told twice."""
        if self._running.pop(running_id, None) is None:
            return
        self._ended += 1
        if not self._running:
            self._empty.set()
        if (production := self._streams.get(running_id)) is None:
            return
        if production.announced or production.key is not None:
            self._keep(running_id)
        else:
            self._forget(production)

    def find(self, stream_id: str) -> Production | None:
        return self._streams.get(stream_id)

    def find_key(self, owner: str, key: str) -> Production | None:
        return self._by_key.get((owner, key))

    def streams(self) -> list[Production]:
        """All that can be found, oldest first."""
        return list(self._streams.values())

    async def drain(self, seconds: float) -> None:
        """Wait until all have ended by themselves and been read, at most so long; then end the rest as drained."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
                # Looked at now and then: no reader tells the hub that it has left.
                while any(one.stream.readers for one in (*self._streams.values(), *self._still_read())):  # noqa: ASYNC110
                    await asyncio.sleep(DRAIN_GRAIN)
        except TimeoutError:
            for running in list(self._running.values()):
                running.stop(Ending.DRAINED)

    def close(self) -> None:
        """Forget all that has ended."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._kept:
            self._forget_oldest()

    def statistics(self) -> HubStatistics:
        numbers = [one.stream.statistics() for one in (*self._streams.values(), *self._still_read())]
        gone = self._gone
        return HubStatistics(
            len(self._running),
            self._ended,
            len(self._kept),
            self._kept_bytes,
            gone.deliveries + sum(one.deliveries for one in numbers),
            gone.sends + sum(one.sends for one in numbers),
            gone.lagged_readers + sum(one.lagged_readers for one in numbers),
            gone.orphan_seconds + sum(one.orphan_seconds for one in numbers),
        )

    def _still_read(self) -> list[Production]:
        """The forgotten that somebody still reads; what the others did is counted for good."""
        for production in self._forgotten:
            if not production.stream.readers:
                self._gone.add(production.stream.statistics())
        self._forgotten = [one for one in self._forgotten if one.stream.readers]
        return self._forgotten

    def _keep(self, stream_id: str) -> None:
        now = asyncio.get_running_loop().time()
        size = self._streams[stream_id].stream.log.bytes
        self._kept[stream_id] = (now + self._retain_seconds, size)
        self._kept_bytes += size
        while self._kept and (self._kept_bytes > self._max_retained_bytes or self._retain_seconds <= 0):
            self._forget_oldest()
        if self._kept and self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._retain_seconds, self._forget_expired)

    def _forget_expired(self) -> None:
        self._sweep = None
        loop = asyncio.get_running_loop()
        while self._kept and next(iter(self._kept.values()))[0] <= loop.time() + 0.001:
            self._forget_oldest()
        if self._kept:
            self._sweep = loop.call_at(next(iter(self._kept.values()))[0], self._forget_expired)

    def _forget_oldest(self) -> None:
        stream_id, (_, size) = self._kept.popitem(last=False)
        self._kept_bytes -= size
        self._forget(self._streams[stream_id])

    def _forget(self, production: Production) -> None:
        del self._streams[production.id]
        self._forgotten.append(production)
        self._still_read()
        if production.key is not None and self._by_key.get((production.owner, production.key)) is production:
            del self._by_key[production.owner, production.key]
