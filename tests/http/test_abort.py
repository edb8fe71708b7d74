"""Clients that hang up, at every moment and in every way; the provider must see it at once."""

import json
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import ENDLESS, MODEL, QUICK, body, text
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import RawClient, call, fetch
from tests.kit.upstreams import Upstream, Upstreams
from tests.kit.waiting import wait_for

ROUNDS = 30
ALLOWED_MEDIAN_MS = 200  # an idle machine needs a fraction of it; the test prints the measured median

WAYS = ("fin", "half", "rst")


@pytest.fixture(scope="module")
def origin(upstreams: Upstreams) -> Upstream:
    """A provider that only the gateways of this file know."""
    return upstreams.start("origin")


@pytest.fixture(scope="module")
def prompt_gateway(logs: Path, origin: Upstream) -> Iterator[LocalGateway]:
    """A gateway that commits early, so that clients see where a stream is, and drops subscribers that do not read."""
    sections = "[stream]\ncommit_after_ms = 100\nkeepalive_seconds = 0.1\nsubscriber_stall_seconds = 0.5\n"
    gateway = LocalGateway(logs, configuration([(origin, [MODEL])], sections), KEYS)
    try:
        yield gateway
    finally:
        gateway.close()


def leave(gateway: Gateway, origin: Upstream, moment: str, way: str) -> float:
    """Send a request and leave it at this moment; returns the seconds until the provider saw the client leave."""
    behaviours: dict[str, dict[str, Any]] = {
        "before the head": {"stall_before": "head"},
        "after the commit": {"stall_before": "head"},
        "after the head": {"stall_before": "role"},
        "after the role": {"stall_after": 0},
        "in mid-stream": ENDLESS,
        "unstreamed": {"ttft_ms": 60_000, "tokens": 1},
        "unstreamed after the head": {"stall_before": "role", "tokens": 1, "ttft_ms": 0, "gap_ms": 0},
    }
    before = origin.statistics()
    with RawClient(gateway.port) as client:
        client.post(body(behaviours[moment], stream=not moment.startswith("unstreamed")))
        origin.wait_for_request(before)
        if moment in ("after the commit", "after the head", "after the role", "in mid-stream"):
            assert client.head().status == 200
            client.chunk()
        left_at = time.monotonic()
        client.hang_up(way)
        seen = origin.wait_for_abort(before)
    assert seen.aborted == before.aborted + 1
    return seen.aborts[-1]["at"] - left_at


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "moment",
    [
        "before the head",
        "after the commit",
        "after the head",
        "after the role",
        "in mid-stream",
        "unstreamed",
        "unstreamed after the head",
    ],
)
def test_the_provider_sees_that_the_client_left(
    prompt_gateway: Gateway, origin: Upstream, moment: str, way: str
) -> None:
    leave(prompt_gateway, origin, moment, way)
    origin.wait_until(lambda now: now.streams_running == 0, "no stream left")


def test_an_aborted_connection_is_never_used_again(prompt_gateway: Gateway, origin: Upstream) -> None:
    for way in WAYS:
        leave(prompt_gateway, origin, "in mid-stream", way)
        before = origin.wait_until(lambda now: now.open_connections == 0, "every connection closed")
        assert fetch(prompt_gateway.port, body(QUICK, stream=True)).text() == text(8)
        assert origin.statistics().connections_accepted == before.connections_accepted + 1


def test_a_client_that_leaves_between_two_requests_costs_the_provider_nothing(
    prompt_gateway: Gateway, origin: Upstream
) -> None:
    before = origin.statistics()
    for way in WAYS:
        with RawClient(prompt_gateway.port) as client:
            client.post(body(QUICK, stream=True))
            assert client.answer().text() == text(8)
            client.hang_up(way)
    assert origin.statistics().aborted == before.aborted


def test_the_stream_of_another_client_goes_on(prompt_gateway: Gateway, origin: Upstream) -> None:
    with RawClient(prompt_gateway.port) as other:
        other.post(body({"ttft_ms": 5, "gap_ms": 10, "tokens": 50}, stream=True))
        assert other.head().status == 200
        leave(prompt_gateway, origin, "in mid-stream", "rst")
        assert b"".join(iter(other.chunk, b"")).endswith(b"data: [DONE]\n\n")


def test_a_client_that_stops_reading_is_dropped_as_lagged(prompt_gateway: Gateway, origin: Upstream) -> None:
    before = origin.statistics()
    with RawClient(prompt_gateway.port) as client:
        client.post(body({"ttft_ms": 0, "gap_ms": 0, "tokens": 10_000_000}, stream=True), x_request_id="not-reading")
        origin.wait_until(lambda now: now.aborted > before.aborted, "an abort", seconds=10)
    assert prompt_gateway.ending("not-reading")["ending"] == "abandoned"


def test_the_log_tells_an_abort_from_an_end(prompt_gateway: Gateway, origin: Upstream) -> None:
    before = origin.statistics()
    with RawClient(prompt_gateway.port) as client:
        client.post(body(ENDLESS, stream=True), x_request_id="left-early")
        client.head()
        client.chunk()
    origin.wait_for_abort(before)
    ended = prompt_gateway.ending("left-early")
    assert (ended["ending"], ended["usage_estimated"]) == ("abandoned", True)
    fetch(prompt_gateway.port, body(QUICK, stream=True), x_request_id="stayed")
    assert prompt_gateway.ending("stayed")["ending"] == "completed"


@pytest.mark.parametrize("moment", ["before the head", "in mid-stream", "unstreamed"])
def test_the_close_reaches_the_provider_fast(
    prompt_gateway: Gateway, origin: Upstream, capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    seconds = [leave(prompt_gateway, origin, moment, WAYS[n % 3]) for n in range(ROUNDS)]
    median, worst = statistics.median(seconds) * 1000, max(seconds) * 1000
    with capsys.disabled():
        print(f"\nclient closes {moment} -> provider sees it: median {median:.2f} ms, worst {worst:.2f} ms")
    assert median < ALLOWED_MEDIAN_MS


def test_a_client_that_leaves_before_the_first_token_is_let_go_of_though_others_wait(
    gateway: Gateway, alpha: Upstream
) -> None:
    silent = body({"ttft_ms": 60_000}, stream=True)
    with RawClient(gateway.port) as stays, RawClient(gateway.port) as leaves:
        for client in (stays, leaves):
            client.post(silent, X_Stream_Key="let-go")
        wait_for(lambda: any(stream["readers"] == 2 for stream in listed(gateway)), "the one stream of both")
        leaves.socket.shutdown(socket.SHUT_WR)
        assert leaves.socket.recv(1) == b""  # before the socket's timeout, and not with the first token
        stays.hang_up("rst")


def listed(gateway: Gateway) -> list[dict[str, Any]]:
    """The streams that the gateway tells of."""
    streams: list[dict[str, Any]] = json.loads(call(gateway, "GET", "/v1/streams").body)["data"]
    return streams
