"""Publishing to feeds over HTTP: who may, how often, how much, and that it lasts over a restart."""

import json
import re
import selectors
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.config import MAX_PUBLISHED_BYTES
from gateway.feeds.publication import MAX_EVENTS
from tests.kit.configuration import configuration, feed
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import Answer, call
from tests.kit.keyring import Keyring, MadeKey
from tests.kit.sse_client import Subscriber
from tests.kit.upstreams import Upstream
from tests.kit.waiting import PATIENCE

JSON, NDJSON, EVENTS = "application/json", "application/x-ndjson", "text/event-stream"
PRELUDE = re.compile(rb"\r\n\r\n[0-9a-f]+\r\n: connected\nretry: [0-9]+\n\r\n\Z", re.IGNORECASE)
MEBIBYTE = 1 << 20
MAX_TURN = 0.02  # seconds of the event loop
FEEDS = """
[[feeds]]
name = "orders"
publish = true
remember_ids = 3

[[feeds]]
name = "slow"
publish = true
max_events_per_second = 10

[[feeds]]
name = "long"
publish = true
retain_events = 100
"""


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory, alpha: Upstream) -> Keyring:
    made = Keyring(tmp_path_factory.mktemp("publishing"), [])
    made.configuration = (
        configuration([], f'[storage]\npath = "{made.path}"\n') + feed("ticker", alpha, "x=1") + FEEDS
    )
    made.file.write_text(made.configuration)
    return made


@pytest.fixture(scope="module")
def gateway(logs: Path, keyring: Keyring) -> Iterator[LocalGateway]:
    with keyring.serving(logs) as started:
        yield started


@pytest.fixture(scope="module")
def publisher(keyring: Keyring, gateway: Gateway) -> MadeKey:
    return keyring.create("publisher", publish=True)


def post(gateway: Gateway, name: str, body: bytes, kind: str = NDJSON, key: MadeKey | None = None) -> Answer:
    headers = {"Content-Type": kind} | ({} if key is None else {"Authorization": key.bearer})
    return call(gateway, "POST", f"/v1/feeds/{name}/events", body, **headers)


