"""A stop: what runs may finish, what is new goes elsewhere, and whoever has to go is told."""

import contextlib
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.completions import ENDLESS, MODEL, QUICK, body, text
from tests.kit.configuration import KEYS, configuration, feed
from tests.kit.http_client import Answer, RawClient, call, fetch
from tests.kit.process import GatewayProcess
from tests.kit.service_manager import Unit
from tests.kit.sse_client import Subscriber
from tests.kit.streams import create
from tests.kit.upstreams import Upstream, Upstreams
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.deep

RUNNING = 20
TOKENS = 50
TICKER = "/v1/feeds/ticker/events"


@pytest.fixture(scope="module")
def provider() -> Iterator[Upstream]:
    providers = Upstreams()
    yield providers.start("provider")
    providers.close()


def configured(provider: Upstream, folder: Path, drain_seconds: float) -> str:
    sections = f'[server]\nlisten = "127.0.0.1:0"\ndrain_seconds = {drain_seconds}\n'
    sections += f'[storage]\npath = "{folder}/s.db"\n'
    return configuration([(provider, [MODEL])], sections) + feed("ticker", provider, "gap_ms=10")


@pytest.fixture
def gateway(tmp_path: Path, provider: Upstream) -> Iterator[GatewayProcess]:
    """A gateway that waits long for running streams when it is stopped."""
    gateway = GatewayProcess(tmp_path, configured(provider, tmp_path, 60), KEYS)
    yield gateway
    gateway.close()


@pytest.fixture
def hasty(tmp_path: Path, provider: Upstream) -> Iterator[GatewayProcess]:
    """A gateway that waits only briefly for running streams when it is stopped."""
    gateway = GatewayProcess(tmp_path, configured(provider, tmp_path, 0.5), KEYS)
    yield gateway
    gateway.close()


def stop(gateway: GatewayProcess) -> None:
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait_for_event("draining")


def rest_of(client: RawClient) -> Answer:
    return Answer(200, {}, b"".join(iter(client.chunk, b"")))


def test_all_that_runs_finishes_and_readiness_fails_at_once(gateway: GatewayProcess) -> None:
    with contextlib.ExitStack() as opened:
        probe = opened.enter_context(RawClient(gateway.port))
        probe.request("GET", "/readyz")
        assert probe.answer().status == 200
        clients = [opened.enter_context(RawClient(gateway.port)) for _ in range(RUNNING)]
        for client in clients:
            client.post(body({"ttft_ms": 5, "gap_ms": 20, "tokens": TOKENS}, stream=True))
        for client in clients:
            client.head()
        stop(gateway)
        probe.request("GET", "/readyz")
        refused = probe.answer()
        assert (refused.status, refused.error()["code"]) == (503, "service_unavailable")
        probe.request("GET", "/healthz")
        assert probe.answer().status == 200  # the process lives, and a supervisor must not kill it
        with pytest.raises(ConnectionRefusedError):
            RawClient(gateway.port)
        for client in clients:
            whole = rest_of(client)
            assert whole.text() == text(TOKENS)
            assert whole.events()[-1] == "[DONE]"
    assert gateway.wait() == 0
    endings = [line["ending"] for line in gateway.lines() if line["event"] == "completion ended"]
    assert endings == ["completed"] * RUNNING


def test_streams_that_exceed_the_drain_end_as_drained_and_the_others_are_whole(hasty: GatewayProcess) -> None:
    with RawClient(hasty.port) as long, RawClient(hasty.port) as short:
        long.post(body(ENDLESS, stream=True))
        short.post(body({"ttft_ms": 5, "gap_ms": 5, "tokens": 40}, stream=True))
        for client in (long, short):
            client.head()
        stop(hasty)
        assert rest_of(short).text() == text(40)
        *events, error, done = rest_of(long).events()
        assert events
        assert (error["error"]["code"], done) == ("server_draining", "[DONE]")
    assert hasty.wait() == 0
    endings = [line["ending"] for line in hasty.lines() if line["event"] == "completion ended"]
    assert sorted(endings) == ["completed", "drained"]


def test_subscribers_of_a_stream_that_is_drained_are_told_its_end(hasty: GatewayProcess) -> None:
    stream = create(hasty, ENDLESS)
    with Subscriber(hasty.port, stream["events_url"]) as subscriber:
        subscriber.events(1)
        stop(hasty)
        *_, error, end = subscriber.all_events()
    assert error.json["error"]["code"] == "server_draining"
    assert (end.name, end.json) == ("end", {"ending": "drained"})


