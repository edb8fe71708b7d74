"""A transport's socket as one of Python's own: it works until the connection is lost, and closes nothing."""

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from gateway.borrowed_socket import BorrowedSocket

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [uvloop.new_event_loop, asyncio.SelectorEventLoop]


class Lender(asyncio.Protocol):
    """One side of a connection; it gives the socket back when the connection is lost, as every borrower has to."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[int] = asyncio.get_running_loop().create_future()  # the socket's inode

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.borrowed = BorrowedSocket(transport)

    def data_received(self, data: bytes) -> None:
        self.received.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        direct = self.borrowed.take()
        self.lost.set_result(0 if direct is None else os.fstat(direct.fileno()).st_ino)
        self.borrowed.give_back()


async def connected() -> tuple[Lender, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    _, lender = await asyncio.get_running_loop().connect_accepted_socket(Lender, ours)
    return lender, theirs


@pytest.mark.parametrize("new_loop", LOOPS)
def test_the_socket_is_made_once_and_does_not_wait(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        lender, theirs = await connected()
        direct = lender.borrowed.take()
        assert direct is not None
        assert direct is lender.borrowed.take()
        assert direct.gettimeout() == 0
        assert direct.fileno() == lender.borrowed.descriptor()
        assert lender.borrowed.family is socket.AF_UNIX
        direct.send(b"hello")
        assert theirs.recv(100) == b"hello"
        lender.transport.abort()
        theirs.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("ending", ["close", "abort"])
def test_the_descriptor_is_still_open_when_the_loss_is_told_and_the_socket_is_dead_afterwards(
    new_loop: Callable[[], asyncio.AbstractEventLoop], ending: str
) -> None:
    async def main() -> None:
        lender, theirs = await connected()
        direct = lender.borrowed.take()
        assert direct is not None
        number = os.fstat(direct.fileno()).st_ino
        getattr(lender.transport, ending)()
        assert lender.borrowed.descriptor() == -1  # nobody is to begin to use it
        assert await lender.lost == number
        assert lender.borrowed.take() is None
        assert lender.borrowed.family is None
        with pytest.raises(OSError, match="Bad file descriptor"):
            direct.send(b"late")
        assert theirs.recv(100) == b""
        theirs.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_borrower_that_is_freed_leaves_the_connection_open(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        lender, theirs = await connected()
        other = BorrowedSocket(lender.transport)
        assert other.take() is not None
        del other
        theirs.send(b"hello")
        assert await lender.received == b"hello"
        lender.transport.write(b"and back")
        assert theirs.recv(100) == b"and back"
        lender.transport.abort()
        theirs.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
