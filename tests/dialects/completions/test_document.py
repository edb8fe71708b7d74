"""A whole text completion: repaired for strict clients, its usage kept beside it, or refused as what it is."""

from typing import Any

import orjson
import pytest

from gateway.dialects.completions.dialect import COMPLETIONS
from gateway.dialects.dialect import AnswerDocument, AnswerReport
from gateway.dialects.usage import Usage
from gateway.errors import UpstreamError
from tests.dialects.completions.answers import IDENTITY, block, event


def read(content: bytes) -> AnswerDocument:
    return COMPLETIONS.read_document(content, IDENTITY)


def read_in_steps(content: bytes) -> AnswerDocument:
    reading = COMPLETIONS.read_long_document(content, IDENTITY)
    while True:
        try:
            next(reading)
        except StopIteration as end:
            document: AnswerDocument = end.value
            return document


def told(document: AnswerDocument) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(bytes(document.encode(AnswerReport(document.usage(7), {"provider": "a"}))))
    return answer


def test_an_answer_has_the_report_and_the_counts_of_the_upstream() -> None:
    used = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
    whole = event("hi", finish="stop", usage=used, routing_metadata={"provider": "x"})
    assert told(read(orjson.dumps(whole))) == {**whole, "routing_metadata": {"provider": "a"}}


def test_the_prompt_in_an_answer_is_no_part_of_it() -> None:
    identity = IDENTITY._replace(echoed_bytes=2000)
    whole = COMPLETIONS.read_document(b'{"choices":[{"text":"%b and more"}]}' % (b"p" * 2000), identity)
    assert whole.usage(500) == Usage(500, 3, estimated=True)
    read = COMPLETIONS.reader(identity)
    for text in ("p" * 1000, "p" * 1000 + " and", " more"):
        read.read(block(event(text)))
    assert read.usage(500) == Usage(500, 3, estimated=True)


def test_tokens_are_estimated_of_the_text_where_the_upstream_counts_none() -> None:
    answer = told(read(b'{"choices":[{"text":"hello there"},{"text":"b"}]}'))
    assert (answer["id"], answer["model"], answer["object"]) == ("cmpl-own", "public-model", "text_completion")
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


@pytest.mark.parametrize(
    ("content", "reason", "quoted"),
    [
        (b"", "the upstream's answer is not JSON", ""),
        (b'{"error": {"message": "no"}}', "the upstream reported an error", "no"),
        (
            b'{"object":"chat.completion","choices":[{"index":0,"message":{"content":"a"}}]}',
            "the upstream's answer is not a completion: choices[0] has no text: it is of a chat completion",
            "",
        ),
        (b'{"data": []}', "the upstream's answer is not a completion: a completion without choices", ""),
    ],
)
def test_what_is_no_text_completion_is_refused_as_what_it_is(content: bytes, reason: str, quoted: str) -> None:
    for how in (read, read_in_steps):
        with pytest.raises(UpstreamError) as caught:
            how(content)
        assert (caught.value.reason, caught.value.quoted) == (reason, quoted)


@pytest.mark.parametrize(
    "choice", [{"text": "x" * 200_000}, {"text": "a", "logprobs": {"tokens": ["x" * 99] * 2000}}]
)
def test_a_long_answer_is_the_same_in_steps(choice: dict[str, Any]) -> None:
    content = orjson.dumps({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 9}})
    assert told(read_in_steps(content)) == told(read(content))
    bare = orjson.dumps({"choices": [choice]})
    assert read_in_steps(bare).usage(1) == read(bare).usage(1)
