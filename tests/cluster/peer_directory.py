"""A directory that knows of peers: the second implementation, which proves that the protocol is one.

It answers a turn of the loop later, as the directory of a worker will, which asks the steward.
"""

import asyncio
from collections.abc import Awaitable

from gateway.cluster.directory import Peer, Place
from gateway.stream.hub import Hub
from gateway.stream.production import Production


class PeerDirectory:
    """The directory of one of several processes (`Directory`); `claims`, `streams`: what all of them share."""

    answers_at_once = False

    def __init__(
        self, name: str, hub: Hub, claims: dict[tuple[str, str], str], streams: dict[str, str] | None = None
    ) -> None:
        self._name = name
        self._hub = hub
        self._claims = claims
        self._streams = streams or {}
        self.waits = 0  # how many claims had to wait

    def find_key(self, owner: str, key: str) -> Place:
        return self._hub.find_key(owner, key)

    def claim(self, owner: str, key: str) -> Place | Awaitable[Place]:
        return self._claim(owner, key)

    def release(self, owner: str, key: str) -> None:
        if self._claims.get((owner, key)) == self._name and self._hub.find_key(owner, key) is None:
            del self._claims[owner, key]

    def here(self, stream_id: str) -> Production | None:
        return self._hub.find(stream_id)

    async def where(self, stream_id: str) -> Place:
        await asyncio.sleep(0)
        if (production := self._hub.find(stream_id)) is not None:
            return production
        return Peer(self._streams[stream_id]) if stream_id in self._streams else None

    async def _claim(self, owner: str, key: str) -> Place:
        self.waits += 1
        await asyncio.sleep(0)
        name = self._claims.setdefault((owner, key), self._name)
        return Peer(name) if name != self._name else self._hub.find_key(owner, key)
