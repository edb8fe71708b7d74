"""When the connection of an attempt is used again, and when the request is sent again."""

import pytest

from gateway.errors import GatewayError
from gateway.simulate import Provider
from gateway.upstream.attempt_phases import LINGER_SECONDS
from gateway.upstream.pool import PoolStatistics

from .faults import FAST
from .kit import (
    BOUND,
    DONE,
    FINISH,
    LAST_CHUNK,
    ROLE,
    STREAM_HEAD,
    Observer,
    Server,
    Trial,
    close,
    endpoint,
    until,
    used,
    word,
)

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


async def test_a_connection_is_reused_after_done_when_the_body_ends_in_time(provider: Provider) -> None:
    provider.script = FAST.replace({"hold_body_ms": 100})
    to = endpoint(provider.base_url)
    for _ in range(3):
        trial = await Trial.run(to)
        assert trial.observer.outcome == ["content", "complete"]
        assert to.pool.statistics().idle == 0
        await until(lambda: to.pool.statistics().idle == 1)
    assert to.pool.statistics() == PoolStatistics(open=1, idle=1, dialled=1, reused=2)
    assert provider.statistics().connections_accepted == 1
    await close(to)


async def test_a_connection_whose_body_lingers_after_done_is_closed(provider: Provider) -> None:
    provider.script = FAST.replace({"hold_body_ms": 60_000})
    to = endpoint(provider.base_url)
    trial = await Trial.run(to)
    completed = trial.observer.last_at
    await until(lambda: provider.statistics().aborted == 1)
    assert LINGER_SECONDS * 0.9 <= provider.statistics().aborts[0]["at"] - completed < LINGER_SECONDS + BOUND
    assert trial.observer.outcome == ["content", "complete"]
    await until(lambda: to.pool.statistics() == PoolStatistics(0, 0, 1, 0))
    await close(to)


async def test_what_follows_done_is_not_relayed(server: Server) -> None:
    to = endpoint(server.base_url)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"), FINISH, DONE, word("b"))
    peer.chunk(word("c"))
    peer.send(LAST_CHUNK)
    await until(lambda: to.pool.statistics().idle == 1)
    assert trial.observer.outcome == ["content", "complete"]
    assert trial.observer.text == "a"
    await close(to)


async def test_the_last_events_do_not_wait_with_an_end_that_has_no_share_of_its_turn(server: Server) -> None:
    to = endpoint(server.base_url)
    trials: list[Trial] = []

    def spend(call: str) -> None:
        if call == "content":
            trials[0].tasks.share.take_rest()

    trials.append(Trial(to, observer=Observer(spend)))
    peer, observer = await server.peer(), trials[0].observer
    await peer.request()
    peer.events(ROLE, word("a"), FINISH, DONE)
    await observer.over()
    assert observer.calls == ["content", "frames", "frames", "complete"]
    assert observer.frames == [ROLE, word("a"), FINISH]
    await close(to)


async def test_a_connection_is_free_for_the_next_request_when_the_end_came_with_done(server: Server) -> None:
    to = endpoint(server.base_url)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"))
    await until(lambda: trial.observer.frames != [])
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in (FINISH, DONE))
    peer.send(chunks + LAST_CHUNK)
    await trial.observer.over()
    assert to.pool.statistics().idle == 1
    assert trial.observer.frames == [ROLE, word("a"), FINISH]
    await close(to)


async def test_a_loss_while_lingering_is_not_reported(server: Server) -> None:
    to = endpoint(server.base_url)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"), FINISH, DONE)
    await trial.observer.over()
    peer.reset()
    await until(lambda: to.pool.statistics().open == 0)
    assert trial.observer.outcome == ["content", "complete"]
    await close(to)


async def test_an_error_answer_leaves_the_connection_for_the_next_request(provider: Provider) -> None:
    to = endpoint(provider.base_url)
    for status in (500, 429, 400, 401):
        provider.script = FAST.replace({"status": status})
        await Trial.run(to)
        await until(lambda: to.pool.statistics().idle == 1)
    assert provider.statistics().connections_accepted == 1
    await close(to)


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_dead_pooled_connection_costs_one_silent_retry(server: Server, way: str) -> None:
    to = endpoint(server.base_url)
    old = await used(server, to)
    trial = Trial(to)
    request = await old.request()
    getattr(old, way)()
    new = await server.peer()
    assert await new.request() == request
    new.events(ROLE, word("b"), FINISH, DONE)
    await trial.observer.over()
    assert trial.observer.outcome == ["content", "complete"]
    assert trial.observer.text == "b"
    assert server.accepted == 2
    await close(to)


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_second_death_is_a_failure(server: Server, way: str) -> None:
    to = endpoint(server.base_url)
    old = await used(server, to)
    trial = Trial(to)
    await old.request()
    getattr(old, way)()
    new = await server.peer()
    await new.request()
    getattr(new, way)()
    await trial.observer.over()
    assert trial.error.message == "alpha: the upstream closed the connection before it answered"
    assert server.accepted == 2
    await close(to)


@pytest.mark.parametrize("bytes_before", [b"H", b"HTTP/1.1 200 OK\r\n", STREAM_HEAD])
async def test_a_pooled_connection_that_dies_after_a_byte_is_not_retried(server: Server, bytes_before: bytes) -> None:
    to = endpoint(server.base_url)
    old = await used(server, to)
    trial = Trial(to)
    await old.request()
    old.send(bytes_before)
    old.close()
    await trial.observer.over()
    assert "closed the connection" in trial.error.message
    assert server.accepted == 1
    await close(to)


async def test_a_new_connection_that_dies_is_not_retried(server: Server) -> None:
    to = endpoint(server.base_url)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.close()
    await trial.observer.over()
    assert trial.error.message == "alpha: the upstream closed the connection before it answered"
    assert server.accepted == 1
    await close(to)


async def test_a_closed_pool_fails_what_is_under_way(server: Server) -> None:
    to = endpoint(server.base_url)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"))
    await until(lambda: trial.observer.frames)
    to.pool.close()
    await trial.observer.over()
    assert isinstance(trial.error, GatewayError)
    assert await peer.hung_up()
