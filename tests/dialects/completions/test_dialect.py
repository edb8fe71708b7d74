"""Text completions as the gateway sees them: the names on the wire, and the envelope of a refusal."""

import orjson

from gateway.dialects.completions.dialect import COMPLETIONS
from gateway.errors import RateLimited


def test_the_names_on_the_wire_are_those_that_clients_and_upstreams_know() -> None:
    assert (COMPLETIONS.path, COMPLETIONS.upstream_path) == ("/v1/completions", "/completions")
    assert (COMPLETIONS.keepalive, COMPLETIONS.terminal) == (b": keepalive\n\n", b"data: [DONE]\n\n")
    assert (COMPLETIONS.name, COMPLETIONS.speaks, COMPLETIONS.streams) == ("completions", "completions", True)


def test_a_refusal_is_the_envelope_with_the_status_and_the_headers_of_the_error() -> None:
    error = RateLimited("over its limit", retry_after=7)
    refusal = COMPLETIONS.refusal(error, "req_1")
    assert (refusal.status, refusal.headers) == (429, {"Retry-After": "7", "x-should-retry": "true"})
    assert orjson.loads(refusal.body) == error.envelope()


def test_the_words_of_an_error_answer_are_found() -> None:
    told = COMPLETIONS.read_error({"error": {"message": "Unknown field: stream_options"}})
    assert told is not None
    assert (told.text, told.refuses_usage) == ("Unknown field: stream_options", True)
