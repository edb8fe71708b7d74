"""One attempt against the simulated provider and against raw peers: outcomes, limits, cancels, reuse."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from gateway import clock
from gateway.errors import GatewayError, RateLimited, UpstreamError, UpstreamRefused, UpstreamStalled
from gateway.simulate import Provider, Script
from gateway.upstream import attempt as attempts
from gateway.upstream.attempt import LINGER_SECONDS
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.pool import PoolStatistics

from .certificates import Certificates, server_context
from .fakes import (
    BOUND,
    DONE,
    FINISH,
    KEY,
    LAST_CHUNK,
    PROMPT,
    ROLE,
    STREAM_HEAD,
    Observer,
    Peer,
    Server,
    Trial,
    endpoint,
    event,
    open_sockets,
    passes,
    until,
    word,
)

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")

FAST = Script(ttft_ms=0, gap_ms=0, tokens=5)
SIMULATED = "The simulated provider failed with status {0}, as it was told."
REFUSED = "the upstream refused the request (HTTP {0}): " + SIMULATED
REPORTED = "alpha: the upstream reported an error: " + SIMULATED.format(500)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = await Provider.start(script=FAST)
    yield provider
    await provider.close()
    await passes(3)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server.open() as server:
        yield server


async def close(to: Endpoint) -> None:
    """Close the pool, and see every connection go."""
    to.pool.close()
    await until(lambda: to.pool.statistics().open == 0)


# --- what a provider may do, and what is made of it


@dataclass(frozen=True)
class Fault:
    script: dict[str, Any]
    outcome: list[str]
    message: str
    kind: type[Exception] = UpstreamError
    status: int = 502
    limits: dict[str, Any] = field(default_factory=dict)
    retry_after: int | None = None


CONTENT = ["content", "failed"]
NO_CONTENT = ["failed"]
FAULTS = {
    "stall before the head": Fault(
        {"stall_before": "head"},
        NO_CONTENT,
        "alpha: no answer within head_timeout_ms (100)",
        limits={"head_timeout_ms": 100},
    ),
    "stall after the head": Fault(
        {"stall_before": "role"},
        NO_CONTENT,
        "alpha: no content within first_content_timeout_ms (100)",
        limits={"first_content_timeout_ms": 100},
    ),
    "stall after the role": Fault(
        {"stall_after": 0},
        NO_CONTENT,
        "alpha: no content within first_content_timeout_ms (100)",
        limits={"first_content_timeout_ms": 100},
    ),
    "stall before the head, the limit of content being shorter": Fault(
        {"stall_before": "head"},
        NO_CONTENT,
        "alpha: no content within first_content_timeout_ms (100)",
        limits={"first_content_timeout_ms": 100, "head_timeout_ms": 5000},
    ),
    "stall in mid-stream": Fault(
        {"stall_after": 2},
        CONTENT,
        "alpha: no event for idle_timeout_ms (100)",
        kind=UpstreamStalled,
        limits={"idle_ms": 100},
    ),
    "reset before content": Fault(
        {"reset_after": 0}, NO_CONTENT, "alpha: the upstream closed the connection in mid-answer"
    ),
    "reset in mid-stream": Fault(
        {"reset_after": 2, "gap_ms": 20}, CONTENT, "alpha: the upstream closed the connection in mid-answer"
    ),
    "cut before content": Fault(
        {"cut_after": 0}, NO_CONTENT, "alpha: the upstream closed the connection in mid-answer"
    ),
    "cut in mid-stream": Fault({"cut_after": 2}, CONTENT, "alpha: the upstream closed the connection in mid-answer"),
    "cut, the body being delimited by the close": Fault(
        {"cut_after": 2, "body": "close"},
        CONTENT,
        "alpha: the upstream ended in mid-stream, with neither a finish nor [DONE]",
    ),
    "cut, the length being known": Fault(
        {"cut_after": 2, "body": "length"}, CONTENT, "alpha: the upstream closed the connection in mid-answer"
    ),
    "end before content": Fault(
        {"close_after": 0},
        NO_CONTENT,
        "alpha: the upstream ended before any content, with neither a finish nor [DONE]",
    ),
    "end in mid-stream": Fault(
        {"close_after": 2}, CONTENT, "alpha: the upstream ended in mid-stream, with neither a finish nor [DONE]"
    ),
    "neither finish nor done": Fault(
        {"done": False, "finish": False},
        CONTENT,
        "alpha: the upstream ended in mid-stream, with neither a finish nor [DONE]",
    ),
    "done without content": Fault(
        {"tokens": 0, "finish": False}, NO_CONTENT, "alpha: the upstream ended before any content"
    ),
    "error event first": Fault({"error_first": True}, NO_CONTENT, REPORTED),
    "error event in mid-stream": Fault({"error_after": 2}, CONTENT, REPORTED),
    "JSON instead of a stream": Fault(
        {"json_instead": True},
        NO_CONTENT,
        "alpha: it answered with application/json instead of an event stream: " + SIMULATED.format(500),
    ),
    "HTML with 200": Fault(
        {"html_error": True},
        NO_CONTENT,
        "alpha: it answered with text/html instead of an event stream",
    ),
    "HTML with 502": Fault({"html_error": True, "status": 502}, NO_CONTENT, "alpha: HTTP 502"),
    "compressed": Fault(
        {"gzip": True}, NO_CONTENT, "alpha: the answer is compressed (gzip) though identity was asked for"
    ),
    "compressed 429": Fault(
        {"gzip": True, "status": 429, "retry_after": 7},
        NO_CONTENT,
        "alpha: over its limit (HTTP 429)",
        kind=RateLimited,
        status=429,
        retry_after=7,
    ),
    "compressed 400": Fault(
        {"gzip": True, "status": 400},
        NO_CONTENT,
        "the upstream refused the request (HTTP 400)",
        kind=UpstreamRefused,
        status=400,
    ),
    "400": Fault({"status": 400}, NO_CONTENT, REFUSED.format(400), kind=UpstreamRefused, status=400),
    "401": Fault({"status": 401}, NO_CONTENT, "alpha: it refused the gateway's credential (HTTP 401)"),
    "403": Fault({"status": 403}, NO_CONTENT, "alpha: it refused the gateway's credential (HTTP 403)"),
    "404": Fault({"status": 404}, NO_CONTENT, "alpha: HTTP 404: " + SIMULATED.format(404)),
    "408": Fault({"status": 408}, NO_CONTENT, "alpha: HTTP 408: " + SIMULATED.format(408)),
    "413": Fault({"status": 413}, NO_CONTENT, REFUSED.format(413), kind=UpstreamRefused, status=400),
    "422": Fault({"status": 422}, NO_CONTENT, REFUSED.format(422), kind=UpstreamRefused, status=400),
    "429": Fault(
        {"status": 429, "retry_after": 7},
        NO_CONTENT,
        "alpha: over its limit (HTTP 429): " + SIMULATED.format(429),
        kind=RateLimited,
        status=429,
        retry_after=7,
    ),
    "500": Fault({"status": 500}, NO_CONTENT, "alpha: HTTP 500: " + SIMULATED.format(500)),
    "503": Fault(
        {"status": 503, "retry_after": 3}, NO_CONTENT, "alpha: HTTP 503: " + SIMULATED.format(503), retry_after=3
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_a_streamed_answer_is_told_once_and_in_the_right_words(
    provider: Provider, name: str
) -> None:
    fault = FAULTS[name]
    provider.script = FAST.replace(fault.script)
    to = endpoint(provider.base_url, **fault.limits)
    trial = await Trial.run(to)
    error = trial.error
    assert trial.observer.outcome == fault.outcome
    assert (error.message, type(error), error.status) == (fault.message, fault.kind, fault.status)
    assert error.retry_after == fault.retry_after
    if fault.outcome == CONTENT:
        assert len(trial.observer.text.split()) == (5 if "done" in fault.script else 2)
    else:
        assert trial.observer.frames == []
    assert provider.statistics().requests == 1
    await close(to)
    await trial.tasks.close()


WHOLE_FAULTS = {
    "stall": Fault(
        {"stall_before": "head"},
        NO_CONTENT,
        "alpha: no answer within response_timeout_ms (100)",
        limits={"response_timeout_ms": 100},
    ),
    "stall after the head": Fault(
        {"stall_before": "role"},
        NO_CONTENT,
        "alpha: no answer within response_timeout_ms (100)",
        limits={"response_timeout_ms": 100},
    ),
    "cut": Fault({"cut_after": 0}, NO_CONTENT, "alpha: the upstream closed the connection in mid-answer"),
    "reset": Fault({"reset_after": 0}, NO_CONTENT, "alpha: the upstream closed the connection in mid-answer"),
    "JSON error with 200": Fault({"json_instead": True}, NO_CONTENT, REPORTED),
    "HTML with 200": Fault({"html_error": True}, NO_CONTENT, "alpha: the upstream's answer is not JSON"),
    "compressed": Fault(
        {"gzip": True}, NO_CONTENT, "alpha: the answer is compressed (gzip) though identity was asked for"
    ),
    "400": FAULTS["400"],
    "429": FAULTS["429"],
    "500": FAULTS["500"],
}


@pytest.mark.parametrize("name", WHOLE_FAULTS)
async def test_a_fault_of_a_whole_answer_is_told_once_and_in_the_right_words(provider: Provider, name: str) -> None:
    fault = WHOLE_FAULTS[name]
    provider.script = FAST.replace(fault.script)
    to = endpoint(provider.base_url, **fault.limits)
    trial = await Trial.run(to, streamed=False)
    error = trial.error
    assert trial.observer.outcome == fault.outcome
    assert (error.message, type(error), error.status) == (fault.message, fault.kind, fault.status)
    assert error.retry_after == fault.retry_after
    await close(to)


DIALECTS: dict[str, dict[str, Any]] = {
    "as it should be": {},
    "no done": {"done": False},
    "no finish": {"finish": False},
    "length": {"body": "length"},
    "close": {"body": "close"},
    "close without done": {"body": "close", "done": False},
    "CRLF": {"line_end": "\r\n"},
    "CR": {"line_end": "\r"},
    "no space": {"space": False},
    "byte order mark": {"bom": True},
    "pretty": {"pretty": True},
    "event names": {"event_names": True},
    "comments": {"comments": 1},
    "usage everywhere": {"usage": "null_everywhere"},
    "omissions": {"omit": ["created", "model", "index", "finish_reason", "role", "id", "object"]},
    "finish in the delta": {"finish_in_delta": True},
    "error null": {"error_null": True},
    "one byte at a time": {"split": 1},
    "one byte at a time, CRLF, pretty": {"split": 1, "line_end": "\r\n", "pretty": True, "bom": True},
    "separators": {"unicode_separators": True},
}


@pytest.mark.parametrize("name", DIALECTS)
async def test_every_dialect_of_a_whole_stream_completes_with_the_same_text(provider: Provider, name: str) -> None:
    provider.script = FAST.replace({"text": "one two three", **DIALECTS[name]})
    to = endpoint(provider.base_url)
    trial = await Trial.run(to)
    assert trial.observer.outcome == ["content", "complete"]
    text = trial.observer.text
    assert "".join(c for c in text if c not in "\u2028\u2029\u0085") == "one two three"
    assert all(frame.startswith(b"data: {") and frame.count(b"\n") == 2 for frame in trial.observer.frames)
    assert trial.attempt.stream.over
    await until(lambda: to.pool.statistics().idle == (name not in ("close", "close without done")))
    await close(to)


async def test_marks_are_in_order_and_names_are_told(provider: Provider) -> None:
    provider.script = FAST.replace({"ttft_ms": 30, "head_ms": 10})
    to = endpoint(provider.base_url)
    trial = await Trial.run(to)
    marks = trial.attempt.marks
    times = [marks.started, marks.connected, marks.head, marks.first_byte, marks.first_event, marks.first_content]
    assert None not in times
    assert times == sorted(times)  # type: ignore[type-var]
    assert trial.attempt.upstream == "alpha"
    await close(to)


async def test_the_request_says_what_upstreams_need(provider: Provider) -> None:
    to = endpoint(provider.base_url)
    await Trial.run(to)
    last = provider.statistics().last_request
    assert last is not None
    assert last["headers"]["authorization"] == "Bearer sk-never-to-be-told"
    assert last["headers"]["accept"] == "text/event-stream"
    assert last["headers"]["accept-encoding"] == "identity"
    assert last["headers"]["x-request-id"] == "req-1"
    assert last["body"]["model"] == "m-at-alpha"
    assert last["body"]["stream_options"] == {"include_usage": True}
    await close(to)


async def test_a_held_finish_is_not_relayed_but_kept(provider: Provider) -> None:
    to = endpoint(provider.base_url)
    trial = await Trial.run(to, hold_finish=True)
    assert trial.observer.outcome == ["content", "complete"]
    assert all(b'"stop"' not in frame for frame in trial.observer.frames)
    held = trial.attempt.stream.finish_frame
    assert held is not None
    assert orjson.loads(held[6:])["choices"][0]["finish_reason"] == "stop"
    assert trial.attempt.stream.chat.usage is not None
    await close(to)


async def test_a_whole_answer_is_there_when_it_is_complete(provider: Provider) -> None:
    to = endpoint(provider.base_url)
    trial = await Trial.run(to, streamed=False)
    assert trial.observer.outcome == ["content", "complete"]
    completion = trial.attempt.whole.completion
    assert completion is not None
    assert completion["choices"][0]["message"]["role"] == "assistant"
    assert trial.attempt.whole.usage is not None
    await until(lambda: to.pool.statistics().idle == 1)
    await close(to)


async def test_a_failed_dial_is_told_with_the_upstreams_name() -> None:
    to = endpoint("http://127.0.0.1:1/v1")
    trial = await Trial.run(to)
    assert trial.error.message == "alpha: connecting failed: Connection refused"
    assert type(trial.error) is UpstreamError
    await until(lambda: not len(trial.tasks))


async def test_no_message_of_an_upstream_goes_without_an_end(server: Server) -> None:
    to = endpoint(server.base_url)
    for name, value in ((b"Content-Type", b"text/html"), (b"Content-Encoding", b"br")):
        trial = Trial(to)
        peer = await server.peer()
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + name + b": " + value + b"x" * 60_000 + b"\r\n\r\nno")
        await trial.observer.over()
        assert len(trial.error.message) < 1000
        assert to.pool.take_nowait() is None
    await close(to)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("status", [200, 400, 429, 500])
async def test_an_upstream_that_quotes_the_request_gives_away_neither_key_nor_log(
    server: Server, streamed: bool, status: int
) -> None:
    to = endpoint(server.base_url)
    trial = Trial(to, streamed=streamed)
    peer = await server.peer()
    await peer.request()
    body = orjson.dumps({"error": {"message": f"no: {KEY} {PROMPT}"}})
    head = b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    peer.send(head % (status, len(body)) + body)
    await trial.observer.over()
    error = trial.observer.error
    assert error is not None
    assert KEY not in error.message
    assert "[redacted]" in error.message
    assert KEY not in error.reason
    assert PROMPT not in error.reason
    await close(to)


# --- limits


async def test_the_limit_of_the_first_content_counts_from_the_request(provider: Provider) -> None:
    provider.script = FAST.replace({"head_ms": 400, "ttft_ms": 400, "stall_after": 0})
    to = endpoint(provider.base_url, first_content_timeout_ms=500)
    trial = await Trial.run(to)
    assert "first_content_timeout_ms (500)" in trial.error.message
    assert 0.49 <= trial.observer.last_at - trial.started < 0.8
    await close(to)


async def test_the_limit_of_a_whole_answer_counts_from_the_request(server: Server) -> None:
    to = endpoint(server.base_url, response_timeout_ms=500)
    trial = Trial(to, streamed=False)
    peer = await server.peer()
    await peer.request()
    await asyncio.sleep(0.4)  # the upstream's pace, not ours
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    await trial.observer.over()
    assert "response_timeout_ms (500)" in trial.error.message
    assert 0.49 <= trial.observer.last_at - trial.started < 0.8
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
        await until(lambda count=count: len(trial.observer.frames) > count)
        await asyncio.sleep(idle_ms / 3000)  # the upstream's pace
    await trial.observer.over()
    assert isinstance(trial.error, UpstreamStalled)
    assert trial.observer.last_at - sent >= idle_ms / 1000
    assert trial.observer.last_at - sent < idle_ms / 1000 * (1 + 1 / attempts.IDLE_CHECKS) + BOUND
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


async def test_comments_are_no_sign_of_life_between_tokens(server: Server) -> None:
    to = endpoint(server.base_url, idle_ms=100)
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"))
    while "failed" not in trial.observer.calls:
        assert clock.monotonic() - trial.started < 5
        peer.chunk(b": ping\n\n")
        await asyncio.sleep(0.01)
    assert isinstance(trial.error, UpstreamStalled)
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
        await until(lambda trial=trial: len(trial.observer.frames) == 3)
        getattr(peer, way)()
        await trial.observer.over()
        assert trial.observer.outcome == ["content", "complete"]
    await close(to)


async def test_an_error_body_that_never_ends_is_cut(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "ERROR_BODY_SECONDS", 0.1)
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
    assert trial.error.message == "alpha: HTTP 500"
    assert await peer.hung_up()
    await close(to)


# --- the pooled connection


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


async def test_a_loss_while_lingering_is_nobodys_business(server: Server) -> None:
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


async def used(server: Server, to: Endpoint) -> Peer:
    """The peer of a connection that has served a request and rests."""
    trial = Trial(to)
    peer = await server.peer()
    await peer.request()
    peer.events(ROLE, word("a"), FINISH, DONE)
    peer.send(LAST_CHUNK)
    await trial.observer.over()
    await until(lambda: to.pool.statistics().idle == 1)
    return peer


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


# --- cancel


async def _before_the_head(peer: Peer, trial: Trial) -> None:
    pass


async def _after_the_head(peer: Peer, trial: Trial) -> None:
    peer.send(STREAM_HEAD)
    await until(lambda: trial.attempt.marks.head)


async def _before_content(peer: Peer, trial: Trial) -> None:
    peer.events(ROLE)
    await until(lambda: trial.attempt.marks.first_event)


async def _flowing(peer: Peer, trial: Trial) -> None:
    peer.events(ROLE, word("a"))
    await until(lambda: trial.observer.frames)


async def _paused(peer: Peer, trial: Trial) -> None:
    await _flowing(peer, trial)
    trial.attempt.pause()


async def _lingering(peer: Peer, trial: Trial) -> None:
    peer.events(ROLE, word("a"), FINISH, DONE)
    await trial.observer.over()


async def _in_an_error_body(peer: Peer, trial: Trial) -> None:
    peer.send(b"HTTP/1.1 500 x\r\nContent-Length: 10\r\n\r\n{")
    await until(lambda: trial.attempt.marks.head)


PHASES = [_before_the_head, _after_the_head, _before_content, _flowing, _paused, _lingering, _in_an_error_body]


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
        await until(lambda trial=trial: not len(trial.tasks))
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


# --- the same through TLS


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
    await until(lambda: peer.transport.get_write_buffer_size() > 1 << 20)
    await asyncio.sleep(0.05)  # long enough for the kernel to take what it can
    assert peer.transport.get_write_buffer_size() > 1 << 20
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
