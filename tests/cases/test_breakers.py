"""A breaker that opens or closes is a log line with its cause, and a count."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.completions import QUICK, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.upstreams import Upstream, Upstreams
from tests.kit.waiting import wait_for

FAILURES = 3
SECTIONS = f'[routing]\noptimize = "priority"\nbreaker_failures = {FAILURES}\nbreaker_seconds = 0.2\n'


@pytest.fixture
def weak() -> Iterator[Upstream]:
    providers = Upstreams()
    yield providers.start("weak", **QUICK)
    providers.close()


@pytest.fixture
def gateway(tmp_path: Path, weak: Upstream) -> Iterator[LocalGateway]:
    storage = f'[storage]\npath = "{tmp_path}/b.db"\n'
    gateway = LocalGateway(tmp_path, configuration([(weak, ["m"])], SECTIONS + storage), KEYS)
    yield gateway
    gateway.close()


def changes(gateway: Gateway) -> dict[str, float]:
    """The counted changes, by the new state."""
    lines = call(gateway, "GET", "/metrics").body.decode().splitlines()
    found = [line for line in lines if line.startswith('rivergate_breaker_changes_total{model="m",to=')]
    return {line.split('"')[3]: float(line.rpartition(" ")[2]) for line in found}


def told(gateway: Gateway) -> list[tuple[str, str]]:
    """The events and causes of the lines about breakers."""
    return [(line["event"], line["cause"]) for line in gateway.lines() if line["event"].startswith("breaker")]


def ask(gateway: Gateway) -> int:
    return fetch(gateway.port, body(model="m", stream=True)).status


def ask_until(gateway: Gateway, status: int) -> None:
    """Ask until the breaker lets a request through to the upstream, which gives this status."""
    wait_for(lambda: ask(gateway) == status or None, f"an answer with status {status}")


def test_a_breaker_tells_when_and_why_it_opens_and_closes(gateway: Gateway, weak: Upstream) -> None:
    weak.follow(status=503)
    for _ in range(FAILURES):
        assert ask(gateway) == 502
    opened = gateway.wait_for_event("breaker opened")
    assert (opened["level"], opened["upstream"], opened["model"]) == ("warning", "weak", "m")
    assert (opened["cause"], opened["reason"]) == ("failures in a row", "HTTP 503")
    assert 0 < opened["seconds"] <= 0.2
    assert changes(gateway) == {"open": 1}
    ask_until(gateway, 502)  # the probe
    assert told(gateway)[1:] == [("breaker opened", "its probe failed")]
    weak.follow(**QUICK)
    ask_until(gateway, 200)
    closed = gateway.wait_for_event("breaker closed")
    assert (closed["level"], closed["upstream"], closed["cause"]) == ("info", "weak", "its probe was answered")
    assert changes(gateway) == {"open": 2, "closed": 1}


def test_a_probe_that_is_refused_for_its_request_closes_the_breaker(gateway: Gateway, weak: Upstream) -> None:
    weak.follow(status=500)
    for _ in range(FAILURES):
        assert ask(gateway) == 502
    weak.follow(status=400)
    ask_until(gateway, 400)
    assert told(gateway)[-1] == ("breaker closed", "its probe was answered")


def test_the_last_error_stands_before_the_breaker_that_it_opened(gateway: Gateway, weak: Upstream) -> None:
    weak.follow(status=500)
    for _ in range(FAILURES):
        ask(gateway)
    events = [line["event"] for line in gateway.lines() if line["logger"] == "rivergate.routing"]
    assert events == ["attempt failed"] * FAILURES + ["breaker opened"]


def test_a_reload_forgets_neither_counts_nor_errors(gateway: LocalGateway, weak: Upstream) -> None:
    weak.follow(status=500)
    for _ in range(FAILURES):
        ask(gateway)
    gateway.reload(gateway.file.read_text())
    assert changes(gateway) == {"open": 1}
    attempts = call(gateway, "GET", "/metrics").body.decode()
    assert f'rivergate_attempts_total{{outcome="upstream_error",upstream="weak"}} {FAILURES}.0' in attempts
