"""A cancel in any phase, and backpressure."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway import clock
from gateway.errors import UpstreamStalled
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
    Peer,
    Server,
    Trial,
    close,
    endpoint,
    event,
    open_sockets,
    passes,
    until,
    used,
    word,
)
from .phases import PHASES

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


@pytest.mark.parametrize("reach", PHASES, ids=lambda reach: reach.__name__[1:])
async def test_a_cancel_closes_the_socket_at_once_and_nothing_is_heard_after_it(
    server: Server, reach: Callable[[Peer, Trial], Awaitable[None]]
) -> None:
    to = endpoint(server.base_url)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    await reach(peer, trial)
    heard = list(trial.observer.calls)
    trial.attempt.cancel()
    trial.attempt.cancel()
    trial.attempt.pause()
    trial.attempt.resume()
    peer.chunk(word("late"))
    assert await peer.hung_up()
    await until(lambda: to.pool.statistics() == PoolStatistics(0, 0, 1, 0))
    await passes(10)
    assert trial.observer.calls == heard
    assert not len(trial.tasks)


async def test_a_cancel_while_dialling_leaves_nothing(server: Server) -> None:
    before = open_sockets()
    to = endpoint(server.base_url)
    for count in range(12):
        trial = Trial(to)
        await passes(count)
        trial.attempt.cancel()
        await until(lambda: not len(trial.tasks))  # noqa: B023
        assert trial.observer.calls == []
    await until(lambda: to.pool.statistics().open == 0)
    assert to.pool.statistics().idle == 0
    accepted = server.accepted
    await until(lambda: open_sockets() <= before + accepted)


async def test_a_cancel_in_the_retry_of_a_dead_connection_leaves_nothing(server: Server) -> None:
    to = endpoint(server.base_url)
    old = await used(server, to)
    trial = Trial(to)
    await old.request()
    old.close()
    async with asyncio.timeout(BOUND):
        while not len(trial.tasks):  # noqa: ASYNC110 - the retry is over in a few passes
            await asyncio.sleep(0)
    trial.attempt.cancel()
    await until(lambda: not len(trial.tasks))
    await until(lambda: to.pool.statistics().open == 0)
    assert trial.observer.calls == []


@pytest.mark.parametrize("moment", ["content", "frames"])
async def test_a_cancel_in_a_callback_stops_the_rest_of_the_same_read(server: Server, moment: str) -> None:
    to = endpoint(server.base_url)
    trials: list[Trial] = []
    observer = Observer(lambda name: trials[0].attempt.cancel() if name == moment else None)
    observer.flows = moment == "frames"
    trials.append(Trial(to, observer=observer))
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"), *[word("b")] * 5, event({"content": ""}), FINISH, DONE)
    assert await peer.hung_up()
    await passes(10)
    assert observer.calls == (["content"] if moment == "content" else ["content", "frames"])
    await close(to)


async def test_a_cancel_on_completion_of_a_whole_answer_is_silent(provider: Provider) -> None:
    to = endpoint(provider.base_url)
    trials: list[Trial] = []
    observer = Observer(lambda name: trials[0].attempt.cancel() if name == "content" else None)
    trials.append(Trial(to, streamed=False, observer=observer))
    await until(lambda: observer.calls)
    await passes(10)
    assert observer.calls == ["content"]
    await close(to)


# --- backpressure


async def test_a_pause_stops_the_upstream_and_a_resume_lets_it_go_on(server: Server) -> None:
    to = endpoint(server.base_url)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"))
    await until(lambda: trial.observer.frames)
    trial.attempt.pause()
    await passes(5)
    heard = len(trial.observer.frames)
    for _ in range(400):
        peer.chunk(word("x" * 65536))
    await until(lambda: peer.transport.get_write_buffer_size() > 1 << 20)
    await asyncio.sleep(0.05)  # long enough for the kernel to take what it can
    assert peer.transport.get_write_buffer_size() > 1 << 20
    assert len(trial.observer.frames) == heard
    trial.attempt.resume()
    await until(lambda: len(trial.observer.frames) == heard + 400)
    trial.attempt.cancel()
    await close(to)


async def test_a_pause_is_not_the_upstreams_silence(server: Server) -> None:
    to = endpoint(server.base_url, idle_ms=100)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"))
    await until(lambda: trial.observer.frames)
    trial.attempt.pause()
    await asyncio.sleep(0.35)  # several limits long
    assert trial.observer.outcome == ["content"]
    resumed = clock.monotonic()
    trial.attempt.resume()
    await trial.observer.over()
    assert isinstance(trial.error, UpstreamStalled)
    assert trial.observer.last_at - resumed >= 0.1
    await close(to)


async def test_a_stream_paused_in_its_last_read_completes_and_its_connection_serves_on(server: Server) -> None:
    to = endpoint(server.base_url, head_timeout_ms=2000)
    trials: list[Trial] = []
    observer = Observer(lambda name: trials[0].attempt.pause() if name == "frames" else None)
    trials.append(Trial(to, observer=observer))
    peer = await server.peer()
    await peer.request()
    body = ROLE + word("a") + FINISH + DONE
    peer.send(STREAM_HEAD + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    await until(lambda: to.pool.statistics().idle == 1)
    assert observer.outcome == ["content", "complete"]
    second = Trial(to)
    await peer.request()
    peer.events(ROLE, word("b"), FINISH, DONE)
    await second.observer.over()
    assert second.observer.outcome == ["content", "complete"]
    await close(to)


async def test_a_stream_paused_before_the_end_of_its_body_still_gives_the_connection_back(server: Server) -> None:
    to = endpoint(server.base_url)
    trials: list[Trial] = []
    observer = Observer(lambda name: trials[0].attempt.pause() if name == "frames" else None)
    trials.append(Trial(to, observer=observer))
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"), FINISH, DONE)
    await observer.over()
    trials[0].attempt.pause()
    peer.send(LAST_CHUNK)
    await until(lambda: to.pool.statistics().idle == 1, LINGER_SECONDS / 2)
    await close(to)


async def test_many_attempts_leak_nothing(provider: Provider) -> None:
    to = endpoint(provider.base_url)
    before = open_sockets()
    scripts = [{}, {"cut_after": 2}, {"reset_after": 1}, {"status": 500}, {"gzip": True}, {"error_after": 1}]
    for turn in range(60):
        provider.script = FAST.replace(scripts[turn % len(scripts)])
        trial = await Trial.run(to)
        assert not len(trial.tasks)
    await close(to)
    await until(lambda: open_sockets() <= before)
    await until(lambda: provider.statistics().open_connections == 0)
