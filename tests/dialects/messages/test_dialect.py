"""The messages dialect as the gateway sees it."""

from gateway.dialects.count_tokens.dialect import COUNT_TOKENS
from gateway.dialects.dialect import AnswerReport, Dialect
from gateway.dialects.messages.dialect import MESSAGES
from gateway.upstream.whole_body import WholeBody
from tests.dialects.messages.events import ANSWER, IDENTITY
from tests.upstream.body_owner import Owner

BOTH: tuple[Dialect, ...] = (MESSAGES, COUNT_TOKENS)


def test_both_dialects_are_asked_of_upstreams_that_speak_messages() -> None:
    assert [(each.name, each.path, each.upstream_path) for each in BOTH] == [
        ("messages", "/v1/messages", "/messages"),
        ("count_tokens", "/v1/messages/count_tokens", "/messages/count_tokens"),
    ]
    assert (MESSAGES.speaks, COUNT_TOKENS.speaks) == ("messages", "messages")
    assert (MESSAGES.streams, COUNT_TOKENS.streams) == (True, False)
    assert MESSAGES.forwarded == COUNT_TOKENS.forwarded == {"anthropic-version": "2023-06-01", "anthropic-beta": None}
    assert MESSAGES.forwards_query
    assert COUNT_TOKENS.forwards_query
    assert (MESSAGES.id_field, COUNT_TOKENS.id_field) == ("request-id", "request-id")


def test_a_connection_is_kept_alive_by_pings_and_ended_by_its_body() -> None:
    assert MESSAGES.keepalive == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert MESSAGES.terminal == b""


def test_events_in_place_of_a_whole_message_are_joined() -> None:
    owner = Owner()
    body = owner.body = WholeBody(owner, MESSAGES, IDENTITY)
    body.feed(b"".join(ANSWER))
    body.finish()
    assert owner.calls == ["content", "complete"]
    assert body.document is not None
    assert b'"text":"Hello!"' in bytes(body.document.encode(AnswerReport(body.usage(0), {})))
    assert (body.usage(0).prompt_tokens, body.usage(0).completion_tokens) == (25, 15)
