"""Details of the usage that JSON parsers of the world read and ours refuse: the answer is told, booked and over."""

import json
from collections.abc import Iterator

import pytest

from tests.kit.completions import MODEL, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.raw_upstream import RawUpstream

DETAILS = {
    "plain": '{"cached_tokens":1}',
    "more than 64 bits": '{"cached_tokens":1180591620717411303424}',
    "a lone surrogate": '{"note":"\\ud800"}',
    "300 levels": '{"note":' + "[" * 300 + "]" * 300 + "}",
}
SHARED = '"id":"c","created":1,"model":"m"'
CONTENT = f'{{{SHARED},"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{"content":"hi"}}}}]}}'
FINISH = (
    f'{{{SHARED},"object":"chat.completion.chunk","choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}'
)
MESSAGE = '"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]'


def answer(request: bytes) -> bytes:
    """A completion in the form that was asked for, with the details that `user` names."""
    asked = json.loads(request.partition(b"\r\n\r\n")[2])
    counts = '"prompt_tokens":3,"completion_tokens":1,"total_tokens":4'
    usage = f'"usage":{{{counts},"prompt_tokens_details":{DETAILS[asked["user"]]}}}'
    if asked.get("stream"):
        last = f'{{{SHARED},"object":"chat.completion.chunk","choices":[],{usage}}}'
        kind, content = "text/event-stream", "".join(f"data: {event}\n\n" for event in (CONTENT, FINISH, last))
        content += "data: [DONE]\n\n"
    else:
        kind, content = "application/json", f'{{{SHARED},"object":"chat.completion",{MESSAGE},{usage}}}'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    return (head + content).encode()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGateway]:
    upstream = RawUpstream(answer, "odd")
    gateway = LocalGateway(tmp_path_factory.mktemp("odd"), configuration([(upstream, [MODEL])]), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()
        upstream.close()


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("details", DETAILS)
def test_an_answer_with_odd_details_of_its_usage_is_told_and_booked(
    gateway: LocalGateway, details: str, stream: bool
) -> None:
    told = fetch(gateway.port, body(stream=stream, user=details, stream_options={"include_usage": True}))
    assert told.status == 200
    assert b'"prompt_tokens":3' in told.body
    if stream:
        assert told.body.endswith(b"data: [DONE]\n\n")
        kept = json.loads(call(gateway, "GET", f"/v1/streams/{told.headers['x-stream-id']}").body)
        assert (kept["ending"], kept["usage"]["prompt_tokens"]) == ("completed", 3)
    record = gateway.ending(told.headers["x-request-id"])
    assert (record["ending"], record["prompt_tokens"], record["completion_tokens"]) == ("completed", 3, 1)
    assert json.loads(call(gateway, "GET", "/readyz").body)["streams"] == 0


def test_an_answer_that_comes_in_one_read_has_the_times_of_every_stage(gateway: LocalGateway) -> None:
    told = fetch(gateway.port, body(stream=True, user="plain"))
    stream = json.loads(call(gateway, "GET", f"/v1/streams/{told.headers['x-stream-id']}").body)
    times = stream["ttft"]
    assert 0 < times["first_byte_ms"] <= times["first_event_ms"] <= times["first_content_ms"]
