"""Embeddings as the gateway sees them: the names on the wire, and events in the place of an answer."""

import pytest

from gateway.dialects.dialect import AnswerIdentity
from gateway.dialects.embeddings.dialect import EMBEDDINGS
from gateway.dialects.whole_only import NO_STREAM, NoEventsJoiner
from gateway.errors import RateLimited
from gateway.upstream.whole_body import WholeBody
from tests.upstream.body_owner import Owner

IDENTITY = AnswerIdentity("1", 1, "m")


def whole(*pieces: bytes) -> Owner:
    owner = Owner()
    body = owner.body = WholeBody(owner, EMBEDDINGS, IDENTITY)
    for piece in pieces:
        for _ in body.feed(piece) or ():
            pass
    for _ in body.finish() or ():
        pass
    return owner


def test_the_names_on_the_wire_are_those_that_clients_and_upstreams_know() -> None:
    assert (EMBEDDINGS.path, EMBEDDINGS.upstream_path) == ("/v1/embeddings", "/embeddings")
    assert (EMBEDDINGS.name, EMBEDDINGS.speaks, EMBEDDINGS.streams) == ("embeddings", "embeddings", False)
    refusal = EMBEDDINGS.refusal(RateLimited("over its limit", retry_after=7), "req_1")
    assert (refusal.status, refusal.headers["Retry-After"]) == (429, "7")


@pytest.mark.parametrize("size", [1, 2000])
def test_an_answer_in_pieces_is_read_at_its_end(size: int) -> None:
    content = b'{"data":[{"embedding":[%b0.5]}],"usage":{"prompt_tokens":3}}' % (b"0.25," * 40 * size)
    owner = whole(content[:40], content[40:])
    assert owner.calls == ["content", "complete"]
    assert owner.body.usage(9).prompt_tokens == 3


@pytest.mark.parametrize(
    ("events", "reason", "quoted"),
    [
        (b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n', NO_STREAM, ""),
        (b"data: hello\n\n", NO_STREAM, ""),
        (b": ping\n\ndata: %b\n\n" % (b"x" * 100_000), NO_STREAM, ""),
        (b'data: {"error":{"message":"no"}}\n\n', "the upstream reported an error", "no"),
        (b": ping\n\n", "the upstream ended before any content, with no answer", ""),
    ],
)
def test_events_in_the_place_of_an_answer_are_an_upstream_error(events: bytes, reason: str, quoted: str) -> None:
    owner = whole(events)
    assert owner.calls == ["broken"]
    assert owner.error is not None
    assert (owner.error.reason, owner.error.quoted) == (reason, quoted)


def test_a_joiner_is_given_nothing() -> None:
    for refused in (NoEventsJoiner().add, NoEventsJoiner().add_in_steps):
        with pytest.raises(ValueError, match="not streamed"):
            refused(b"data: {}\n\n")
