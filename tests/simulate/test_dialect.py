"""A script plays in a dialect that is not chat: its times and its faults do not depend on the dialect."""

import asyncio
from typing import Any

import pytest

from gateway.dialects.dialect import AnswerIdentity
from gateway.simulate import Provider, Script
from gateway.simulate.plan import plan
from gateway.simulate.steps import Close, Facts, Reset, Send, Stall, Step
from gateway.upstream.bodies import StreamBody
from gateway.wire.http1 import encode_chunk
from tests.dialects.toy import END, START, TOY, failure, text
from tests.upstream.body_owner import Owner

from .toy_simulation import TOY_SIMULATION

WORDS = {"text": "one two three", "ttft_ms": 20, "gap_ms": 10}


def steps_of(*, stream: bool = True, **fields: Any) -> list[Step]:
    return list(plan(Script.parse({**WORDS, **fields}), Facts(stream=stream), TOY_SIMULATION))


def sent(steps: list[Step]) -> bytes:
    return b"".join(step.data for step in steps if isinstance(step, Send))


def test_the_words_of_a_script_are_said_in_the_dialect_each_when_it_is_due() -> None:
    steps = steps_of()
    due = {step.at for step in steps if isinstance(step, Send) and step.data == encode_chunk(text("two "))}
    assert due == {0.03}
    body = sent(steps)
    assert body.index(START) < body.index(text("one ")) < body.index(text("three")) < body.index(END)


@pytest.mark.parametrize(
    ("fault", "last"), [({"stall_after": 2}, Stall), ({"reset_after": 2}, Reset), ({"cut_after": 2}, Close)]
)
def test_a_fault_of_a_script_hits_it_where_it_was_told(fault: dict[str, Any], last: type[Step]) -> None:
    steps = steps_of(**fault)
    assert isinstance(steps[-1], last)
    assert text("two ") in sent(steps)
    assert text("three") not in sent(steps)


def test_an_error_in_the_stream_is_in_its_words_and_so_is_an_error_answer() -> None:
    assert sent(steps_of(error_after=1)).count(failure("as it was told")) == 1
    assert sent(steps_of(status=503)).endswith(b'{"reason":"status 503"}')


def test_a_whole_answer_has_the_same_words() -> None:
    assert sent(steps_of(stream=False)).endswith(b'{"text":"one two three","in":3,"out":3}')


async def test_a_provider_that_is_told_of_it_serves_what_the_gateways_reader_understands() -> None:
    provider = await Provider.start(
        script=Script.parse({"text": "one two three", "ttft_ms": 0, "gap_ms": 0}), dialects=[TOY_SIMULATION]
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    content = b'{"live": true}'
    head = b"POST /v1/toy HTTP/1.0\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content)
    writer.write(head + content)
    _, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    await provider.close()
    owner = Owner()
    owner.body = StreamBody(owner, TOY.reader(AnswerIdentity("1", 1, "m")))
    owner.body.feed(body)
    assert owner.calls == ["content", "complete"]
    assert owner.frames == [START, text("one "), text("two "), text("three"), END]
    assert provider.statistics().completed == 1
