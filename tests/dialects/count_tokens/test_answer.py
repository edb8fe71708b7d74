"""A count goes out as it came and costs nothing; events in its place are no answer."""

import pytest

from gateway.dialects.count_tokens.dialect import COUNT_TOKENS
from gateway.dialects.dialect import AnswerReport
from gateway.dialects.usage import Usage
from gateway.dialects.whole_only import NO_STREAM
from gateway.errors import UpstreamError
from gateway.upstream.whole_body import WholeBody
from tests.dialects.messages.events import ANSWER, IDENTITY, event
from tests.upstream.body_owner import Owner

REPORT = AnswerReport(Usage(5, 6, estimated=True), {})


def played(*pieces: bytes) -> tuple[Owner, WholeBody]:
    owner = Owner()
    body = owner.body = WholeBody(owner, COUNT_TOKENS, IDENTITY)
    for piece in pieces:
        body.feed(piece)
    for _ in body.finish() or ():
        pass
    return owner, body


@pytest.mark.parametrize("content", [b'{"input_tokens": 14}', b'{ "input_tokens":0,"x":12345678901234567890123}\n'])
def test_a_count_goes_out_as_it_came_and_costs_nothing(content: bytes) -> None:
    owner, body = played(content)
    assert owner.calls == ["content", "complete"]
    assert body.document is not None
    assert body.document.encode(REPORT) == content
    assert body.usage(9) == Usage(0, 0, estimated=False)


@pytest.mark.parametrize(
    ("content", "reason", "quoted"),
    [
        (b"", "the upstream's answer is not JSON", ""),
        (b"[]", "the upstream's answer is not a JSON object", ""),
        (b'{"input_tokens": "14"}', "the upstream's answer is not a count: it has no input_tokens", ""),
        (b'{"input_tokens": true}', "the upstream's answer is not a count: it has no input_tokens", ""),
        (b'{"type":"error","error":{"type":"api_error","message":"no"}}', "the upstream reported an error", "no"),
        (b'{"x":"%b"}' % (b"A" * 70_000), "the upstream's answer is not a count: it has more than 65536 bytes", ""),
    ],
)
def test_what_is_no_count_is_refused_as_what_it_is(content: bytes, reason: str, quoted: str) -> None:
    owner, _ = played(content)
    assert owner.calls == ["broken"]
    assert isinstance(owner.error, UpstreamError)
    assert (owner.error.reason, owner.error.quoted) == (reason, quoted)


def test_events_in_place_of_a_count_are_no_answer() -> None:
    owner, _ = played(*ANSWER)
    assert owner.calls == ["broken"]
    assert owner.error is not None
    assert owner.error.message == NO_STREAM
    owner, _ = played(event("error", error={"type": "api_error", "message": "no"}))
    assert owner.error is not None
    assert owner.error.quoted == "no"
