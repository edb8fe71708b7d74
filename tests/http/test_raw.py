"""The bytes on the wire: curl, naive clients, HTTP/1.0, reused connections, bad requests, early commits, fallback."""

import gzip
import json
import re
import subprocess
from typing import Any

import pytest

from tests.kit.completions import MODEL, QUICK, body, text
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import Answer, RawClient, fetch
from tests.kit.upstreams import Upstream

WHOLE_TEXT = text(8)


def test_curl_prints_frames_and_nothing_else(curl: str, gateway: Gateway) -> None:
    url, request = f"{gateway.url}/chat/completions", json.dumps(body(QUICK, stream=True))
    command = [curl, "-sSN", "--noproxy", "*", "-i", url, "-H", "Content-Type: application/json", "-d", request]
    printed = subprocess.run(command, capture_output=True, timeout=20, check=True).stdout
    head, _, content = printed.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    answer = Answer(200, {}, content)
    assert answer.text() == WHOLE_TEXT
    assert answer.events()[-1] == "[DONE]"
    assert content.count(b"\n\n") == len(answer.events()) == 11
    assert b"\r" not in content


def test_the_events_are_the_very_bytes_of_a_provider_that_conforms(gateway: Gateway, alpha: Upstream) -> None:
    request = body(QUICK, stream=True)
    port = int(re.findall(r":(\d+)/", alpha.base_url)[0])
    direct = fetch(port, {**request, "model": "gpt-4o-2024"})
    [own_id] = set(re.findall(rb'"id":"(chatcmpl-[^"]+)"', direct.body))
    relayed = fetch(gateway.port, request).body
    [its_id] = set(re.findall(rb'"id":"(chatcmpl-[^"]+)"', relayed))
    assert relayed.replace(its_id, own_id) == direct.body


def test_each_read_is_whole_for_a_client_that_carries_nothing_over(gateway: Gateway) -> None:
    with RawClient(gateway.port) as client:
        client.post(body({"ttft_ms": 20, "gap_ms": 20, "tokens": 20}, stream=True))
        reads: list[bytes] = []
        while not reads or not reads[-1].endswith(b"\r\n0\r\n\r\n"):
            reads.append(client.receive())
            assert reads[-1]
    text_read = ""
    for read in reads:
        assert read.endswith((b"\n\n\r\n", b"\r\n\r\n"))
        for line in read.split(b"\n"):
            if line.startswith(b"data: {"):
                text_read += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
    assert text_read == text(20)
    assert len(reads) >= 10


def test_each_event_is_one_chunk_and_the_last_two_come_in_one_read(gateway: Gateway) -> None:
    answer = fetch(gateway.port, body({"ttft_ms": 5, "gap_ms": 10, "tokens": 5}, stream=True))
    assert all(chunk.endswith(b"\n\n") and chunk.startswith(b"data: ") for chunk in answer.chunks)
    assert answer.chunks[-1].endswith(b"data: [DONE]\n\n")


def test_an_http_1_0_client_gets_no_chunks_and_the_end_of_the_connection(gateway: Gateway) -> None:
    with RawClient(gateway.port) as client:
        client.post(body(QUICK, stream=True), version="1.0")
        answer = client.answer()
    assert answer.status == 200
    assert "transfer-encoding" not in answer.headers
    assert answer.headers.get("connection", "close").lower() == "close"
    assert answer.text() == WHOLE_TEXT
    assert answer.events()[-1] == "[DONE]"


def test_an_http_1_0_client_that_asks_for_keep_alive_gets_the_end_all_the_same(gateway: Gateway) -> None:
    with RawClient(gateway.port) as client:
        client.post(body(QUICK, stream=True), version="1.0", Connection="keep-alive")
        assert client.answer().text() == WHOLE_TEXT


def test_a_client_that_asks_for_the_close_gets_it_after_the_stream(gateway: Gateway) -> None:
    with RawClient(gateway.port) as client:
        client.post(body(QUICK, stream=True), Connection="close")
        assert client.answer().text() == WHOLE_TEXT
        assert client.rest() == b""


