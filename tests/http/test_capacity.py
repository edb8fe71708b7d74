"""At its limits the gateway refuses what is new, keeps what it serves, and recovers."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.completions import ENDLESS, MODEL, QUICK, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import RawClient, call, fetch
from tests.kit.sse_client import Subscriber
from tests.kit.streams import create
from tests.kit.upstreams import Upstream, Upstreams
from tests.kit.waiting import wait_for

ROOM = 4  # `max_connections` of the gateway `small`


@pytest.fixture(scope="module")
def provider(upstreams: Upstreams) -> Upstream:
    return upstreams.start("roomy")


@pytest.fixture
def small(logs: Path, provider: Upstream, tmp_path: Path) -> Iterator[LocalGateway]:
    sections = f'[server]\nlisten = "127.0.0.1:0"\nmax_connections = {ROOM}\n[storage]\npath = "{tmp_path}/s.db"\n'
    gateway = LocalGateway(logs, configuration([(provider, [MODEL])], sections), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


def test_beyond_max_connections_a_request_is_refused_and_served_clients_stay(small: Gateway) -> None:
    stream = create(small, ENDLESS)
    with contextlib.ExitStack() as crowd:
        subscribers = [crowd.enter_context(Subscriber(small.port, stream["events_url"])) for _ in range(ROOM)]
        for subscriber in subscribers:
            subscriber.events(1)
        for method, path in (("POST", "/v1/streams"), ("GET", stream["events_url"])):
            refused = call(small, method, path, body(QUICK) if method == "POST" else b"")
            assert refused.status == 503
            assert refused.error()["code"] == "service_unavailable"
            assert 1 <= int(refused.headers["retry-after"]) <= 5
        assert call(small, "GET", "/healthz").status == 200  # a supervisor must still see that it lives
        for subscriber in subscribers:
            subscriber.events(20)
        subscribers[0].close()
        with Subscriber(small.port, stream["events_url"]) as again:
            assert wait_for(lambda: again.response.status == 200, "room for one more")
            again.events(5)
    call(small, "DELETE", f"/v1/streams/{stream['id']}")


def test_idle_connections_count_and_a_completion_is_told_why_it_is_refused(small: Gateway) -> None:
    with contextlib.ExitStack() as crowd:
        for _ in range(ROOM):
            crowd.enter_context(RawClient(small.port))

        def refused() -> bool:
            return fetch(small.port, body(QUICK, stream=True)).status == 503

        wait_for(refused, "the idle connections to be counted")
    wait_for(lambda: fetch(small.port, body(QUICK, stream=True)).status == 200, "room again")


def test_a_request_that_joins_by_a_stream_key_counts_as_a_subscriber(
    logs: Path, provider: Upstream, tmp_path: Path
) -> None:
    sections = f'[stream]\nmax_subscribers = 2\n[storage]\npath = "{tmp_path}/s.db"\n'
    gateway = LocalGateway(logs, configuration([(provider, [MODEL])], sections), KEYS)
    shared, key = body(ENDLESS, stream=True), {"X-Stream-Key": "full"}
    try:
        with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
            for client in (first, second):
                client.post(shared, **key)
                assert client.head().status == 200
            refused = fetch(gateway.port, shared, **key)
            assert (refused.status, refused.error()["code"]) == (503, "service_unavailable")
            for client in (first, second):
                client.chunk()
    finally:
        gateway.close()
