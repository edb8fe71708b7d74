"""Shell: the floor of a proxy in Python: two protocols that pass bytes on, and know only where an answer ends.

    python -m bench.kit.bare_proxy PORT UPSTREAM_PORT

A request goes on as the bytes that one read brought; the answer as the bytes of each read, until the last chunk. It
reads no head and no event, knows no errors and keeps nothing: the rest is what a gateway costs.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import cast

import uvloop

LAST_CHUNK = b"0\r\n\r\n"


class Upstream(asyncio.Protocol):
    """A kept connection to the upstream."""

    def __init__(self, idle: list["Upstream"]) -> None:
        self._idle = idle
        self.client: asyncio.WriteTransport | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.client is not None:
            self.client.write(data)
            if data.endswith(LAST_CHUNK):
                self.client = None
                self._idle.append(self)


class Client(asyncio.Protocol):
    """The connection of a client."""

    def __init__(self, idle: list[Upstream], dial: Callable[[], Awaitable[Upstream]]) -> None:
        self._idle = idle
        self._dial = dial
        self._dialing: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._idle:
            self._send(self._idle.pop(), data)
        else:
            self._dialing = asyncio.get_running_loop().create_task(self._send_anew(data))

    async def _send_anew(self, data: bytes) -> None:
        self._send(await self._dial(), data)

    def _send(self, upstream: Upstream, data: bytes) -> None:
        upstream.client = self._transport
        upstream.transport.write(data)


async def serve(port: int, upstream_port: int) -> None:
    loop, idle = asyncio.get_running_loop(), list[Upstream]()

    async def dial() -> Upstream:
        _, upstream = await loop.create_connection(lambda: Upstream(idle), "127.0.0.1", upstream_port)
        return upstream

    server = await loop.create_server(lambda: Client(idle, dial), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
