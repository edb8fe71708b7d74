"""The pool against a raw peer: which connections rest in it, for how long, and which never do."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.errors import UpstreamError
from gateway.upstream.connection import UpstreamConnection
from gateway.upstream.dial import Dialer, DialLimits, Origin
from gateway.upstream.pool import Pool, PoolStatistics

from .kit import Peer, Server, open_sockets, passes, until
from .lines import Recorder

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server.open() as server:
        yield server


def pool_of(server: Server, *, max_idle: int = 8, idle_seconds: float = 30.0) -> Pool:
    return Pool(
        Dialer(Origin("127.0.0.1", server.port, False, ""), DialLimits(1000, 1000)),
        max_idle=max_idle,
        idle_seconds=idle_seconds,
    )


async def exchange(connection: UpstreamConnection, peer: Peer) -> Recorder:
    recorder = Recorder()
    connection.send(REQUEST, recorder)
    await peer.request()
    peer.send(OK)
    await until(lambda: recorder.ends)
    assert recorder.ends == ["end"]
    return recorder


async def idle(pool: Pool, server: Server, count: int) -> tuple[list[UpstreamConnection], list[Peer]]:
    """`count` connections that came to rest in the order of the list, and their peers."""
    connections, peers = [], []
    for _ in range(count):
        connections.append(await pool.dial())
        peers.append(await server.peer())
    for connection, peer in zip(connections, peers, strict=True):
        await exchange(connection, peer)
    return connections, peers


async def test_an_empty_pool_has_nothing_to_take(server: Server) -> None:
    pool = pool_of(server)
    assert pool.take_nowait() is None
    assert pool.statistics() == PoolStatistics(0, 0, 0, 0)


async def test_the_newest_is_reused_first_and_statistics_tell_it(server: Server) -> None:
    pool = pool_of(server)
    connections, _ = await idle(pool, server, 3)
    assert pool.statistics() == PoolStatistics(open=3, idle=3, dialled=3, reused=0)
    assert [pool.take_nowait() for _ in range(4)] == [*reversed(connections), None]
    assert pool.statistics() == PoolStatistics(open=3, idle=0, dialled=3, reused=3)
    pool.close()
    await until(lambda: pool.statistics() == PoolStatistics(open=0, idle=0, dialled=3, reused=3))


async def test_above_max_idle_the_oldest_is_dropped(server: Server) -> None:
    pool = pool_of(server, max_idle=2)
    connections, peers = await idle(pool, server, 3)
    assert pool.statistics().idle == 2
    assert await peers[0].hung_up()
    assert [pool.take_nowait() for _ in range(3)] == [connections[2], connections[1], None]
    await until(lambda: pool.statistics().open == 2)
    pool.close()


async def test_a_pool_without_room_keeps_nothing(server: Server) -> None:
    pool = pool_of(server, max_idle=0)
    _, peers = await idle(pool, server, 1)
    assert pool.take_nowait() is None
    assert await peers[0].hung_up()
    await until(lambda: pool.statistics() == PoolStatistics(0, 0, 1, 0))
    pool.close()


async def test_what_rested_too_long_is_closed_and_what_came_later_is_not(server: Server) -> None:
    pool = pool_of(server, idle_seconds=0.15)
    (first, second), peers = await idle(pool, server, 2)
    taken = pool.take_nowait()
    assert taken is second
    await until(lambda: pool.statistics().idle == 0)
    assert not first.is_open
    assert await peers[0].hung_up()
    await exchange(second, peers[1])
    assert pool.take_nowait() is second
    await exchange(second, peers[1])
    await until(lambda: pool.statistics() == PoolStatistics(open=0, idle=0, dialled=2, reused=2))
    pool.close()


async def test_a_connection_that_the_server_closed_is_never_handed_out(server: Server) -> None:
    pool = pool_of(server)
    (first, second), peers = await idle(pool, server, 2)
    peers[1].close()
    await until(lambda: not second.is_open)
    assert pool.take_nowait() is first
    await until(lambda: pool.statistics().open == 1)
    peers[0].reset()
    await until(lambda: pool.statistics().open == 0)
    assert pool.take_nowait() is None
    pool.close()


async def test_an_idle_connection_that_the_server_closed_leaves_the_statistics(server: Server) -> None:
    pool = pool_of(server)
    _, peers = await idle(pool, server, 3)
    peers[1].close()
    await until(lambda: pool.statistics() == PoolStatistics(open=2, idle=2, dialled=3, reused=0))
    pool.close()


async def test_a_connection_that_spoke_while_idle_is_never_handed_out(server: Server) -> None:
    pool = pool_of(server)
    _, peers = await idle(pool, server, 1)
    peers[0].send(OK)
    await until(lambda: pool.statistics() == PoolStatistics(open=0, idle=0, dialled=1, reused=0))
    assert pool.take_nowait() is None
    pool.close()


async def test_an_aborted_connection_never_returns(server: Server) -> None:
    pool = pool_of(server)
    connection = await pool.dial()
    peer = await server.peer()
    recorder = Recorder()
    connection.send(REQUEST, recorder)
    peer.send(OK[:-1])
    await until(lambda: recorder.body)
    connection.abort()
    peer.send(OK[-1:])
    assert await peer.hung_up()
    await until(lambda: pool.statistics() == PoolStatistics(0, 0, 1, 0))
    assert pool.take_nowait() is None
    pool.close()


async def test_a_connection_goes_back_once_for_each_exchange(server: Server) -> None:
    pool = pool_of(server)
    _, peers = await idle(pool, server, 1)
    for _ in range(20):
        connection = pool.take_nowait()
        assert connection is not None
        await exchange(connection, peers[0])
        assert pool.statistics().idle == 1
    assert pool.statistics() == PoolStatistics(open=1, idle=1, dialled=1, reused=20)
    pool.close()


async def test_close_closes_idle_and_busy_connections_and_tells_the_busy_ones(server: Server) -> None:
    pool = pool_of(server)
    _, peers = await idle(pool, server, 2)
    busy = pool.take_nowait()
    assert busy is not None
    recorder = Recorder()
    busy.send(REQUEST, recorder)
    pool.close()
    pool.close()
    assert all([await peer.hung_up() for peer in peers])
    await until(lambda: pool.statistics().open == 0)
    assert recorder.ends == ["lost"]
    assert recorder.untouched is False
    assert pool.take_nowait() is None


async def test_nothing_rests_in_a_closed_pool(server: Server) -> None:
    pool = pool_of(server)
    connection = await pool.dial()
    peer = await server.peer()
    recorder = Recorder(lambda name: pool.close() if name == "head" else None)
    connection.send(REQUEST, recorder)
    peer.send(OK)
    await until(lambda: recorder.ends)
    assert await peer.hung_up()
    await until(lambda: pool.statistics() == PoolStatistics(0, 0, 1, 0))


async def test_a_dial_that_ends_after_the_close_leaves_no_connection(server: Server) -> None:
    pool = pool_of(server)
    dial = asyncio.ensure_future(pool.dial())
    await passes(1)
    pool.close()
    with pytest.raises(UpstreamError):
        await dial
    peer = await server.peer()
    assert await peer.hung_up()
    assert pool.statistics().open == 0


async def test_a_thousand_exchanges_leak_no_descriptor(server: Server) -> None:
    pool = pool_of(server, max_idle=2)
    await idle(pool, server, 1)
    before = open_sockets()
    pool.close()
    for _ in range(100):
        pool = pool_of(server, max_idle=2)
        connections, peers = await idle(pool, server, 3)
        for connection, peer in zip(connections[1:], peers[1:], strict=True):
            assert pool.take_nowait() is not None
            await exchange(connection, peer)
        pool.close()
        for peer in peers:
            await peer.hung_up()
            peer.close()
    await until(lambda: open_sockets() <= before)
