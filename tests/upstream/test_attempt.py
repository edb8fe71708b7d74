"""One attempt against the simulated provider: the outcome of each fault and of each way of writing a stream."""

import orjson
import pytest

from gateway.dialects.dialect import AnswerReport
from gateway.errors import UpstreamError
from gateway.simulate import Provider

from .faults import CONTENT, DIALECTS, FAST, FAULTS, WHOLE_FAULTS
from .kit import (
    KEY,
    PROMPT,
    Server,
    Trial,
    close,
    endpoint,
    until,
)

pytestmark = pytest.mark.usefixtures("leaves_nothing_behind")


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
    assert not trial.attempt.usage(0).estimated
    await close(to)


async def test_a_whole_answer_is_there_when_it_is_complete(provider: Provider) -> None:
    to = endpoint(provider.base_url)
    trial = await Trial.run(to, streamed=False)
    assert trial.observer.outcome == ["content", "complete"]
    usage, document = trial.attempt.usage(0), trial.attempt.whole.document
    assert document is not None
    completion = orjson.loads(bytes(document.encode(AnswerReport(usage, {}))))
    assert completion["choices"][0]["message"]["role"] == "assistant"
    assert not usage.estimated
    await until(lambda: to.pool.statistics().idle == 1)
    await close(to)


async def test_a_failed_dial_is_told_with_the_upstreams_name() -> None:
    to = endpoint("http://127.0.0.1:1/v1")
    trial = await Trial.run(to)
    assert trial.error.message == "alpha: connecting failed: Connection refused"
    assert type(trial.error) is UpstreamError
    await until(lambda: not len(trial.tasks))


async def test_no_message_of_an_upstream_goes_without_an_end(server: Server) -> None:
    for name, value in ((b"Content-Type", b"text/html"), (b"Content-Encoding", b"br")):
        to = endpoint(server.base_url)
        trial = Trial(to)
        peer = await server.peer()
        await peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + name + b": " + value + b"x" * 60_000 + b"\r\n\r\nno")
        await trial.observer.over()
        assert len(trial.error.message) < 1000
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
