"""Shell: the hub: the streams of this process by their ids, running or kept for a while after their end.

Completions that are not streamed are here only while they run, so that a drain waits for them too.
"""

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gateway.endings import Ending
from gateway.stream.stream import Stream, StreamStatistics

DRAIN_LOOK_SECONDS = 0.02  # how often a drain looks whether the ended streams have been sent to all their subscribers

_log = logging.getLogger("rivergate.stream")


class Running(Protocol):
    """A completion or a feed that runs and can be ended."""

    id: str

    def stop(self, ending: Ending) -> None:
        """End it for this reason."""


class Production(Running, Protocol):
    """A stream together with its producer."""

    stream: Stream
    owner: str  # whose it is: the id of an API key, "" for the machine's own users
    key: str | None  # the X-Stream-Key of its request
    fingerprint: bytes  # the digest of its request; another request with this key is refused
    announced: bool  # a client was told its id, and may ask for it after its end

    def headers(self) -> dict[str, str]:
        """The response headers that say who answers; empty while that is not known."""

    def describe(self) -> dict[str, Any]:
        """The JSON object of `GET /v1/streams/{id}`."""


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """Counts of all streams; `deliveries` and the fields below it are sums over all streams that there ever were."""

    running: int
    ended: int
    kept: int
    kept_bytes: int
    deliveries: int
    sends: int
    lagged_subscribers: int
    orphan_seconds: float


@dataclass(frozen=True, slots=True)
class _Kept:
    """A stream that has ended and is kept for replay."""

    until: float  # on the loop's clock
    bytes: int  # the size of its log when it ended


@dataclass(slots=True)
class _Sums:
    """Sums over streams that have been."""

    deliveries: int = 0
    sends: int = 0
    lagged_subscribers: int = 0
    orphan_seconds: float = 0.0

    def add(self, numbers: StreamStatistics) -> None:
        self.deliveries += numbers.deliveries
        self.sends += numbers.sends
        self.lagged_subscribers += numbers.lagged_subscribers
        self.orphan_seconds += numbers.orphan_seconds


class Hub:
    """All streams of this process: each is known from its start on, kept for replay after its end, then forgotten."""

    def __init__(self, retain_seconds: float, max_retained_bytes: int) -> None:
        self._retain_seconds = retain_seconds
        self._max_retained_bytes = max_retained_bytes
        self._running: dict[str, Running] = {}
        self._streams: dict[str, Production] = {}  # running and kept
        self._by_key: dict[tuple[str, str], Production] = {}
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # by stream id; what ended first stands first
        self._kept_bytes = 0
        self._ended = 0
        self._forgotten: list[Production] = []  # streams that can no longer be found, but still have subscribers
        self._gone = _Sums()  # the sums of the streams that can no longer be found and have no subscribers
        self._sweep: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, running: Running) -> None:
        """Register a completion that begins and is not streamed."""
        self._running[running.id] = running
        self._empty.clear()

    def add_stream(self, production: Production) -> None:
        """Register a stream that begins; it can be found from now on."""
        self.add(production)
        self._streams[production.id] = production
        if production.key is not None:
            self._by_key[production.owner, production.key] = production

    def end(self, running_id: str) -> None:
        """Take the end of a completion, and keep its stream for replay. A second end of the same id is ignored."""
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
        """All streams that can be found, oldest first."""
        return list(self._streams.values())

    async def drain(self, seconds: float) -> None:
        """Wait until all streams have ended and been sent to their subscribers; after `seconds` end the rest."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
                # A look now and then instead of an event: no subscriber tells the hub that it has left.
                while any(production.stream.subscribers for production in self._all()):  # noqa: ASYNC110
                    await asyncio.sleep(DRAIN_LOOK_SECONDS)
        except TimeoutError:
            for running in list(self._running.values()):
                try:
                    running.stop(Ending.DRAINED)
                except Exception:  # it is settled nevertheless, and must not keep the others running
                    _log.exception("a completion failed to end", extra={"fields": {"stream_id": running.id}})

    def close(self) -> None:
        """Forget all streams that have ended."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        while self._kept:
            self._forget_oldest()

    def statistics(self) -> HubStatistics:
        productions = self._all()
        sums = replace(self._gone)
        for production in productions:
            sums.add(production.stream.statistics())
        return HubStatistics(
            running=len(self._running),
            ended=self._ended,
            kept=len(self._kept),
            kept_bytes=self._kept_bytes,
            deliveries=sums.deliveries,
            sends=sums.sends,
            lagged_subscribers=sums.lagged_subscribers,
            orphan_seconds=sums.orphan_seconds,
        )

    def _all(self) -> list[Production]:
        """All streams that can be found, and all forgotten streams that still have subscribers."""
        self._sum_up_forgotten()
        return [*self._streams.values(), *self._forgotten]

    def _sum_up_forgotten(self) -> None:
        """Let go of the forgotten streams without subscribers, and add what they did to the sums."""
        still_sent = []
        for production in self._forgotten:
            if production.stream.subscribers:
                still_sent.append(production)
            else:
                self._gone.add(production.stream.statistics())
        self._forgotten = still_sent

    def _keep(self, stream_id: str) -> None:
        now = asyncio.get_running_loop().time()
        size = self._streams[stream_id].stream.log.bytes
        self._kept[stream_id] = _Kept(now + self._retain_seconds, size)
        self._kept_bytes += size
        while self._kept and (self._kept_bytes > self._max_retained_bytes or self._retain_seconds <= 0):
            self._forget_oldest()
        if self._kept and self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._retain_seconds, self._forget_expired)

    def _forget_expired(self) -> None:
        self._sweep = None
        loop = asyncio.get_running_loop()
        while self._kept and next(iter(self._kept.values())).until <= loop.time() + 0.001:
            self._forget_oldest()
        if self._kept:
            self._sweep = loop.call_at(next(iter(self._kept.values())).until, self._forget_expired)

    def _forget_oldest(self) -> None:
        stream_id, kept = self._kept.popitem(last=False)
        self._kept_bytes -= kept.bytes
        self._forget(self._streams[stream_id])

    def _forget(self, production: Production) -> None:
        del self._streams[production.id]
        self._forgotten.append(production)
        self._sum_up_forgotten()
        if production.key is not None and self._by_key.get((production.owner, production.key)) is production:
            del self._by_key[production.owner, production.key]
