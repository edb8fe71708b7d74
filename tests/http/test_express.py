"""Plain streamed completions take the fast way past aiohttp; every other request is answered the same."""

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.http.client_connection import MAX_SENT_AHEAD, PIECES_SECONDS
from gateway.http.request_parser import MAX_CONTENT_BYTES, REQUEST_LINES
from tests.kit.completions import ENDLESS, MODEL, QUICK, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import Answer, RawClient
from tests.kit.raw_upstream import RawUpstream, json_answer
from tests.kit.upstreams import Upstream

WHOLE_TEXT = text(8)
AIOHTTPS_WAY = {"Upgrade": "nothing"}  # a header that changes nothing but the way
LINE = REQUEST_LINES[0]


def request(content: bytes, *fields: str) -> bytes:
    lines = ["Host: localhost", "Content-Type: application/json", f"Content-Length: {len(content)}", *fields]
    return LINE + "\r\n".join([*lines, "", ""]).encode() + content


PLAIN = request(json.dumps(body(QUICK, stream=True)).encode())


def answer_to(gateway: Gateway, content: Any, **headers: str) -> Answer:
    with RawClient(gateway.port) as client:
        client.post(content, **headers)
        return client.answer()


def test_a_request_is_answered_at_whatever_byte_it_was_cut(gateway: LocalGateway) -> None:
    with RawClient(gateway.port) as client:
        for cut in (
            1,
            5,
            len(LINE) - 1,
            len(LINE),
            len(LINE) + 3,
            PLAIN.index(b"{"),
            -1,
        ):
            client.socket.sendall(PLAIN[:cut])
            gateway.turn()
            client.socket.sendall(PLAIN[cut:])
            assert client.answer().text() == WHOLE_TEXT


def test_a_request_in_many_pieces_is_answered(gateway: LocalGateway) -> None:
    with RawClient(gateway.port) as client:
        for at in range(0, len(PLAIN), 16):
            client.socket.sendall(PLAIN[at : at + 16])
            gateway.turn()
        assert client.answer().text() == WHOLE_TEXT


def test_requests_that_were_sent_ahead_are_answered_in_their_order(gateway: LocalGateway) -> None:
    tokens = [1, 2, 3, 4, 5, 6]
    requests = [request(json.dumps(body({**QUICK, "tokens": count}, stream=True)).encode()) for count in tokens]
    with RawClient(gateway.port) as client:
        client.socket.sendall(requests[0])
        gateway.turn()
        for ahead in requests[1:]:
            client.socket.sendall(ahead)
        assert [client.answer().text() for _ in tokens] == [text(count) for count in tokens]