def test_one_connection_serves_streams_answers_and_errors_in_turn(gateway: Gateway, alpha: Upstream) -> None:
    fetch(gateway.port, body(QUICK, stream=True))
    before = alpha.statistics()
    with RawClient(gateway.port) as client:
        for _ in range(2):
            client.post(body(QUICK, stream=True))
            assert client.answer().text() == WHOLE_TEXT
            client.post(body(QUICK))
            assert json.loads(client.answer().body)["choices"][0]["message"]["content"] == WHOLE_TEXT
            client.post(body(QUICK, model="no-such-model", stream=True))
            assert client.answer().status == 404
            client.post(body({**QUICK, "error_after": 2}, stream=True))
            assert client.answer().events()[-2]["error"]["code"] == "upstream_error"
            client.request("GET", "/healthz")
            assert client.answer().status == 200
    seen = alpha.statistics()
    assert seen.requests == before.requests + 6
    # The provider closes the connection after its error; all others are used again.
    assert seen.connections_accepted <= before.connections_accepted + 2
    assert seen.aborted == before.aborted


def test_a_request_that_was_sent_ahead_is_answered_after_the_stream(gateway: Gateway) -> None:
    with RawClient(gateway.port) as client:
        client.post(body({**QUICK, "gap_ms": 10}, stream=True))
        client.post(body(QUICK))
        assert client.answer().text() == WHOLE_TEXT
        assert json.loads(client.answer().body)["choices"][0]["message"]["content"] == WHOLE_TEXT


def test_many_requests_that_were_sent_ahead_are_all_answered(gateway: LocalGateway) -> None:
    content = json.dumps(body(QUICK)).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(content)
    more = 40  # more requests than aiohttp parses at once
    with RawClient(gateway.port) as client:
        client.socket.sendall(head)
        gateway.turn()  # so that the first one is taken up before its body is there
        client.socket.sendall(content + (head + content) * more)
        assert [client.answer().status for _ in range(1 + more)] == [200] * (1 + more)


@pytest.mark.parametrize("first", ["nothing", "a whole answer", "a stream"])
def test_garbage_is_answered_in_turn_with_the_envelope_and_the_close(gateway: Gateway, first: str) -> None:
    garbage = b"\x00\x01 this is no HTTP\r\n\r\n"
    with RawClient(gateway.port) as client:
        if first == "a whole answer":
            client.post(body(QUICK))
            assert client.answer().status == 200
        if first == "a stream":
            client.post(body({**QUICK, "gap_ms": 20}, stream=True))
            assert client.head().status == 200
        client.socket.sendall(garbage)
        if first == "a stream":
            assert Answer(200, {}, b"".join(iter(client.chunk, b""))).text() == WHOLE_TEXT
        refused = client.answer()
        assert client.rest() == b""
    assert refused.status == 400
    assert (refused.error()["type"], refused.error()["code"]) == ("invalid_request_error", "invalid_request")
    assert refused.headers["x-request-id"].startswith("req_")
    assert refused.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("sane", ["abc", "A.b_c:d-1", "x" * 128])
def test_a_sane_request_id_is_echoed(gateway: Gateway, sane: str) -> None:
    for request in (body(QUICK, stream=True), body(QUICK), body(model="no-such-model")):
        assert fetch(gateway.port, request, x_request_id=sane).headers["x-request-id"] == sane


@pytest.mark.parametrize("bad", ["", "two words", "x" * 129, "x" * 500, "a\tb", "ümlaut", 'quo"te', "<b>"])
def test_any_other_request_id_is_replaced(gateway: Gateway, bad: str) -> None:
    given = fetch(gateway.port, body(QUICK, stream=True), x_request_id=bad).headers["x-request-id"]
    assert re.fullmatch(r"req_[0-9a-f]{24}", given)


