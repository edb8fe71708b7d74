"""What the kernel is told about acknowledgements, read back from the socket of a real connection."""

import asyncio
import socket
import sys

import pytest

from gateway.simulate import Provider
from gateway.upstream import acknowledgement

from .fakes import Line, Trial, close, endpoint, until
from .faults import FAST

pytestmark = [
    pytest.mark.usefixtures("leaves_nothing_behind"),
    pytest.mark.skipif(sys.platform != "linux", reason="TCP_QUICKACK is Linux's"),
]

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def acknowledges_at_once(line: Line) -> bool:
    """The option as the kernel tells it: false while it holds acknowledgements back."""
    own = line.transport.get_extra_info("socket")
    return bool(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK))


async def test_a_connection_can_be_told_both() -> None:
    async with Line.open() as line:
        acknowledgement.sparingly(line.transport)
        assert not acknowledges_at_once(line)
        acknowledgement.at_once(line.transport)
        assert acknowledges_at_once(line)
        line.ask()  # the descriptor was borrowed, not closed
        assert line.peer.recv(3) == b"GET"


async def test_while_a_first_token_is_waited_for_nothing_is_held_back() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        acknowledgement.sparingly(line.transport)
        line.peer.sendall(HEAD)
        await until(lambda: recorder.status)
        assert not acknowledges_at_once(line)  # nobody has said that it waits
        line.connection.is_urgent = True
        line.peer.sendall(b"5\r\nhello\r\n")
        await until(lambda: recorder.body)
        assert acknowledges_at_once(line)


async def test_an_answer_that_is_over_leaves_no_hurry_behind() -> None:
    async with Line.open() as line:
        recorder = line.ask()
        line.connection.data_received(HEAD)
        line.connection.is_urgent = True
        line.connection.data_received(b"0\r\n\r\n")
        assert recorder.ends == ["end"]
        assert not line.connection.is_urgent


@pytest.mark.parametrize("is_loaded", [False, True])
async def test_tokens_are_acknowledged_sparingly_under_load_alone(is_loaded: bool) -> None:
    async with Line.open() as line:
        acknowledgement.at_once(line.transport)
        line.pace.is_loaded = is_loaded
        line.connection.on_flow()
        assert acknowledges_at_once(line) is not is_loaded


async def test_a_connection_that_is_gone_is_told_nothing() -> None:
    async with Line.open() as line:
        line.pace.is_loaded = True
        line.connection.abort()
        line.connection.on_flow()
        await until(lambda: line.lost)
        line.connection.on_flow()


async def test_an_attempt_hurries_its_upstream_from_the_head_to_the_first_content(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[asyncio.BaseTransport] = []
    monkeypatch.setattr(acknowledgement, "at_once", told.append)
    provider.script = FAST.replace({"ttft_ms": 30, "head_ms": 10, "text": "one two three", "gap_ms": 5})
    to = endpoint(provider.base_url)
    trial = await Trial.run(to)
    assert trial.observer.outcome == ["content", "complete"]
    assert 1 <= len(told) <= 2  # behind the head, and the role if that came later; not behind the three tokens
    await close(to)
