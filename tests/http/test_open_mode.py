"""Without any API key only this machine is served: what a reverse proxy forwards is refused, until there is a key."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.completions import ENDLESS, MODEL, QUICK, body, text
from tests.kit.gateway import Gateway
from tests.kit.http_client import call, fetch
from tests.kit.keyring import Keyring
from tests.kit.sse_client import Subscriber
from tests.kit.streams import create
from tests.kit.upstreams import Upstream
from tests.kit.waiting import wait_for

FORWARDED = [
    {"X_Forwarded_For": "203.0.113.7"},
    {"x_forwarded_for": "127.0.0.1"},  # a client behind a second proxy
    {"Forwarded": "for=203.0.113.7;proto=https"},
    {"X_Real_IP": "203.0.113.7"},
]
WARNING = "requests through a proxy are refused: there is no API key"


@pytest.fixture
def keyring(tmp_path: Path, alpha: Upstream) -> Keyring:
    return Keyring(tmp_path, [(alpha, [MODEL])])


@pytest.fixture
def gateway(logs: Path, keyring: Keyring) -> Iterator[Gateway]:
    gateway = keyring.start(logs)
    yield gateway
    gateway.close()


@pytest.mark.parametrize("headers", FORWARDED)
def test_a_forwarded_completion_is_refused_with_what_to_do_and_reaches_no_upstream(
    gateway: Gateway, alpha: Upstream, headers: dict[str, str]
) -> None:
    before = alpha.statistics().requests
    for stream in (True, False):
        refused = fetch(gateway.port, body(QUICK, stream=stream), Authorization="Bearer any", **headers)
        assert refused.status == 401
        error = refused.error()
        assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
        assert "rivergate keys create" in error["message"]
    assert alpha.statistics().requests == before
    assert fetch(gateway.port, body(QUICK, stream=True)).text() == text(8)


def test_a_client_behind_a_proxy_gets_nothing_but_health(gateway: Gateway) -> None:
    stream = create(gateway, ENDLESS)
    through = FORWARDED[0]
    paths = ("/v1/models", "/v1/streams", stream["events_url"], "/v1/feeds/statistics/events", "/v1/usage")
    assert [call(gateway, "GET", path, **through).status for path in paths] == [401] * len(paths)
    assert call(gateway, "DELETE", f"/v1/streams/{stream['id']}", **through).status == 401
    assert [call(gateway, "GET", path, **through).status for path in ("/healthz", "/readyz")] == [200, 200]
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")


def test_the_log_tells_of_refused_proxies_once(gateway: Gateway) -> None:
    for _ in range(3):
        assert call(gateway, "GET", "/v1/models", **FORWARDED[0]).status == 401
    [line] = [line for line in gateway.lines() if line["event"] == WARNING]
    assert (line["level"], line["header"]) == ("warning", "X-Forwarded-For")
    assert "rivergate keys create" in line["advice"]


def test_a_viewer_token_is_good_through_a_proxy(gateway: Gateway) -> None:
    stream = create(gateway, ENDLESS)
    with Subscriber(gateway.port, stream["viewer_url"], X_Forwarded_For="203.0.113.7") as viewer:
        assert viewer.response.status == 200
        viewer.events(3)
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")


def test_with_the_first_key_the_proxy_is_let_through(gateway: Gateway, keyring: Keyring) -> None:
    assert call(gateway, "GET", "/v1/models", **FORWARDED[0]).status == 401
    key = keyring.create()

    def models() -> list[object] | None:
        answer = call(gateway, "GET", "/v1/models", Authorization=key.bearer, **FORWARDED[0])
        return json.loads(answer.body)["data"] if answer.status == 200 else None

    assert wait_for(models, "the key to be known")
    assert fetch(gateway.port, body(QUICK, stream=True), **FORWARDED[0]).status == 401
