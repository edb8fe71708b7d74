"""No framing of a body holds the event loop, whether its client is known or not: a chunk of one byte is work, too."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit.completions import MODEL, QUICK, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, RawClient
from tests.kit.upstreams import Upstream

pytestmark = pytest.mark.deep

LONGEST_TURN = 0.02
BLANKS = 200_000  # bytes of the body, each in a chunk of its own: a read of 256 KiB holds 40,000 of them
REQUEST = json.dumps(body(QUICK)).encode()


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])]), KEYS)
    yield gateway
    gateway.close()


def chunks(content: bytes, size: int, extension: bytes) -> bytes:
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts) + b"0\r\n\r\n"


def post(port: int, path: str, framed: bytes) -> Answer:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with RawClient(port) as client:
        with suppress(BrokenPipeError, ConnectionResetError):
            client.socket.sendall(head + framed)
        return client.answer()


@pytest.mark.parametrize("extension", [b"", b";a=b", b';a="' + b"x" * 100 + b'"'])
@pytest.mark.parametrize("size", [1, 3, 64])
def test_a_body_in_tiny_chunks_is_read_and_holds_up_nobody(
    gateway: LocalGateway, size: int, extension: bytes
) -> None:
    framed = chunks(REQUEST + b" " * BLANKS, size, extension)
    answer, longest = gateway.watch(lambda: post(gateway.port, "/v1/chat/completions", framed), LONGEST_TURN)
    assert answer.status == 200, answer.body
    assert longest < LONGEST_TURN


def test_tiny_chunks_to_a_path_that_wants_no_body_hold_up_nobody(gateway: LocalGateway) -> None:
    framed = chunks(b" " * BLANKS, 1, b"")
    answer, longest = gateway.watch(lambda: post(gateway.port, "/v1/nothing", framed), LONGEST_TURN)
    assert answer.status == 404
    assert longest < LONGEST_TURN


def test_requests_behind_a_body_in_tiny_chunks_are_answered_in_their_order(gateway: LocalGateway) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    models = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
    framed = chunks(REQUEST + b" " * BLANKS, 1, b"")
    with RawClient(gateway.port) as client:
        client.socket.sendall((head + framed + models * 40) * 2 + models)
        answers = [client.answer() for _ in range(83)]
    assert [answer.status for answer in answers] == [200] * 83
    assert ["data" in json.loads(answer.body) for answer in answers] == ([False] + [True] * 40) * 2 + [True]
