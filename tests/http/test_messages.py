"""Messages over HTTP: the bytes that go upstream, what clients get of answers and errors, streams that are shared."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.wire import sse
from tests.dialects.messages.events import ANSWER, STOP, delta, event, payload, started
from tests.kit.completions import CLIENT_KEY, QUICK, UPSTREAM_KEY, text
from tests.kit.configuration import Served
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, RawClient, call
from tests.kit.messages import MODEL, PAIR, message_body, messages_gateway, speaking
from tests.kit.raw_upstream import RawUpstream, json_answer
from tests.kit.upstreams import Upstream

PATH = "/v1/messages"
COUNT_PATH = "/v1/messages/count_tokens"
RAW, CHAT_ONLY = "claude-raw", "chat-only"


class Told:
    """An upstream that answers as a test says."""

    def __init__(self) -> None:
        self.response = b""
        self.upstream = RawUpstream(lambda request: self.response, "told")

    def stream(self, *blocks: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        self.response = head + b"".join(blocks)


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.upstream.close()


@pytest.fixture(scope="module")
def gateway(logs: Path, told: Told, alpha: Upstream, frail_all_session: Upstream) -> Iterator[LocalGateway]:
    sections = '[routing]\noptimize = "priority"\nbreaker_failures = 0\nmax_cooldown_seconds = 0\n'
    served: Served = [(told.upstream, [RAW]), (frail_all_session, [PAIR]), (alpha, [MODEL, PAIR])]
    gateway = messages_gateway(logs, served, sections)
    yield gateway
    gateway.close()


def frames_of(answer: Answer) -> list[bytes]:
    """The frames of a stream, without pings of the gateway."""
    frames = sse.BlockDecoder().feed(answer.body)
    assert b"".join(frames) == answer.body
    return frames


def ask(gateway: LocalGateway, content: Any, path: str = PATH, **headers: str) -> Answer:
    return call(gateway, "POST", path, content, **headers)


def test_a_stream_is_relayed_byte_by_byte(gateway: LocalGateway, told: Told) -> None:
    told.stream(*ANSWER)
    answer = ask(gateway, message_body(model=RAW, stream=True))
    assert answer.body == b"".join(ANSWER)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert answer.headers["x-upstream"] == "told"


BODIES = [
    b'{"model":"%b","max_tokens":64,"messages":[{"role":"user","content":"hi"}],"stream":true}',
    b' {\n "stream" : true , "x":12345678901234567890123, "x":1e400,'
    b'"messages":[{"content":"\\u00e9\\/","role":"user"}],\n"model" : "%b" }\n',
    b'{"stream":true,"model":"%b","tools":[{"model":"x","input_schema":{"model":1.0}}],"messages":[{"a":-0}]}',
]


@pytest.mark.parametrize("body", BODIES)
def test_a_request_goes_upstream_byte_by_byte_with_its_headers_and_its_query(
    gateway: LocalGateway, told: Told, body: bytes
) -> None:
    told.stream(*ANSWER)
    headers = {"anthropic_version": "2023-06-01", "anthropic_beta": "a-1,b-2", "x_api_key": CLIENT_KEY}
    assert ask(gateway, body % RAW.encode(), PATH + "?beta=true", **headers).status == 200
    head, _, content = told.upstream.requests[-1].partition(b"\r\n\r\n")
    assert content == body % b"claude-raw-2024"
    assert head.startswith(b"POST /v1/messages?beta=true HTTP/1.1\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"anthropic-version: 2023-06-01" in lines
    assert b"anthropic-beta: a-1,b-2" in lines
    assert CLIENT_KEY.encode() not in head
    assert UPSTREAM_KEY.encode() in head


def test_a_whole_message_is_relayed_byte_by_byte(gateway: LocalGateway, told: Told) -> None:
    content = (
        b'{ "id":"msg_1","type":"message","role":"assistant","model":"claude-x","x":12345678901234567890123,\n'
        b'"content":[{"type":"text","text":"\\u00e9"}],"stop_reason":"end_turn","stop_sequence":null,'
        b'"usage":{"input_tokens":25,"cache_read_input_tokens":100,"output_tokens":7}}'
    )
    told.response = json_answer(200, content)
    answer = ask(gateway, message_body(model=RAW))
    assert answer.body == content
    ended = gateway.ending(answer.headers["x-request-id"])
    assert (ended["prompt_tokens"], ended["completion_tokens"], ended["usage_estimated"]) == (125, 7, False)


def test_a_count_goes_to_the_upstream_and_comes_back_as_it_came(gateway: LocalGateway, told: Told) -> None:
    told.response = json_answer(200, b'{ "input_tokens":14 }')
    body = b'{"model":"%b", "messages":[{"role":"user","content":"hi"}]}'
    answer = ask(gateway, body % RAW.encode(), COUNT_PATH)
    assert (answer.status, answer.body) == (200, b'{ "input_tokens":14 }')
    head, _, content = told.upstream.requests[-1].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/messages/count_tokens HTTP/1.1\r\n")
    assert content == body % b"claude-raw-2024"
    ended = gateway.ending(answer.headers["x-request-id"])
    assert float(ended["cost_usd"]) == 0


@pytest.mark.parametrize("path", [PATH, COUNT_PATH, "/messages", "/v1/v1/messages/", "//v1/messages?beta=true"])
def test_a_body_that_is_no_request_is_refused_in_the_envelope(gateway: LocalGateway, path: str) -> None:
    for content in (b"{", b'{"model":"m","input":"hi"}', b"[]"):
        answer = ask(gateway, content, path)
        error = json.loads(answer.body)
        assert (answer.status, error["type"], error["error"]["type"]) == (400, "error", "invalid_request_error")
        assert error["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]


def test_an_upstream_that_does_not_speak_messages_is_not_asked(logs: Path, alpha: Upstream) -> None:
    gateway = messages_gateway(logs, [(alpha, [MODEL])])
    gateway.reload(speaking([(alpha, [MODEL])], "chat"))
    before = alpha.statistics().requests
    for path in (PATH, COUNT_PATH):
        answer = ask(gateway, message_body(), path)
        error = json.loads(answer.body)
        assert answer.status in (400, 404)
        assert (error["type"], error["request_id"]) == ("error", answer.headers["request-id"])
        assert "messages" in error["error"]["message"]
    assert alpha.statistics().requests == before
    gateway.close()


@pytest.mark.parametrize(
    "blocks",
    [
        (started(), event("error", error={"type": "overloaded_error", "message": "busy"})),
        (b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n',),
        (b'event: response.created\ndata: {"type":"response.created","response":{"id":"x"}}\n\n',),
        (b'{"type":"message","id":"m","role":"assistant","content":[{"type":"text","text":"hi"}]}',),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}',),
        (started(), STOP),
        (started(),),
    ],
)
def test_an_answer_that_breaks_before_its_content_has_a_status(
    gateway: LocalGateway, told: Told, blocks: tuple[bytes, ...]
) -> None:
    told.stream(*blocks)
    answer = ask(gateway, message_body(model=RAW, stream=True))
    error = json.loads(answer.body)
    is_overloaded = b"overloaded" in b"".join(blocks)
    assert answer.status == (529 if is_overloaded else 502)
    assert error["error"]["type"] == ("overloaded_error" if is_overloaded else "api_error")
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    "behaviour", [{"json_instead": True}, {"html_error": True, "status": 502}, {"status": 500, "gzip": True}]
)
def test_an_error_in_place_of_an_answer_is_told_in_the_envelope(
    gateway: LocalGateway, streamed: bool, behaviour: dict[str, Any]
) -> None:
    answer = ask(gateway, message_body(behaviour, stream=streamed))
    error = json.loads(answer.body)
    assert (answer.status, error["type"], error["error"]["type"]) == (502, "error", "api_error")


def test_a_whole_answer_of_another_api_is_no_message(gateway: LocalGateway, told: Told) -> None:
    for content in (b'{"object":"chat.completion","choices":[{"message":{"content":"hi"}}]}', b'{"output":[]}'):
        told.response = json_answer(200, content)
        answer = ask(gateway, message_body(model=RAW))
        assert answer.status == 502
        assert "not a message" in json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize("count", range(4, len(ANSWER) - 1))
def test_an_answer_that_breaks_after_its_content_ends_with_an_error_event(
    gateway: LocalGateway, told: Told, count: int
) -> None:
    told.stream(*ANSWER[:count])
    *frames, last = frames_of(ask(gateway, message_body(model=RAW, stream=True)))
    assert frames == list(ANSWER[:count])
    if count < 7:
        error = payload(last)
        assert (error["type"], error["error"]["type"]) == ("error", "api_error")
    else:  # the reason of the stop has come
        assert last == STOP


def test_the_error_of_a_mid_stream_failure_keeps_its_type(gateway: LocalGateway, told: Told) -> None:
    told.stream(*ANSWER[:5], event("error", error={"type": "overloaded_error", "message": "busy"}))
    error = payload(frames_of(ask(gateway, message_body(model=RAW, stream=True)))[-1])
    assert error["error"]["type"] == "overloaded_error"
    assert "busy" in error["error"]["message"]


@pytest.mark.parametrize(
    "fault", [{"status": 529}, {"error_first": True}, {"stall_before": "head"}, {"ttft_ms": 5000}]
)
def test_nothing_of_an_attempt_that_loses_goes_out(
    gateway: LocalGateway, frail: Upstream, fault: dict[str, Any]
) -> None:
    frail.follow(**{"ttft_ms": 5, "seed": 7, **fault})
    headers = {"X_Max_TTFT_Ms": "1500"} if fault.keys() & {"stall_before", "ttft_ms"} else {}
    answer = ask(gateway, message_body(model=PAIR, stream=True), **headers)
    events = [payload(frame) for frame in frames_of(answer)]
    assert [told["type"] for told in events].count("message_start") == 1
    assert events[-1]["type"] == "message_stop"
    said = "".join(told["delta"].get("text", "") for told in events if told["type"] == "content_block_delta")
    assert (answer.headers["x-upstream"], said) == ("alpha", text(8))


def test_a_stream_of_messages_is_shared_and_keeps_the_names_of_its_events(gateway: LocalGateway) -> None:
    answer = ask(gateway, message_body(QUICK), "/v1/streams?dialect=messages")
    assert answer.status in (200, 201, 202), answer.body
    stream = json.loads(answer.body)["id"]
    with RawClient(gateway.port) as client:
        client.request("GET", f"/v1/streams/{stream}/events")
        decoded = [sse.decode(block) for block in sse.BlockDecoder().feed(client.answer().body)]
    told = [found for found in decoded if found.data is not None and found.id is not None]
    assert [found.name for found in told][:1] == [b"message_start"]
    assert b"message_stop" in [found.name for found in told]
    names = [json.loads(found.data or b"")["type"].encode() for found in told if b'"type"' in (found.data or b"")]
    assert names == [found.name for found in told][: len(names)]


def test_an_answer_that_is_longer_than_its_limit_is_cut_in_its_own_words(logs: Path, told: Told) -> None:
    sections = "[stream]\nmax_output_tokens = 20\n[routing]\nbreaker_failures = 0\n"
    gateway = messages_gateway(logs, [(told.upstream, [RAW])], sections)
    told.stream(*ANSWER[:3], *[delta("word ") for _ in range(100)], *ANSWER[5:])
    *frames, last = frames_of(ask(gateway, message_body(model=RAW, stream=True)))
    assert payload(last)["type"] == "error"
    assert payload(last)["error"]["details"]["error_code"] == "stream_output_exceeded"
    assert 15 < len(frames) < 40
    gateway.close()