def test_more_than_is_held_of_what_was_sent_ahead_is_answered_too(gateway: LocalGateway) -> None:
    padded = request(json.dumps(body(QUICK, stream=True, user="x" * 200_000)).encode())
    ahead = 2 * MAX_SENT_AHEAD // len(padded)
    slow = request(json.dumps(body({**QUICK, "ttft_ms": 300}, stream=True)).encode())
    with RawClient(gateway.port) as client:
        client.socket.sendall(slow)
        gateway.turn()
        sending = threading.Thread(target=client.socket.sendall, args=(padded * ahead,))
        sending.start()
        assert [client.answer().status for _ in range(1 + ahead)] == [200] * (1 + ahead)
        sending.join()


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_client_that_sent_far_ahead_and_hangs_up_is_gone(gateway: Gateway, alpha: Upstream, how: str) -> None:
    before = alpha.statistics()
    with RawClient(gateway.port) as client:
        client.socket.sendall(request(json.dumps(body(ENDLESS, stream=True)).encode()))
        client.head()
        client.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.socket.sendall(PLAIN * (20 * MAX_SENT_AHEAD // len(PLAIN)))
        client.hang_up(how)
    alpha.wait_for_abort(before)


def test_a_refusal_that_cannot_be_written_in_utf_8_is_told_all_the_same(logs: Path) -> None:
    refusal = rb'{"error": {"message": "bad \ud800", "code": "x\ud800", "param": "p\ud800"}}'
    upstream = RawUpstream(lambda request: json_answer(400, refusal))
    gateway = LocalGateway(logs, configuration([(upstream, [MODEL])]), KEYS)
    try:
        for way in ({}, AIOHTTPS_WAY):
            refused = answer_to(gateway, body(stream=True), **way)
            assert refused.status == 400
            assert "bad" in refused.error()["message"]
    finally:
        gateway.close()
        upstream.close()


def test_the_rest_of_a_request_may_be_slow_to_come(gateway: Gateway) -> None:
    with RawClient(gateway.port) as client:
        client.socket.sendall(PLAIN[:-5])
        time.sleep(PIECES_SECONDS + 0.5)
        client.socket.sendall(PLAIN[-5:])
        assert client.answer().text() == WHOLE_TEXT


def test_a_client_that_leaves_in_the_middle_of_its_request_reaches_no_upstream(
    gateway: Gateway, alpha: Upstream
) -> None:
    before = alpha.statistics()
    for how in ("fin", "half", "rst"):
        with RawClient(gateway.port) as client:
            client.socket.sendall(PLAIN[:-5])
            client.hang_up(how)
    assert answer_to(gateway, body(QUICK, stream=True)).status == 200
    assert alpha.statistics().requests == before.requests + 1


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(["Upgrade: nothing"], id="an upgrade"),
        pytest.param(["X-A: 1", "X-A: 2"], id="a field twice"),
        pytest.param(["X-A: caf\u00e9"], id="beyond ASCII"),
        pytest.param(["Origin: http://localhost"], id="from a page"),
        pytest.param(["Expect: 100-continue"], id="expects an interim answer"),
        pytest.param(["X-A: " + "a" * 8000], id="a long head"),
    ],
)
def test_what_is_not_plain_is_answered_the_same(gateway: Gateway, fields: list[str]) -> None:
    content = json.dumps(body(QUICK, stream=True)).encode()
    with RawClient(gateway.port) as client:
        client.socket.sendall(request(content, *fields))
        first = client.head()
        if first.status == 100:
            first = client.head()
        assert first.status == 200
        assert b"".join(iter(client.chunk, b"")).endswith(b"data: [DONE]\n\n")
        client.socket.sendall(PLAIN)  # the connection stays as good as it was
        assert client.answer().text() == WHOLE_TEXT


def test_a_large_request_is_answered(gateway: Gateway) -> None:
    padded = body(QUICK, stream=True, user="x" * 2 * MAX_CONTENT_BYTES)
    assert answer_to(gateway, padded).text() == WHOLE_TEXT


@pytest.mark.parametrize(
    ("change", "headers"),
    [
        pytest.param({"model": "nobody/knows"}, {}, id="an unknown model"),
        pytest.param({"messages": "hot"}, {}, id="a field of the wrong type"),
        pytest.param({}, {"X-Usage-Event": "sometimes"}, id="a bad header"),
        pytest.param({}, {"X-Max-TTFT-Ms": "soon"}, id="a bad budget"),
        pytest.param({}, {"X-Stream-Key": "k" * 300}, id="a bad key"),
        pytest.param({"simulate": {"status": 400}}, {}, id="refused by the upstream"),
        pytest.param({"simulate": {"status": 503}}, {}, id="failed by the upstream"),
        pytest.param({"simulate": {"ttft_ms": 5000}}, {"X-Max-TTFT-Ms": "50"}, id="over the budget"),
    ],
)
def test_an_error_is_the_same_on_both_ways(gateway: Gateway, change: dict[str, Any], headers: dict[str, str]) -> None:
    sent = {"x-request-id": "both", **headers}
    content = {**body(QUICK, stream=True), **change}
    with RawClient(gateway.port) as client:
        client.request("POST", "/v1/chat/completions", content, **sent)
        fast = client.answer()
        client.socket.sendall(PLAIN)  # an error is no reason to close
        assert client.answer().text() == WHOLE_TEXT
    slow = answer_to(gateway, content, **sent, **AIOHTTPS_WAY)
    assert fast.status == slow.status >= 400
    assert fast.headers.keys() == slow.headers.keys()
    for name in fast.headers.keys() - {"date", "content-length", "content-type"}:
        assert fast.headers[name] == slow.headers[name]
    assert fast.headers["content-type"] == slow.headers["content-type"].partition(";")[0]
    assert fast.error() == slow.error()


def test_an_answer_is_the_same_on_both_ways(gateway: Gateway) -> None:
    content = body(QUICK, stream=True)
    fast, slow = answer_to(gateway, content), answer_to(gateway, content, **AIOHTTPS_WAY)
    assert fast.text() == slow.text() == WHOLE_TEXT
    assert fast.headers.keys() == slow.headers.keys()
    assert fast.events()[0]["model"] == slow.events()[0]["model"]
