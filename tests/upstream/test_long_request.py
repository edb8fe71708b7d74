"""A request with a long body is written bit by bit, whole and in order, and let go of when nobody needs it."""

import asyncio
import socket

import orjson
import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.request_body import SENT_AT_ONCE_BYTES, LongContent
from gateway.simulate import Provider
from gateway.upstream.long_request import BYTES_IN_A_TURN, LongRequest
from gateway.upstream.pool import PoolStatistics
from tests.kit.certificates import Certificates, server_context

from . import kit
from .faults import FAST
from .kit import Trial, close, endpoint, passes, until
from .lines import Line, Recorder
from .responses import LENGTH

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")
SIZE = 12_000_000
HEAD = b"POST / HTTP/1.1\r\n\r\n"


def long_content(size: int = SIZE) -> LongContent:
    words = "".join(f"{number} " for number in range(size // 7 + 1))[:size]
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": words}]})
    content = CHAT.parse(body).upstream_body("up", streamed=True, include_usage=True)
    assert isinstance(content, LongContent)
    return content


async def received(peer: socket.socket, size: int) -> bytes:
    """So many bytes that the peer gets, read slowly enough that its window is full most of the time."""
    data = bytearray()
    while len(data) < size:
        data += await asyncio.get_running_loop().sock_recv(peer, 100_000)
    return bytes(data)


async def test_a_long_request_arrives_whole_and_in_order() -> None:
    content = long_content()
    buffers = list(content.buffers())
    assert max(map(len, buffers)) <= SENT_AT_ONCE_BYTES <= BYTES_IN_A_TURN
    wanted = HEAD + b"".join(buffers)
    assert len(wanted) == len(HEAD) + len(content)
    async with Line.open() as line:
        line.peer.setblocking(False)
        recorder = Recorder()
        line.connection.send(LongRequest(HEAD, content), recorder)
        assert await received(line.peer, len(wanted)) == wanted
        await passes(3)
        line.peer.sendall(LENGTH)
        await until(lambda: recorder.ends)
        assert (recorder.body, recorder.ends, len(line.idle)) == (b"hello world", ["end"], 1)


async def test_an_answer_that_overtakes_its_long_request_ends_the_connection() -> None:
    async with Line.open() as line:
        recorder = Recorder()
        line.connection.send(LongRequest(HEAD, long_content()), recorder)
        await passes(3)
        line.peer.sendall(LENGTH)
        await until(lambda: recorder.ends)
        assert (recorder.body, recorder.ends, line.idle) == (b"hello world", ["end"], [])
        await until(lambda: line.lost)


async def test_a_long_request_that_is_given_up_is_written_no_further() -> None:
    async with Line.open() as line:
        content = long_content()
        line.connection.send(LongRequest(HEAD, content), Recorder())
        await passes(2)
        line.connection.abort()
        await until(lambda: line.lost)
        line.connection.resume_writing()
        line.peer.settimeout(5)
        total = 0
        try:
            while data := line.peer.recv(1 << 20):
                total += len(data)
        except ConnectionResetError:
            pass
        assert total < len(content)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_long_requests_are_answered_and_keep_their_connection(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tls: bool
) -> None:
    monkeypatch.setattr(kit, "PROMPT", "x" * 3_000_000)
    context = server_context(certificates.good) if tls else None
    provider = await Provider.start(script=FAST, ssl=context)
    to = endpoint(provider.base_url, tls_ca_file=str(certificates.authority) if tls else None)
    try:
        for _ in range(2):
            trial = await Trial.run(to)
            assert trial.observer.outcome == ["content", "complete"]
            await until(lambda: to.pool.statistics().idle == 1)
        assert to.pool.statistics() == PoolStatistics(open=1, idle=1, dialled=1, reused=1)
        sent = provider.statistics().last_request
        assert sent is not None
        assert sent["body"]["messages"][0]["content"] == "x" * 3_000_000
        await close(to)
    finally:
        await provider.close()
        await passes(10)