def lines(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def published(gateway: Gateway, name: str, body: bytes, key: MadeKey | None = None) -> Any:
    answer = post(gateway, name, body, key=key)
    assert answer.status == 202, answer.body
    return json.loads(answer.body)


def described(gateway: Gateway, name: str, key: MadeKey | None = None) -> dict[str, Any]:
    headers = {} if key is None else {"Authorization": key.bearer}
    feeds = json.loads(call(gateway, "GET", "/v1/feeds", **headers).body)["data"]
    return next(entry for entry in feeds if entry["id"] == f"feed:{name}")


# --- who may


def test_only_a_key_that_is_for_it_may_publish(gateway: Gateway, keyring: Keyring, publisher: MadeKey) -> None:
    body = lines({"data": "x"})
    for key, status in ((None, 401), (keyring.create(), 403), (keyring.create(admin=True), 403), (publisher, 202)):
        assert post(gateway, "orders", body, key=key).status == status
    refused = post(gateway, "orders", body, key=keyring.create()).error()
    assert refused["code"] == "insufficient_permissions"
    assert "rivergate keys create --publish" in refused["message"]


def test_a_viewer_token_is_for_reading(gateway: Gateway) -> None:
    answer = call(gateway, "POST", "/v1/feeds/orders/events?token=rgv_x", lines({"data": "x"}))
    assert answer.status == 401


def test_a_feed_with_a_source_or_of_the_gateway_itself_takes_no_events(gateway: Gateway, publisher: MadeKey) -> None:
    for name in ("ticker", "statistics"):
        refused = post(gateway, name, lines({"data": "x"}), key=publisher)
        assert (refused.status, refused.error()["param"]) == (400, "name")
        assert "have a source" in refused.error()["message"]
    assert post(gateway, "nothing", lines({"data": "x"}), key=publisher).status == 404


def test_without_keys_whoever_is_at_the_machine_may_publish(logs: Path) -> None:
    gateway = LocalGateway(logs, configuration([]) + FEEDS)
    assert published(gateway, "orders", lines({"data": "x"}))["taken"] == 1
    foreign = call(gateway, "POST", "/v1/feeds/orders/events", lines({"data": "x"}), Origin="https://evil.example")
    assert foreign.status == 403
    gateway.close()


# --- how often, how much


def test_the_events_of_a_key_have_a_rate_and_a_body_over_it_takes_nothing(gateway: Gateway, keyring: Keyring) -> None:
    key, other = keyring.create(publish=True), keyring.create(publish=True)
    assert published(gateway, "slow", lines(*[{"data": n} for n in range(15)]), key)["taken"] == 15
    refused = post(gateway, "slow", lines({"data": "late"}), key=key)
    assert (refused.status, refused.error()["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "1"
    assert "10 events a second" in refused.error()["message"]
    assert published(gateway, "slow", lines({"data": "of another"}), other)["taken"] == 1


def test_a_body_is_a_request_of_its_key(gateway: Gateway, keyring: Keyring) -> None:
    key = keyring.create(publish=True, rpm=2)
    assert [post(gateway, "orders", body, key=key).status for body in (b"{}", lines({"data": 1}), b"")] == [
        400,
        202,
        429,
    ]


def test_a_body_holds_so_many_events_and_the_rest_is_not_taken(gateway: Gateway, publisher: MadeKey) -> None:
    answer = post(gateway, "long", lines({"data": 1}) * (MAX_EVENTS + 5), key=publisher)
    assert answer.status == 413
    told = json.loads(answer.body)
    assert told["error"]["message"].startswith(f"line {MAX_EVENTS + 1} of the body: a body may hold")
    assert told["taken"] == len(told["positions"]) == MAX_EVENTS


SIZE, EVENT = 60 * MEBIBYTE, MAX_PUBLISHED_BYTES - 100
# Bodies of nearly 64 MiB, each the worst of its kind, made in the tests: all of them are half a gigabyte.
LONG_BODIES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "one text": (JSON, lambda: b'{"data": "%b"}' % (b"x" * EVENT)),
    "one text of escapes": (JSON, lambda: b'{"data": "%b"}' % (b"\\u00e9" * (EVENT // 6))),
    "one list of numbers": (JSON, lambda: b'{"data": [%b1]}' % (b"1234567," * (EVENT // 8))),
    "lines": (NDJSON, lambda: b'{"data": [%b1]}\n' % (b"1.5," * 1600) * 2000),
    "blank lines": (NDJSON, lambda: b"\n" * SIZE + b'{"data": 1}'),
    "events": (EVENTS, lambda: (b"data: " + b"y" * 6000 + b"\n\n") * MAX_EVENTS),
    "an event": (EVENTS, lambda: b"data: " + b"z" * EVENT),
    "an endless line": (EVENTS, lambda: b"data: " + b"z" * SIZE),
    "empty events": (EVENTS, lambda: b"\n" * SIZE),
    "names without data": (EVENTS, lambda: b"event: x\n\n" * (SIZE // 10)),
}


@pytest.mark.deep
@pytest.mark.parametrize("name", LONG_BODIES)
def test_a_body_of_sixty_mebibytes_holds_the_event_loop_for_a_moment_only(
    gateway: LocalGateway, publisher: MadeKey, name: str
) -> None:
    kind, make = LONG_BODIES[name]
    body = make()
    answer, longest = gateway.watch(lambda: post(gateway, "long", body, kind, publisher), MAX_TURN)
    assert answer.status in (202, 400, 413)
    assert longest < MAX_TURN


# --- ids


def test_an_id_that_came_before_is_told_with_its_position_and_the_oldest_is_forgotten(
    gateway: Gateway, publisher: MadeKey
) -> None:
    def send(*ids: str) -> Any:
        return published(gateway, "orders", lines(*[{"data": word, "id": word} for word in ids]), publisher)

    first = send("a", "b")
    again = send("b", "c", "a")
    assert (first["taken"], again["taken"], first["duplicates"]) == (2, 1, [])
    assert again["duplicates"] == [
        {"index": 0, "id": "b", "position": first["positions"][1]},
        {"index": 2, "id": "a", "position": first["positions"][0]},
    ]
    assert again["positions"] == [first["positions"][1], again["positions"][1], first["positions"][0]]
    send("d")  # the fourth: "a" is forgotten
    assert send("a")["taken"] == 1
    numbers = described(gateway, "orders", publisher)
    assert (numbers["remembered_ids"], numbers["state"], numbers["duplicates"]) == (3, "open", 2)


def test_the_ring_and_the_ids_are_there_after_a_restart(logs: Path, tmp_path: Path) -> None:
    settings = configuration([], f'[storage]\npath = "{tmp_path}/kept.db"\n') + FEEDS
    gateway = LocalGateway(logs, settings)
    before = published(gateway, "orders", lines({"data": 1, "id": "a"}, {"data": 2}))
    told = described(gateway, "orders")
    assert told["last_published_at"] > 1e9
    gateway.close()
    gateway = LocalGateway(logs, settings)
    try:
        assert described(gateway, "orders")["last_published_at"] == told["last_published_at"]
        again = published(gateway, "orders", lines({"data": 1, "id": "a"}, {"data": 3}))
        assert again["positions"][0] == before["positions"][0]
        assert again["taken"] == 1
        with Subscriber(gateway.port, "/v1/feeds/orders/events", Last_Event_ID=before["positions"][0]) as back:
            assert [event.data for event in back.events(2)] == ["2", "3"]
    finally:
        gateway.close()


# --- what it is for


def test_what_is_published_is_counted(gateway: Gateway, publisher: MadeKey) -> None:
    published(gateway, "orders", lines({"data": 1, "id": "counted"}, {"data": 1, "id": "counted"}), publisher)
    metrics = call(gateway, "GET", "/metrics").body.decode()
    taken = int(float(metrics.split('rivergate_published_events_total{feed="orders"} ')[1].split("\n")[0]))
    assert taken == described(gateway, "orders", publisher)["events"]
    assert 'rivergate_published_duplicates_total{feed="orders"} 0' not in metrics


class CountingCrowd:
    """Many subscribers in one thread: of each only the checksum of its events is kept."""

    def __init__(self, port: int, path: str, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._sums: dict[socket.socket, int] = {}
        self._sizes: dict[socket.socket, int] = {}
        self._rest: dict[socket.socket, bytes] = {}
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            client.sendall(request)
            head = client.recv(4096)
            while not PRELUDE.search(head):
                head += client.recv(4096)
            self._sums[client], self._sizes[client], self._rest[client] = 0, 0, b""
            self._selector.register(client, selectors.EVENT_READ)

    def read_until(self, expected: bytes) -> int:
        """Read until all have these bytes, and nothing behind them; returns the bytes of all together."""
        total, checksum, missing = 0, zlib.crc32(expected), set(self._sums)
        while missing:
            ready = self._selector.select(PATIENCE)
            assert ready, f"{len(missing)} of {len(self._sums)} subscribers have not got all"
            for key, _ in ready:
                client = key.fileobj
                assert isinstance(client, socket.socket)
                data = client.recv(1 << 18)
                assert data, "a subscriber was closed"
                self._take(client, self._rest[client] + data)
                if self._sizes[client] >= len(expected):
                    assert (self._sizes[client], self._sums[client]) == (len(expected), checksum)
                    total += self._sizes[client]
                    missing.discard(client)
        return total

    def close(self) -> None:
        for client in self._sums:
            client.close()
        self._selector.close()

    def _take(self, client: socket.socket, data: bytes) -> None:
        """Add the whole transfer chunks in these bytes to the checksum."""
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            length = int(data[at:end], 16)
            if len(data) < end + length + 4:
                break
            self._sums[client] = zlib.crc32(memoryview(data)[end + 2 : end + 2 + length], self._sums[client])
            self._sizes[client] += length
            at = end + length + 4
        self._rest[client] = data[at:]


@pytest.mark.deep
def test_twenty_thousand_events_reach_a_thousand_subscribers_all_of_them_in_order(logs: Path) -> None:
    gateway = LocalGateway(
        logs, configuration([]) + '[[feeds]]\nname = "busy"\npublish = true\nretain_events = 100\n'
    )
    crowd = CountingCrowd(gateway.port, "/v1/feeds/busy/events", 1000)
    with Subscriber(gateway.port, "/v1/feeds/busy/events") as first, ThreadPoolExecutor(1) as pool:
        epoch = published(gateway, "busy", lines({"data": "0"}))["positions"][0].partition("-")[0]
        assert first.events(1)[0].data == "0"
        expected = b"".join(b"data: %d\nid: %b-%d\n\n" % (n, epoch.encode(), n) for n in range(20_000))
        reading = pool.submit(crowd.read_until, expected)
        began = time.perf_counter()
        for start in range(1, 20_000, 1000):
            body = lines(*[{"data": str(n)} for n in range(start, min(start + 1000, 20_000))])
            published(gateway, "busy", body)
        took = time.perf_counter() - began
        assert reading.result() == 1000 * len(expected)
    print(f"20,000 events published in {took:.2f} s")
    crowd.close()
    gateway.close()