REFUSALS: list[tuple[str, str, str, Any, int, str, str]] = [
    ("an unknown path", "GET", "/v1/nothing", b"", 404, "not_found_error", "resource_not_found"),
    ("an unknown page", "GET", "/nothing", b"", 404, "not_found_error", "resource_not_found"),
    ("an unknown model", "GET", "/v1/models/no/such", b"", 404, "not_found_error", "model_not_found"),
    ("a wrong method", "GET", "/v1/chat/completions", b"", 405, "invalid_request_error", "method_not_allowed"),
    ("another wrong method", "PUT", "/v1/models", b"", 405, "invalid_request_error", "method_not_allowed"),
    ("no body", "POST", "/v1/chat/completions", b"", 400, "invalid_request_error", "invalid_request"),
    ("no JSON", "POST", "/v1/chat/completions", b"{nope", 400, "invalid_request_error", "invalid_request"),
    ("no object", "POST", "/v1/chat/completions", b"[]", 400, "invalid_request_error", "invalid_request"),
    ("bad UTF-8", "POST", "/v1/chat/completions", b'"\xff"', 400, "invalid_request_error", "invalid_request"),
    (
        "no model",
        "POST",
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "x"}]},
        400,
        "invalid_request_error",
        "invalid_parameter_value",
    ),
    (
        "no messages",
        "POST",
        "/v1/chat/completions",
        {"model": MODEL},
        400,
        "invalid_request_error",
        "invalid_parameter_value",
    ),
    (
        "too much",
        "POST",
        "/v1/chat/completions",
        b" " * 4_194_305,
        413,
        "invalid_request_error",
        "payload_too_large",
    ),
]


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "kind", "code"),
    [row[1:] for row in REFUSALS],
    ids=[row[0] for row in REFUSALS],
)
def test_every_refusal_is_the_envelope(
    gateway: Gateway, method: str, path: str, content: Any, status: int, kind: str, code: str
) -> None:
    with RawClient(gateway.port) as client:
        client.request(method, path, content)
        refused = client.answer()
    assert refused.status == status
    error = refused.error()
    assert error.keys() == {"message", "type", "code", "param"}
    assert (error["type"], error["code"]) == (kind, code)
    assert error["message"]
    assert refused.headers["content-type"].startswith("application/json")
    assert refused.headers["x-request-id"].startswith("req_")
    assert refused.headers["x-should-retry"] == "false"
    assert refused.headers["server"] == "rivergate"
    if status == 405:
        assert refused.headers["allow"]


def test_a_bad_usage_event_header_is_refused(gateway: Gateway) -> None:
    refused = fetch(gateway.port, body(QUICK, stream=True), X_Usage_Event="sometimes")
    assert (refused.status, refused.error()["param"]) == (400, "X-Usage-Event")


def test_a_body_far_too_large_is_refused_while_it_is_still_sent(gateway: Gateway) -> None:
    with RawClient(gateway.port) as client:
        client.post(b" " * 40_000_000)
        assert client.answer().error()["code"] == "payload_too_large"


def test_a_body_that_is_not_compressed_as_it_says_is_the_clients_fault(gateway: Gateway) -> None:
    refused = fetch(gateway.port, b"this is no gzip", Content_Encoding="gzip")
    assert (refused.status, refused.error()["type"]) == (400, "invalid_request_error")


def test_a_compressed_body_is_read_and_its_true_size_counts(gateway: Gateway) -> None:
    good, bomb = gzip.compress(json.dumps(body(QUICK, stream=True)).encode()), gzip.compress(b" " * 50_000_000)
    assert fetch(gateway.port, good, Content_Encoding="gzip").text() == WHOLE_TEXT
    assert fetch(gateway.port, bomb, Content_Encoding="gzip").status == 413


@pytest.mark.parametrize("depth", [200, 300, 900, 100_000])
def test_a_body_that_is_nested_too_deeply_is_the_clients_fault(gateway: Gateway, depth: int) -> None:
    nested = json.dumps(body(QUICK))[:-1].encode() + b', "extra": ' + b"[" * depth + b"]" * depth + b"}"
    answer = fetch(gateway.port, nested)
    assert answer.status == 200 if depth < 250 else answer.status in (200, 400)


def test_an_expectation_that_cannot_be_met_is_refused_with_the_envelope(gateway: Gateway) -> None:
    refused = fetch(gateway.port, body(QUICK), Expect="tea")
    assert refused.status == 417
    assert refused.error()["type"] == "invalid_request_error"


def test_a_body_that_turns_to_garbage_gets_an_end(gateway: Gateway) -> None:
    with RawClient(gateway.port) as client:
        fields = b"Host: localhost\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.socket.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n" + fields)
        assert client.head().status == 100
        client.socket.sendall(b'5\r\n{"a":\r\n')
        client.socket.sendall(b"this is no size of a chunk\r\n")
        client.socket.settimeout(3)
        assert client.answer().status == 400
        assert client.rest() == b""


def test_a_header_that_is_too_long_is_refused_with_the_envelope(gateway: Gateway) -> None:
    with RawClient(gateway.port) as client:
        client.request("GET", "/healthz", X_Long="x" * 20_000)
        refused = client.answer()
    assert refused.status in (400, 431)
    assert refused.error()["type"] == "invalid_request_error"


def test_a_client_that_waits_for_the_continue_gets_it(gateway: Gateway) -> None:
    content = json.dumps(body(QUICK, stream=True)).encode()
    with RawClient(gateway.port) as client:
        client.request("POST", "/v1/chat/completions", b"", Content_Length=str(len(content)), Expect="100-continue")
        assert client.head().status == 100
        client.socket.sendall(content)
        assert client.answer().text() == WHOLE_TEXT
