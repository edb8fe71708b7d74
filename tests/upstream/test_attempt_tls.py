"""Attempts through TLS: streams, faults, cancels, pauses and dead connections are as without TLS."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.simulate import Provider
from gateway.upstream.pool import PoolStatistics
from tests.kit.certificates import Certificates, server_context

from .faults import FAST, FAULTS
from .kit import (
    DONE,
    FINISH,
    ROLE,
    Peer,
    Server,
    Trial,
    close,
    endpoint,
    passes,
    until,
    used,
    word,
)
from .phases import PHASES

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


@pytest.fixture
async def secured(certificates: Certificates) -> AsyncIterator[Server]:
    async with Server.open(ssl=server_context(certificates.good)) as server:
        yield server


@pytest.fixture
async def secured_provider(certificates: Certificates) -> AsyncIterator[Provider]:
    provider = await Provider.start(script=FAST, ssl=server_context(certificates.good))
    yield provider
    await provider.close()
    await passes(10)


async def test_a_stream_through_tls_completes_and_its_connection_is_reused(
    certificates: Certificates, secured_provider: Provider
) -> None:
    secured_provider.script = FAST
    to = endpoint(secured_provider.base_url, tls_ca_file=str(certificates.authority))
    for _ in range(3):
        trial = await Trial.run(to)
        assert trial.observer.outcome == ["content", "complete"]
        await until(lambda: to.pool.statistics().idle == 1)
    assert to.pool.statistics() == PoolStatistics(open=1, idle=1, dialled=1, reused=2)
    await close(to)


@pytest.mark.parametrize("name", ["reset in mid-stream", "cut in mid-stream", "end in mid-stream", "503"])
async def test_a_fault_through_tls_is_told_once(
    certificates: Certificates, secured_provider: Provider, name: str
) -> None:
    fault = FAULTS[name]
    secured_provider.script = FAST.replace(fault.script)
    to = endpoint(secured_provider.base_url, tls_ca_file=str(certificates.authority))
    trial = await Trial.run(to)
    assert trial.observer.outcome == fault.outcome
    assert (trial.error.message, type(trial.error)) == (fault.message, fault.kind)
    await close(to)


@pytest.mark.parametrize("reach", PHASES, ids=lambda reach: reach.__name__[1:])
async def test_a_cancel_through_tls_closes_the_socket_at_once(
    certificates: Certificates, secured: Server, reach: Callable[[Peer, Trial], Awaitable[None]]
) -> None:
    to = endpoint(secured.base_url, tls_ca_file=str(certificates.authority))
    trial = Trial(to)
    peer = await secured.peer()
    await peer.request()
    await reach(peer, trial)
    heard = list(trial.observer.calls)
    trial.attempt.cancel()
    peer.chunk(word("late"))
    assert await peer.hung_up()
    await until(lambda: to.pool.statistics() == PoolStatistics(0, 0, 1, 0))
    assert trial.observer.calls == heard


async def test_a_pause_through_tls_stops_the_upstream_and_a_resume_lets_it_go_on(
    certificates: Certificates, secured: Server
) -> None:
    to = endpoint(secured.base_url, tls_ca_file=str(certificates.authority))
    trial = Trial(to)
    peer = await secured.peer()
    await peer.request()
    peer.events(ROLE, word("a"))
    await until(lambda: trial.observer.frames)
    trial.attempt.pause()
    await passes(5)
    heard = len(trial.observer.frames)
    for _ in range(400):
        peer.chunk(word("x" * 65536))
    await asyncio.sleep(0.1)  # long enough for the whole stream to come if the connection were read
    assert len(trial.observer.frames) <= heard + 10
    trial.attempt.resume()
    await until(lambda: len(trial.observer.frames) == heard + 400)
    trial.attempt.cancel()
    await close(to)


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_a_dead_pooled_connection_through_tls_costs_one_silent_retry(
    certificates: Certificates, secured: Server, way: str
) -> None:
    to = endpoint(secured.base_url, tls_ca_file=str(certificates.authority))
    old = await used(secured, to)
    trial = Trial(to)
    request = await old.request()
    getattr(old, way)()
    new = await secured.peer()
    assert await new.request() == request
    new.events(ROLE, word("b"), FINISH, DONE)
    await trial.observer.over()
    assert trial.observer.outcome == ["content", "complete"]
    await close(to)
