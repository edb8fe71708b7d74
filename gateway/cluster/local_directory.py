"""Pure: the directory of a gateway of one process: every stream is in its hub, or nowhere."""

from gateway.cluster.directory import Place
from gateway.stream.hub import Hub
from gateway.stream.production import Production


class LocalDirectory:
    """The directory of one process (`Directory`), which always answers at once.

    A claim needs no entry of its own: the stream is in the hub before the call that was granted the key returns.
    """

    answers_at_once = True

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def find_key(self, owner: str, key: str) -> Place:
        return self._hub.find_key(owner, key)

    def claim(self, owner: str, key: str) -> Place:
        return self._hub.find_key(owner, key)

    def release(self, owner: str, key: str) -> None: ...

    def here(self, stream_id: str) -> Production | None:
        return self._hub.find(stream_id)

    async def where(self, stream_id: str) -> Place:
        return self._hub.find(stream_id)
