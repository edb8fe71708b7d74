"""The file descriptors of a gateway: none is left behind, and the gateway survives running out of them."""

import contextlib
import os
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import ENDLESS, MODEL, QUICK, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.http_client import RawClient, call, fetch
from tests.kit.process import GatewayProcess
from tests.kit.sse_client import Crowd, Subscriber
from tests.kit.streams import create, wait_for_state
from tests.kit.upstreams import Upstream, Upstreams
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.deep

LEAVERS = 200
LEAVE_AT_ONCE = 20
JOINS = 10_000  # how many subscribers join and leave
JOIN_AT_ONCE = 500
DESCRIPTORS = 600  # the limit of the gateway `starved`; 512 are reserved for upstreams, files and listeners
CALM_SECONDS = 1.0
CALM_CPU = 0.5  # the share of a core that a calm gateway stays below; a loop that spins on accept takes a whole core


@pytest.fixture(scope="module")
def provider(upstreams: Upstreams) -> Upstream:
    return upstreams.start("roomy")


def test_clients_that_left_leave_nothing_behind(logs: Path, upstreams: Upstreams) -> None:
    origin = upstreams.start("crowded")
    gateway = GatewayProcess(logs, configuration([(origin, [MODEL])]), KEYS)
    try:
        assert fetch(gateway.port, body(QUICK, stream=True)).status == 200
        wait_for(lambda: gateway.open_files() or None, "a count")
        files = gateway.open_files()
        for group in range(LEAVERS // LEAVE_AT_ONCE):
            clients = [RawClient(gateway.port) for _ in range(LEAVE_AT_ONCE)]
            for number, client in enumerate(clients):
                behaviour = ({"stall_before": "head"}, {"stall_before": "role"}, ENDLESS)[number % 3]
                client.post(body(behaviour, stream=number % 4 != 3))
            total = (group + 1) * LEAVE_AT_ONCE
            origin.wait_for_counts("all requests", requests=total + 1)
            for number, client in enumerate(clients):
                client.hang_up("rst" if number % 2 else "fin")
            origin.wait_for_counts("all aborts", aborted=total)
        wait_for(lambda: gateway.open_files() <= files, "as many open files as before")
        assert origin.statistics().streams_running == 0

        def endings() -> list[dict[str, Any]]:
            return [line for line in gateway.lines() if line["event"] == "completion ended"]

        wait_for(lambda: len(endings()) >= LEAVERS + 1, "the lines of all endings")
        assert len(endings()) == LEAVERS + 1
        assert [line["ending"] for line in endings()[1:]] == ["abandoned"] * LEAVERS
        asked_at = time.monotonic()
        assert gateway.terminate() == 0
        assert time.monotonic() - asked_at < 5  # nothing is left that a drain would wait for
    finally:
        gateway.close()


@pytest.fixture
def gateway(logs: Path, provider: Upstream) -> Iterator[GatewayProcess]:
    gateway = GatewayProcess(logs, configuration([(provider, [MODEL])]), KEYS)
    yield gateway
    gateway.close()


def test_ten_thousand_that_join_and_leave_leave_nothing_behind(gateway: GatewayProcess) -> None:
    stream = create(gateway, ENDLESS)
    path = f"{stream['events_url']}?from=now"
    with Subscriber(gateway.port, path) as staying:
        staying.events(1)
        wait_for_state(gateway, stream["id"], readers=1)
        files = gateway.open_files()
        for group in range(JOINS // JOIN_AT_ONCE):
            crowd = Crowd(gateway.port, [path] * JOIN_AT_ONCE)
            if group % 2:
                crowd.read(crowd.have_heads)
            crowd.leave(reset=group % 4 != 3)
        described = wait_for_state(gateway, stream["id"], readers=1)
        wait_for(lambda: gateway.open_files() <= files, f"{files} open files again")
        first, last = staying.events(2)
        assert last.seq == first.seq + 1
    assert described["readers_total"] <= JOINS + 1
    assert described["readers_total"] > JOINS // 2
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")


@pytest.fixture
def starved(logs: Path, provider: Upstream, tmp_path: Path) -> Iterator[GatewayProcess]:
    sections = f'[storage]\npath = "{tmp_path}/s.db"\n'
    gateway = GatewayProcess(logs, configuration([(provider, [MODEL])], sections), KEYS, open_files=DESCRIPTORS)
    try:
        yield gateway
    finally:
        gateway.close()


def cpu_seconds(gateway: GatewayProcess) -> float:
    times = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


def test_a_gateway_out_of_descriptors_refuses_does_not_spin_and_recovers(starved: GatewayProcess) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    capped = starved.wait_for_event("max_connections is capped by the limit of open files")
    assert capped["now"] < DESCRIPTORS
    stream = create(starved, ENDLESS)
    idle: list[socket.socket] = []
    try:
        with Subscriber(starved.port, stream["events_url"]) as subscriber:
            subscriber.events(1)
            for _ in range(DESCRIPTORS + 100):
                with contextlib.suppress(OSError):
                    idle.append(socket.create_connection(("127.0.0.1", starved.port), timeout=5))
            wait_for(lambda: starved.open_files() >= DESCRIPTORS - 2, "the descriptors to be used up")
            before, at = cpu_seconds(starved), time.monotonic()
            last = subscriber.events(int(CALM_SECONDS * 100))[-1]
            assert cpu_seconds(starved) - before < CALM_CPU * (time.monotonic() - at)
            assert last.seq >= 100
            for client in idle:
                client.close()
            wait_for(lambda: starved.open_files() < DESCRIPTORS // 2, "the descriptors to be free again")
            assert fetch(starved.port, body(QUICK, stream=True)).text() == text(8)
            subscriber.events(10)
    finally:
        for client in idle:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    call(starved, "DELETE", f"/v1/streams/{stream['id']}")