def test_a_second_signal_ends_the_gateway_at_once(gateway: GatewayProcess, provider: Upstream) -> None:
    before = provider.statistics()
    with RawClient(gateway.port) as client:
        client.post(body(ENDLESS, stream=True))
        client.head()
        stop(gateway)
        gateway.process.send_signal(signal.SIGTERM)
        *_, error, done = rest_of(client).events()
        assert (error["error"]["code"], done) == ("server_draining", "[DONE]")
    assert gateway.process.wait(5) == 0
    provider.wait_for_abort(before)


def test_subscribers_of_a_feed_are_told_when_to_come_again_and_not_that_it_ended(gateway: GatewayProcess) -> None:
    with contextlib.ExitStack() as opened:
        subscribers = [opened.enter_context(Subscriber(gateway.port, TICKER)) for _ in range(RUNNING)]
        viewer = opened.enter_context(Subscriber(gateway.port, "/v1/feeds/statistics/events"))
        running = opened.enter_context(RawClient(gateway.port))
        running.post(body(ENDLESS, stream=True))
        running.head()
        for subscriber in (*subscribers, viewer):
            subscriber.events(1)
            subscriber.retry = None  # `retry` came at the beginning, and has to come again now
        stop(gateway)
        for subscriber in (*subscribers, viewer):
            assert {event.name for event in subscriber.all_events()} <= {"tick", "message"}
            assert subscriber.retry is not None
            assert 1000 <= subscriber.retry < 3000
        assert len({subscriber.retry for subscriber in subscribers}) > 1  # the times to come again are spread
        assert gateway.process.poll() is None  # the completion still runs: nobody had to wait for it
        gateway.process.send_signal(signal.SIGTERM)
    assert gateway.wait() == 0


def test_new_connections_wait_in_the_managers_socket_for_the_next_process(tmp_path: Path, provider: Upstream) -> None:
    unit = Unit(tmp_path, configured(provider, tmp_path, 60), KEYS)
    try:
        with RawClient(unit.port) as running:
            running.post(body({"ttft_ms": 5, "gap_ms": 10, "tokens": 60}, stream=True))
            running.head()
            unit.process.process.send_signal(signal.SIGTERM)
            unit.process.wait_for_event("draining")
            with RawClient(unit.port) as early:
                early.post(body(QUICK, stream=True))
                assert rest_of(running).text() == text(60)
                assert unit.process.wait() == 0
                assert not select.select([early.socket], [], [], 0)[0]
                unit.start()
                assert early.answer().text() == text(8)
    finally:
        unit.close()


def test_a_drain_may_be_given_more_time_by_a_reload(hasty: GatewayProcess, tmp_path: Path) -> None:
    (file,) = tmp_path.glob("*.toml")
    file.write_text(file.read_text().replace("drain_seconds = 0.5", "drain_seconds = 60"))
    hasty.process.send_signal(signal.SIGHUP)
    assert hasty.wait_for_event("configuration reloaded")["needs_restart"] == []
    with RawClient(hasty.port) as client:
        client.post(body({"ttft_ms": 5, "gap_ms": 20, "tokens": 60}, stream=True))
        client.head()
        stop(hasty)
        assert rest_of(client).text() == text(60)
    assert hasty.wait() == 0


def test_a_probe_on_a_new_connection_is_told_ready_until_the_stop(gateway: GatewayProcess) -> None:
    assert call(gateway, "GET", "/readyz").status == 200
    assert fetch(gateway.port, body(QUICK)).status == 200
    stop(gateway)
    assert wait_for(lambda: gateway.process.poll() is not None, "the end of an idle gateway")
    assert gateway.process.returncode == 0


def test_a_stop_waits_for_subscribers_that_still_read_an_ended_stream(
    gateway: GatewayProcess, provider: Upstream
) -> None:
    """When the stop comes, the last bytes of the subscriber are in the gateway's log and not yet in the kernel."""
    words = ("x" * 24_999 + " ") * 150
    with RawClient(gateway.port) as slow:
        slow.post(body({"ttft_ms": 5, "gap_ms": 0, "text": words}, stream=True))
        slow.head()
        gateway.wait_for_event("completion ended")
        stop(gateway)
        assert rest_of(slow).text() == words
    assert gateway.process.wait(10) == 0
