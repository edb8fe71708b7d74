"""The limits of an attempt: the error of each limit names the configuration key that sets it."""

import asyncio

import pytest

from gateway import clock
from gateway.errors import UpstreamStalled
from gateway.simulate import Provider
from gateway.upstream import attempt_phases, idle_watch

from .faults import FAST
from .kit import (
    BOUND,
    FINISH,
    ROLE,
    Server,
    Trial,
    close,
    endpoint,
    until,
    word,
)

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


async def test_the_silence_before_the_first_content_counts_from_the_last_byte(provider: Provider) -> None:
    provider.script = FAST.replace({"head_ms": 400, "ttft_ms": 400, "stall_after": 0})
    to = endpoint(provider.base_url, first_content_timeout_ms=500)
    trial = await Trial.run(to)
    assert "first_content_timeout_ms (500)" in trial.error.message
    assert 0.89 <= trial.observer.last_at - trial.started < 1.2
    await close(to)


async def test_silence_from_the_request_on_is_noticed_as_exactly(server: Server) -> None:
    to = endpoint(server.base_url, first_content_timeout_ms=300)
    trial = await Trial.run(to)
    assert 0.29 <= trial.observer.last_at - trial.started < 0.6
    await close(to)


async def test_the_limit_of_a_whole_answer_counts_from_its_last_byte(server: Server) -> None:
    to = endpoint(server.base_url, response_timeout_ms=500)
    trial = Trial(to, streamed=False)
    peer = await server.peer()
    await peer.request()
    await asyncio.sleep(0.4)  # the upstream's pace, not ours
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    await trial.observer.over()
    assert "no byte of the answer within response_timeout_ms (500)" in trial.error.message
    assert 0.89 <= trial.observer.last_at - trial.started < 1.3
    await close(to)


@pytest.mark.parametrize("idle_ms", [100, 60])
async def test_a_stall_is_told_after_the_idle_limit_and_no_earlier(server: Server, idle_ms: int) -> None:
    to = endpoint(server.base_url, idle_ms=idle_ms)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"))
    await until(lambda: trial.observer.frames)
    for _ in range(3):
        sent = clock.monotonic()
        peer.chunk(word("b"))
        count = len(trial.observer.frames)
        await until(lambda: len(trial.observer.frames) > count)  # noqa: B023
        await asyncio.sleep(idle_ms / 3000)  # the upstream's pace
    await trial.observer.over()
    assert isinstance(trial.error, UpstreamStalled)
    assert trial.observer.last_at - sent >= idle_ms / 1000
    assert trial.observer.last_at - sent < idle_ms / 1000 * (1 + 1 / idle_watch.CHECKS) + BOUND
    assert await peer.hung_up()
    await close(to)


async def test_a_stall_after_the_very_first_content_is_told_no_earlier_either(server: Server) -> None:
    to = endpoint(server.base_url, idle_ms=100)
    for _ in range(3):
        trial = Trial(to)
        peer = await server.peer()
        await peer.request()
        peer.events(ROLE, word("a"))
        await trial.observer.over()
        content = trial.attempt.marks.first_content
        assert content is not None
        assert trial.observer.last_at - content >= 0.1
    await close(to)


async def test_comments_behind_the_finish_do_not_keep_the_answer_from_ending(server: Server) -> None:
    to = endpoint(server.base_url, idle_ms=100)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"), FINISH)
    while "complete" not in trial.observer.calls:
        assert clock.monotonic() - trial.started < 5
        peer.chunk(b": ping\n\n")
        await asyncio.sleep(0.01)
    assert trial.observer.outcome == ["content", "complete"]
    await close(to)


async def test_a_stall_after_the_finish_is_a_clean_end(server: Server) -> None:
    to = endpoint(server.base_url, idle_ms=100)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"), FINISH)
    await trial.observer.over()
    assert trial.observer.outcome == ["content", "complete"]
    await close(to)


async def test_a_loss_after_the_finish_is_a_clean_end(server: Server) -> None:
    to = endpoint(server.base_url)
    for way in ("close", "reset"):
        trial = Trial(to)
        peer = await server.peer()
        await peer.request()
        peer.events(ROLE, word("a"), FINISH)
        await until(lambda: len(trial.observer.frames) == 3)  # noqa: B023
        getattr(peer, way)()
        await trial.observer.over()
        assert trial.observer.outcome == ["content", "complete"]
    await close(to)


async def test_an_error_body_that_never_ends_is_cut(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_phases, "ERROR_BODY_SECONDS", 0.1)
    to = endpoint(server.base_url)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.send(b"HTTP/1.1 503 x\r\nContent-Type: application/json\r\nContent-Length: 99\r\nRetry-After: 4\r\n\r\n{")
    await trial.observer.over()
    assert (trial.error.message, trial.error.retry_after) == ("alpha: HTTP 503", 4)
    assert await peer.hung_up()
    await close(to)


async def test_an_error_body_of_any_size_is_bounded(server: Server) -> None:
    to = endpoint(server.base_url)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.send(b"HTTP/1.1 500 x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 200_000)
    await trial.observer.over()
    assert trial.error.message == "alpha: HTTP 500: " + "x" * 500
    assert await peer.hung_up()
    await close(to)
