"""Chat completions as the gateway sees them: the names on the wire, and the envelope of a refusal."""

import orjson

from gateway.dialects.chat.dialect import CHAT
from gateway.errors import ClientError, RateLimited


def test_a_refusal_is_the_envelope_with_the_status_and_the_headers_of_the_error() -> None:
    error = RateLimited("over its limit", retry_after=7)
    refusal = CHAT.refusal(error, "req_1")
    assert (refusal.status, refusal.headers) == (429, {"Retry-After": "7", "x-should-retry": "true"})
    assert orjson.loads(refusal.body) == error.envelope()
    assert CHAT.refusal(ClientError("no"), "req_1").headers == {"x-should-retry": "false"}


def test_the_names_on_the_wire_are_those_that_clients_and_upstreams_know() -> None:
    assert (CHAT.path, CHAT.upstream_path) == ("/v1/chat/completions", "/chat/completions")
    assert (CHAT.keepalive, CHAT.terminal) == (b": keepalive\n\n", b"data: [DONE]\n\n")
