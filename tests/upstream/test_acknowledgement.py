"""What the kernel is told about acknowledgements, read back from the socket of a real connection."""

import socket

import pytest

from gateway.borrowed_socket import BorrowedSocket
from gateway.upstream import connection
from gateway.upstream.acknowledgement import acknowledge

from .kit import STREAM_HEAD, Server, Trial, close, endpoint, passes, until, word
from .lines import Line

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

HELLO = b"%x\r\n%b\r\n" % (len(word("hello")), word("hello"))
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def hold_back(line: Line) -> None:
    """Bring the kernel into the state in which it delays acknowledgements, as behind a request and its answer."""
    line.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)


def holds_back(line: Line) -> bool:
    own = line.transport.get_extra_info("socket")
    return not own.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)


async def test_the_kernel_can_be_told_not_to_wait() -> None:
    async with Line.open() as line:
        hold_back(line)
        assert holds_back(line)
        acknowledge(BorrowedSocket(line.transport))
        assert not holds_back(line)
        line.ask()  # the descriptor was borrowed, not closed
        assert line.peer.recv(3) == b"GET"


async def test_while_a_first_token_is_waited_for_nothing_is_held_back() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        hold_back(line)
        line.peer.sendall(HEAD)
        await until(lambda: recorder.status)
        assert holds_back(line)  # nobody has told the connection that a first token is waited for
        line.connection.set_urgent(True)
        line.peer.sendall(b"5\r\nhello\r\n")
        await until(lambda: recorder.body)
        assert not holds_back(line)


async def test_an_answer_that_is_over_leaves_no_hurry_behind() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(HEAD)
        line.connection.set_urgent(True)
        line.connection.data_received(b"0\r\n\r\n")
        assert recorder.ends == ["end"]
        assert not line.connection.is_urgent


async def test_a_connection_that_was_given_up_is_told_nothing() -> None:
    async with Line.open() as line:
        line.ask()
        line.connection.data_received(HEAD)
        line.connection.set_urgent(True)
        line.connection.abort()
        line.connection.data_received(b"5\r\nhello\r\n")
        await until(lambda: line.lost)


async def test_an_attempt_hurries_its_upstream_if_the_head_comes_without_content(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[BorrowedSocket] = []
    monkeypatch.setattr(connection, "acknowledge", found.append)
    to = endpoint(server.base_url)
    for first, hurries in ((STREAM_HEAD, 1), (STREAM_HEAD + HELLO, 0)):
        trial = Trial(to)
        peer = await server.peer()
        await peer.request()
        peer.send(first)
        await until(lambda: trial.attempt.marks.head is not None)  # noqa: B023
        await passes(3)
        peer.send(HELLO)
        await until(lambda: trial.observer.outcome == ["content"])  # noqa: B023
        assert len(found) == hurries
        found.clear()
        trial.attempt.cancel()
    await close(to)
