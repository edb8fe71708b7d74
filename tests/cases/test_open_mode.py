"""Without an API key only this machine is served: one rule for the fast way, for aiohttp's way and for a GET."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.kit.completions import MODEL, QUICK, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import Answer, RawClient, call, fetch
from tests.kit.upstreams import Upstream

CASES: list[Mapping[str, Any]] = tomllib.loads((Path(__file__).parent / "open_mode.toml").read_text())["case"]
SERVER = """[server]
listen = "127.0.0.1:0"
allowed_hosts = ["gateway.lan", "*.dev.lan", "[fd00::1]"]
cors_origins = ["https://app.example"]
"""
ALL = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])], SERVER), KEYS)
    yield gateway
    gateway.close()


def judge(answer: Answer, case: Mapping[str, Any]) -> None:
    assert answer.status == case["status"]
    if answer.status == 403:
        assert answer.error()["param"] == case["param"]
    if answer.status == 401:
        assert "rivergate keys create" in answer.error()["message"]


@ALL
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_completion_is_served_or_refused(
    gateway: LocalGateway, alpha: Upstream, case: Mapping[str, Any], stream: bool
) -> None:
    before = alpha.statistics().requests
    judge(fetch(gateway.port, body(QUICK, stream=stream), **case["headers"]), case)
    assert alpha.statistics().requests - before == (case["status"] == 200)


@ALL
@pytest.mark.parametrize("path", ["/v1/models", "/v1/streams", "/v1/feeds/statistics/events"])
def test_a_get_is_served_or_refused(gateway: LocalGateway, case: Mapping[str, Any], path: str) -> None:
    with RawClient(gateway.port) as client:
        client.request("GET", path, **case["headers"])
        if case["status"] == 200 and path.endswith("events"):
            assert client.head().status == 200
        else:
            judge(client.answer(), case)


@ALL
@pytest.mark.parametrize("path", ["/metrics", "/dashboard"])
def test_a_page_is_served_to_the_same_hosts_and_links_may_lead_there(
    gateway: LocalGateway, case: Mapping[str, Any], path: str
) -> None:
    answer = call(gateway, "GET", path, **case["headers"])
    assert answer.status == (200 if case.get("param") in ("Origin", "Sec-Fetch-Site") else case["status"])


@ALL
def test_whoever_looks_after_the_process_may_always_ask(gateway: LocalGateway, case: Mapping[str, Any]) -> None:
    assert [call(gateway, "GET", path, **case["headers"]).status for path in ("/healthz", "/readyz")] == [200, 200]


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_http_1_1_without_a_host_is_refused_on_both_ways(gateway: LocalGateway, stream: bool) -> None:
    content = str(body(QUICK, stream=stream)).replace("'", '"').replace("True", "true").replace("False", "false")
    with RawClient(gateway.port) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(content)}\r\n\r\n"
        client.socket.sendall(head.encode() + content.encode())
        assert client.answer().status == 400


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("Connection: close", 401),
        ("Connection: Close, TE", 401),
        ("Connection: keep-alive", 200),
        ("Accept: */*", 200),
    ],
)
def test_http_1_0_that_closes_its_connection_comes_from_a_proxy(
    gateway: LocalGateway, alpha: Upstream, fields: str, status: int
) -> None:
    before = alpha.statistics().requests
    content = json.dumps(body(QUICK, stream=True))
    post = f"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: {len(content)}"
    for line, text in ((post, content), *((f"GET {path} HTTP/1.0", "") for path in ("/v1/streams", "/metrics"))):
        with RawClient(gateway.port) as client:
            client.socket.sendall(f"{line}\r\nHost: 127.0.0.1:8080\r\n{fields}\r\n\r\n{text}".encode())
            assert client.head().status == status
    assert alpha.statistics().requests - before == (status == 200)
    with RawClient(gateway.port) as client:
        client.socket.sendall(f"GET /healthz HTTP/1.0\r\nHost: x\r\n{fields}\r\n\r\n".encode())
        assert client.head().status == 200


@pytest.mark.parametrize(
    "fields",
    [
        "Host: localhost\r\nHost: evil.example",
        "Host: evil.example\r\nHost: localhost",
        "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: http://evil.example",
        "Host: localhost\r\nOrigin: http://evil.example\r\nOrigin: http://localhost",
        "Host: localhost\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site",
        "Host: localhost\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Site: none",
    ],
)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_field_that_is_sent_twice_may_not_hide_another(
    gateway: LocalGateway, alpha: Upstream, fields: str, stream: bool
) -> None:
    before = alpha.statistics().requests
    content = json.dumps(body(QUICK, stream=stream))
    post = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(content)}"
    for line, text in ((post, content), ("GET /v1/streams HTTP/1.1", "")):
        with RawClient(gateway.port) as client:
            client.socket.sendall(f"{line}\r\n{fields}\r\n\r\n{text}".encode())
            assert client.answer().status in (400, 403)
    assert alpha.statistics().requests == before


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("authority", "host", "status"),
    [
        ("evil.example", "localhost", 403),
        ("evil.example:8080", "localhost", 403),
        ("localhost@evil.example", "localhost", 403),
        ("localhost", "evil.example", 200),  # the target counts, as RFC 9112 section 3.2.2 wants it
        ("localhost:8080", "localhost", 200),
    ],
)
def test_the_host_in_a_target_counts_before_the_header(
    gateway: LocalGateway, alpha: Upstream, authority: str, host: str, status: int, stream: bool
) -> None:
    before = alpha.statistics().requests
    for method, path, content in (
        ("POST", "/v1/chat/completions", body(QUICK, stream=stream)),
        ("GET", "/v1/streams", b""),
        ("GET", "/metrics", b""),
    ):
        answer = call(gateway, method, f"http://{authority}{path}", content, Host=host)
        assert answer.status == status
    assert alpha.statistics().requests - before == (status == 200)


@pytest.mark.parametrize("fields", [140, 1000])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_too_many_header_fields_are_refused_on_both_ways(gateway: LocalGateway, stream: bool, fields: int) -> None:
    many = {f"X_{number}": "1" for number in range(fields)}
    assert fetch(gateway.port, body(QUICK, stream=stream), **many).status == 400


def test_a_reload_takes_over_the_hosts_and_origins_on_both_ways_and_back(logs: Path, alpha: Upstream) -> None:
    gateway = LocalGateway(logs, configuration([(alpha, [MODEL])]), KEYS)
    before = gateway.file.read_text()
    lines = '[server]\nallowed_hosts = ["gateway.lan"]\ncors_origins = ["https://app.example"]'
    asked = [{"Host": "gateway.lan"}, {"Host": "localhost", "Origin": "https://app.example"}]

    def statuses() -> set[int]:
        posts = {
            fetch(gateway.port, body(QUICK, stream=s), **fields).status for s in (True, False) for fields in asked
        }
        return posts | {call(gateway, "GET", "/v1/models", **fields).status for fields in asked}

    try:
        assert statuses() == {403}
        assert gateway.reload(before.replace("[server]", lines))["needs_restart"] == []
        assert statuses() == {200}
        gateway.reload(before)
        assert statuses() == {403}
    finally:
        gateway.close()
