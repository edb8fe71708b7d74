"""Pairs of connected sockets, and both event loops to run them in."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

PATIENCE = 5.0  # seconds after which a wait fails; a test that passes never waits this long
SMALL = 4608  # bytes: about the least that Linux gives a socket's buffer

_RST_ON_CLOSE = struct.pack("ii", 1, 0)

Run = Callable[[Any], Any]

_opened: list[socket.socket] = []


def unix_pair(buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Our socket and the client's; `buffer`: how many bytes the kernel takes from us."""
    ours, client = socket.socketpair()
    return _prepared(ours, client, buffer)


def tcp_pair(buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Our socket and the client's over TCP, for what only TCP has: resets, and a window that limits the room."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.socket()
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.connect(listening.getsockname())
        ours, _ = listening.accept()
    return _prepared(ours, client, buffer)


def _prepared(ours: socket.socket, client: socket.socket, buffer: int | None) -> tuple[socket.socket, socket.socket]:
    if buffer is not None:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    ours.setblocking(False)
    client.setblocking(False)
    _opened.extend((ours, client))
    return ours, client


def close_all() -> None:
    """Close what a test has left open; closing twice is fine."""
    while _opened:
        _opened.pop().close()


def reset(client: socket.socket) -> None:
    """Close the client's socket with an RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
    client.close()


async def until(condition: Callable[[], object]) -> None:
    """Return when the condition holds; the event loop's own work makes it hold."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  (no event tells when a socket or a pass is done)
            await asyncio.sleep(0)


async def passes(count: int = 5) -> None:
    """Let the event loop make `count` passes."""
    for _ in range(count):
        await asyncio.sleep(0)


async def receive(client: socket.socket, size: int) -> bytes:
    """The next `size` bytes that the client is sent."""
    loop, data = asyncio.get_running_loop(), b""
    async with asyncio.timeout(PATIENCE):
        while len(data) < size:
            more = await loop.sock_recv(client, size - len(data))
            assert more, f"the connection ended after {len(data)} of {size} bytes"
            data += more
    return data


async def receive_all(client: socket.socket) -> bytes:
    """Everything up to the end of the connection; a reset is an error."""
    loop, data = asyncio.get_running_loop(), b""
    async with asyncio.timeout(PATIENCE):
        while more := await loop.sock_recv(client, 1 << 16):
            data += more
    return data
