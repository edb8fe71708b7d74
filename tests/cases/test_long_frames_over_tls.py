"""A long frame is encrypted in parts: whoever receives it by TLS, no turn of the event loop takes long."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.certificates import Certificates
from tests.kit.completions import MODEL, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, RawClient, encrypted
from tests.kit.raw_upstream import RawUpstream

pytestmark = pytest.mark.deep

LONGEST_TURN = 0.02  # of processor time; encrypted at once, such a frame takes 20 to 40 ms for each subscriber
MIB = 1 << 20
CHUNK = 'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[%s]}\n\n'
TEXT = "fifteen letters " * (12 * MIB // 16)
ANSWER = "".join(
    (
        CHUNK % '{"index":0,"delta":{"content":"hi"},"finish_reason":null}',
        CHUNK % f'{{"index":0,"delta":{{"content":"{TEXT}"}},"finish_reason":null}}',
        CHUNK % '{"index":0,"delta":{},"finish_reason":"stop"}',
        "data: [DONE]\n\n",
    )
).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
SUBSCRIBERS = 4


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def gateway(logs: Path, trust: Certificates) -> Iterator[LocalGateway]:
    upstream = RawUpstream(lambda request: HEAD + ANSWER, "long")
    files = f'tls_cert_file = "{trust.good}"\ntls_key_file = "{trust.good}"'
    gateway = LocalGateway(logs, configuration([(upstream, [MODEL])], files), KEYS)
    yield gateway
    gateway.close()
    upstream.close()


class SecureClient(RawClient):
    """A connection with TLS on it."""

    def __init__(self, port: int, trust: Certificates) -> None:
        super().__init__(port)
        self.socket = encrypted(self.socket, trust.authority)


def test_a_long_frame_holds_up_nobody_and_the_next_answer_of_the_connection_follows_it(
    gateway: LocalGateway, trust: Certificates
) -> None:
    def ask() -> list[Answer]:
        with SecureClient(gateway.port, trust) as client:
            answers = []
            for _ in range(2):
                client.post(body(stream=True))
                answers.append(client.answer())
            client.request("GET", "/healthz")
            return [*answers, client.answer()]

    answers, longest = gateway.watch(ask, LONGEST_TURN)
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert all(answer.text() == "hi" + TEXT for answer in answers[:2])
    assert longest < LONGEST_TURN


def test_subscribers_by_tls_get_a_long_frame_part_by_part(gateway: LocalGateway, trust: Certificates) -> None:
    with SecureClient(gateway.port, trust) as client:
        client.post(body(stream=True))
        stream = client.answer().headers["x-stream-id"]
    bodies: list[bytes] = []

    def subscribe(version: str) -> None:
        with SecureClient(gateway.port, trust) as subscriber:
            subscriber.request("GET", f"/v1/streams/{stream}/events", version=version)
            assert subscriber.head().status == 200
            bodies.append(subscriber.rest())

    def ask() -> None:
        bodies.clear()
        versions = ["1.1"] * (SUBSCRIBERS - 1) + ["1.0"]
        threads = [threading.Thread(target=subscribe, args=(version,)) for version in versions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    _, longest = gateway.watch(ask, LONGEST_TURN)
    text = f'{{"content":"{TEXT}"}}'.encode()
    assert [body.count(text) for body in bodies] == [1] * SUBSCRIBERS
    assert all(body.count(b'event: end\ndata: {"ending":"completed"') == 1 for body in bodies)
    assert longest < LONGEST_TURN


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_client_that_leaves_in_the_middle_of_a_long_frame_leaves_nothing_behind(
    gateway: LocalGateway, trust: Certificates, how: str
) -> None:
    client = SecureClient(gateway.port, trust)
    client.post(body(stream=True))
    stream = client.head().headers["x-stream-id"]
    assert client.receive()
    client.hang_up(how)
    with SecureClient(gateway.port, trust) as other:
        other.request("GET", f"/v1/streams/{stream}")
        assert other.answer().status == 200
