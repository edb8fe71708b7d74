"""A response that came as events is the one that its terminal event holds."""

from collections.abc import Callable

import orjson
import pytest

from gateway.dialects.dialect import AnswerReport
from gateway.dialects.responses.dialect import RESPONSES
from gateway.dialects.responses.joining import JoinedResponse, ResponseJoiner
from gateway.dialects.usage import Usage
from gateway.upstream.whole_body import WholeBody
from tests.upstream.body_owner import Owner

from .events import IDENTITY, USAGE, answer, completed, response

IMAGE = "A" * 2_000_000
USED = Usage(9, 3, estimated=False)


def used(prompt_tokens: int) -> Usage:
    return USED


def joined(*frames: bytes, in_steps: bool = False) -> JoinedResponse:
    joiner = ResponseJoiner()
    for frame in frames:
        if in_steps:
            assert sum(1 for _ in joiner.add_in_steps(frame))
        else:
            joiner.add(frame)
    usage: Callable[[int], Usage] = used
    return joiner.document(usage)


def encoded(document: JoinedResponse) -> bytes:
    content = document.encode(AnswerReport(document.usage(0), {}))
    return content if isinstance(content, bytes) else b"".join(content.parts())


@pytest.mark.parametrize("in_steps", [False, True])
def test_the_response_is_that_of_the_terminal_event(in_steps: bool) -> None:
    document = joined(*answer("Hel", "lo"), in_steps=in_steps)
    told = orjson.loads(encoded(document))
    assert told["output"][0]["content"][0]["text"] == "Hello"
    assert (told["status"], told["usage"]) == ("completed", USAGE)
    assert document.usage(0) == USED


def test_its_bytes_stay_as_they_came() -> None:
    own = b'{"id" : "r","n":123456789012345678901234567890,"f":1.0,"response":{}}'
    frame = b'data: {"type":"response.completed","sequence_number":1, "response": ' + own + b"}\n\n"
    assert encoded(joined(frame)) == own


def test_a_response_with_images_is_filled_when_it_is_written() -> None:
    output = [{"type": "image_generation_call", "result": IMAGE}]
    document = joined(completed(1, output=output), in_steps=True)
    assert orjson.loads(encoded(document)) == response("completed", output=output, usage=USAGE)


def test_a_response_that_is_nested_more_deeply_than_python_reads_is_told() -> None:
    nested = b"[" * 900 + b"]" * 900
    frame = completed(1, metadata="@").replace(b'"@"', nested)
    try:
        content = encoded(joined(frame))
    except ValueError:
        return  # it is nested more deeply than any client reads
    assert nested in content


@pytest.mark.parametrize("size", [1 << 20, 100])
def test_events_in_place_of_a_whole_answer_are_the_answer(size: int) -> None:
    owner = Owner()
    body = owner.body = WholeBody(owner, RESPONSES, IDENTITY)
    data = b"".join(answer("Hel", "lo"))
    for at in range(0, len(data), size):
        for _ in body.feed(data[at : at + size]) or ():
            pass
    body.finish()
    assert owner.calls == ["content", "complete"]
    assert body.document is not None
    content = bytes(body.document.encode(AnswerReport(body.usage(5), {})))
    assert orjson.loads(content)["output"][0]["content"][0]["text"] == "Hello"
    assert body.usage(5).completion_tokens == 3
