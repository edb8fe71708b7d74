"""A whole chat completion: repaired for strict clients, its usage kept beside it, or refused as what it is."""

import orjson
import pytest

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import AnswerDocument, AnswerIdentity, AnswerReport
from gateway.errors import UpstreamError

MESSAGE = b'{"message": {"content": "hello"}}'


def read(content: bytes) -> AnswerDocument:
    return CHAT.read_document(content, AnswerIdentity("1", 1_750_000_000, "gpt-x"))


def test_the_report_replaces_what_the_upstream_said_of_usage_and_routing() -> None:
    document = read(
        b'{"choices": [%b], "usage": {"total_tokens": 9}, "routing_metadata": {"provider": "x"}}' % MESSAGE
    )
    report = AnswerReport(document.usage(5), {"provider": "alpha"})
    completion = orjson.loads(bytes(document.encode(report)))
    assert (completion["id"], completion["model"]) == ("chatcmpl-1", "gpt-x")
    assert completion["usage"] == report.usage.as_json()
    assert completion["routing_metadata"] == {"provider": "alpha"}


def test_the_counts_of_the_upstream_win_over_an_estimate() -> None:
    counted = read(b'{"choices": [%b], "usage": {"prompt_tokens": 2, "completion_tokens": 1}}' % MESSAGE)
    assert (counted.usage(7).prompt_tokens, counted.usage(7).estimated) == (2, False)
    estimated = read(b'{"choices": [%b]}' % MESSAGE).usage(7)
    assert (estimated.prompt_tokens, estimated.estimated) == (7, True)
    assert estimated.completion_tokens == 2


@pytest.mark.parametrize(
    ("content", "reason", "quoted"),
    [
        (b"", "the upstream's answer is not JSON", ""),
        (b"[]", "the upstream's answer is not a JSON object", ""),
        (b'{"error": {"message": "no"}}', "the upstream reported an error", "no"),
        (b'{"choices": [3]}', "the upstream's answer is not a completion: choices[0] is not an object", ""),
    ],
)
def test_what_is_no_completion_is_refused_as_what_it_is(content: bytes, reason: str, quoted: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        read(content)
    assert (caught.value.reason, caught.value.quoted) == (reason, quoted)
