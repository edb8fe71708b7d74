"""Connections of aiohttp's server on socket pairs, without a port."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web

PATIENCE = 10.0

P = TypeVar("P", bound=web.RequestHandler)


@dataclass(frozen=True, slots=True)
class Peer:
    """The client's end of a connection."""

    socket: socket.socket

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def until(self, mark: bytes) -> bytes:
        """The bytes that come, up to the piece that brings `mark`, which is included."""
        received = b""
        async with asyncio.timeout(PATIENCE):
            while mark not in received:
                data = await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16)
                assert data, received
                received += data
        return received

    async def rest(self) -> bytes:
        """The bytes that come until the server closes the connection."""
        received = b""
        async with asyncio.timeout(PATIENCE):
            while data := await asyncio.get_running_loop().sock_recv(self.socket, 1 << 16):
                received += data
        return received


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until this is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the work of the server makes it true
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def connected(
    build: Callable[[web.Server], P], handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
) -> AsyncIterator[tuple[Peer, P]]:
    """A connection of the protocol that `build` makes; `handler` answers what aiohttp serves."""
    loop = asyncio.get_running_loop()
    server = web.Server(handler)
    near, far = socket.socketpair()
    near.setblocking(False)
    with near:
        _, protocol = await loop.connect_accepted_socket(lambda: build(server), far)
        try:
            yield Peer(near), protocol
        finally:
            await server.shutdown(0.1)
            await until(lambda: protocol.transport is None)
