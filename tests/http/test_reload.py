"""A reload: the configuration is read again; connections, streams and what is known of upstreams stay."""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.errors import ConfigError
from tests.kit.certificates import Certificates
from tests.kit.completions import ENDLESS, MODEL, QUICK, body, text
from tests.kit.configuration import KEYS, Served, configuration, feed
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import Answer, RawClient, call, fetch
from tests.kit.sse_client import Subscriber
from tests.kit.streams import create
from tests.kit.upstreams import Upstream, Upstreams
from tests.kit.waiting import wait_for

RULES = '[routing]\noptimize = "priority"\nbreaker_failures = 2\nbreaker_seconds = 600\n'


def reload_of(served: Served, folder: Path, sections: str = RULES, **options: Any) -> str:
    return configuration(served, f'{sections}[storage]\npath = "{folder}/s.db"\n', **options)


@pytest.fixture(scope="module")
def providers() -> Iterator[Upstreams]:
    providers = Upstreams()
    yield providers
    providers.close()


@pytest.fixture
def first_upstream(providers: Upstreams) -> Upstream:
    return providers.start("one", **QUICK)


@pytest.fixture
def second_upstream(providers: Upstreams) -> Upstream:
    return providers.start("two", **QUICK)


@pytest.fixture
def gateway(tmp_path: Path, first_upstream: Upstream) -> Iterator[LocalGateway]:
    gateway = LocalGateway(tmp_path, reload_of([(first_upstream, [MODEL])], tmp_path), KEYS)
    yield gateway
    gateway.close()


def metadata(gateway: Gateway, **fields: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(fetch(gateway.port, body(**fields)).body)["routing_metadata"]
    return parsed


def breaker(gateway: Gateway, upstream: str) -> float:
    families = text_string_to_metric_families(call(gateway, "GET", "/metrics").body.decode())
    (family,) = [family for family in families if family.name == "rivergate_breaker_open"]
    return max(sample.value for sample in family.samples if sample.labels["upstream"] == upstream)


def test_new_upstreams_and_models_are_served_and_removed_ones_are_not(
    gateway: LocalGateway, first_upstream: Upstream, second_upstream: Upstream, tmp_path: Path
) -> None:
    assert fetch(gateway.port, body(model="added")).status == 404
    line = gateway.reload(reload_of([(first_upstream, [MODEL]), (second_upstream, ["added"])], tmp_path))
    assert (line["level"], line["needs_restart"]) == ("info", [])
    assert metadata(gateway, model="added")["provider"] == "two"
    gateway.reload(reload_of([(second_upstream, ["added"])], tmp_path))
    assert fetch(gateway.port, body()).status == 404
    listed = json.loads(call(gateway, "GET", "/v1/models").body)["data"]
    assert [model["id"] for model in listed] == ["added"]


def test_prices_are_those_of_the_new_file(gateway: LocalGateway, first_upstream: Upstream, tmp_path: Path) -> None:
    before = metadata(gateway)["cost"]["usd"]
    gateway.reload(reload_of([(first_upstream, [MODEL])], tmp_path, prices={"one": (25.0, 100.0)}))
    assert metadata(gateway)["cost"]["usd"] == pytest.approx(10 * before)


def test_limits_are_those_of_the_new_file_for_requests_that_come_after_it(
    gateway: LocalGateway, first_upstream: Upstream, tmp_path: Path
) -> None:
    slow = {"ttft_ms": 5, "gap_ms": 20, "tokens": 30}
    with RawClient(gateway.port) as running:
        running.post(body(slow, stream=True))
        running.head()
        limited = '[stream]\nmax_output_tokens = 3\n[ttft]\nbudget_ms = 200\n[server]\nlisten = "127.0.0.1:0"\n'
        assert gateway.reload(reload_of([(first_upstream, [MODEL])], tmp_path, limited))["needs_restart"] == []
        cut = fetch(gateway.port, body(slow, stream=True))
        assert gateway.ending(cut.headers["x-request-id"])["ending"] == "max_output"
        late = fetch(gateway.port, body({"ttft_ms": 60_000}, stream=True))
        assert (late.status, late.error()["code"]) == (504, "ttft_budget_exceeded")
        assert Answer(200, {}, b"".join(iter(running.chunk, b""))).text() == text(30)


def test_the_running_stream_of_a_removed_upstream_goes_on(
    gateway: LocalGateway, first_upstream: Upstream, second_upstream: Upstream, tmp_path: Path
) -> None:
    stream = create(gateway, {"ttft_ms": 5, "gap_ms": 20, "tokens": 40})
    with Subscriber(gateway.port, stream["events_url"]) as subscriber, RawClient(gateway.port) as client:
        client.post(body({"ttft_ms": 5, "gap_ms": 20, "tokens": 40}, stream=True))
        client.head()
        gateway.reload(reload_of([(second_upstream, [MODEL])], tmp_path))
        assert metadata(gateway)["provider"] == "two"
        assert Answer(200, {}, b"".join(iter(client.chunk, b""))).text() == text(40)
        *_, end = subscriber.all_events()
    assert end.json == {"ending": "completed"}
    first_upstream.wait_until(lambda now: now.open_connections == 0, "its connections to be closed, not kept")


def test_pooled_connections_of_an_unchanged_upstream_stay(
    gateway: LocalGateway, first_upstream: Upstream, second_upstream: Upstream, tmp_path: Path
) -> None:
    for served in (
        [(first_upstream, [MODEL])],
        [(first_upstream, [MODEL, "more"]), (second_upstream, ["more"])],
        [(second_upstream, ["more"]), (first_upstream, [MODEL])],
    ):
        gateway.reload(reload_of(served, tmp_path, prices={"one": (1.0, 1.0)}))
        assert fetch(gateway.port, body(stream=True)).text() == text(8)
    assert first_upstream.statistics().requests == 3
    assert first_upstream.statistics().connections_accepted == 1


def test_an_upstream_that_is_reached_in_another_way_gets_new_connections(
    gateway: LocalGateway, first_upstream: Upstream, tmp_path: Path
) -> None:
    fetch(gateway.port, body())
    content = reload_of([(first_upstream, [MODEL])], tmp_path)
    gateway.reload(content.replace("api_key_env", "head_timeout_ms = 1234\napi_key_env"))
    first_upstream.wait_until(lambda now: now.open_connections == 0, "the old connection to be closed")
    assert fetch(gateway.port, body()).status == 200
    assert first_upstream.statistics().connections_accepted == 2


def test_the_health_of_an_unchanged_upstream_is_kept(
    gateway: LocalGateway, first_upstream: Upstream, second_upstream: Upstream, tmp_path: Path
) -> None:
    first_upstream.follow(status=500)
    wait_for(lambda: fetch(gateway.port, body()).status == 503, "the breaker to open")
    assert breaker(gateway, "one") == 2
    gateway.reload(
        reload_of([(first_upstream, [MODEL]), (second_upstream, ["other"])], tmp_path, prices={"one": (9.0, 9.0)})
    )
    assert breaker(gateway, "one") == 2
    gateway.reload(reload_of([(first_upstream, [MODEL])], tmp_path, RULES.replace("priority", "ttft")))
    assert breaker(gateway, "one") == 2
    assert fetch(gateway.port, body()).status == 503


def test_the_count_of_hedges_is_kept(
    gateway: LocalGateway, first_upstream: Upstream, second_upstream: Upstream, tmp_path: Path
) -> None:
    """If a reload began at zero, it would take saved hedges away, and counters would go backwards."""

    def counted() -> tuple[int, int]:
        with Subscriber(gateway.port, "/v1/feeds/statistics/events") as viewer:
            statistics = viewer.events(1)[0].json
        return statistics["requests"], statistics["hedges"]

    def hedged() -> bool:
        answer = fetch(gateway.port, body(stream=True, model="slow"))
        assert answer.text() == text(8)
        return answer.headers["x-upstream"] == "two"

    first_upstream.follow(stall_before="head")
    served: Served = [(first_upstream, ["slow"]), (second_upstream, ["slow", MODEL])]
    hedging = "[ttft]\nhedge_after = 1\nhedge_max_share = 0.5\n" + RULES
    gateway.reload(reload_of(served, tmp_path, hedging))
    assert [fetch(gateway.port, body()).status for _ in range(3)] == [200] * 3
    gateway.reload(reload_of(served, tmp_path, hedging, prices={"two": (1.0, 1.0)}))
    assert hedged()
    assert counted() == (4, 1)
    gateway.reload(reload_of(served, tmp_path, hedging))
    assert hedged()
    assert counted() == (5, 2)
    first_upstream.follow(**QUICK)
    gateway.reload(reload_of(served, tmp_path, hedging.replace("0.5", "0")))
    assert counted() == (5, 2)


@pytest.mark.parametrize("change", ["another address", "another key", "another rule"])
def test_the_health_of_what_an_upstream_was_before_is_forgotten(
    gateway: LocalGateway, first_upstream: Upstream, second_upstream: Upstream, tmp_path: Path, change: str
) -> None:
    """An operator who mends an upstream must not wait for its breaker."""
    first_upstream.follow(status=500)
    wait_for(lambda: fetch(gateway.port, body()).status == 503, "the breaker to open")
    first_upstream.follow(**QUICK)
    content = reload_of([(first_upstream, [MODEL])], tmp_path)
    changed = {
        "another address": content.replace(first_upstream.base_url, second_upstream.base_url),
        "another key": content.replace('api_key_env = "TEST_UPSTREAM_KEY"\n', ""),
        "another rule": content.replace("breaker_failures = 2", "breaker_failures = 3"),
    }[change]
    gateway.reload(changed)
    assert breaker(gateway, "one") == 0
    assert fetch(gateway.port, body()).status == 200


def test_sections_that_only_a_restart_takes_over_are_named(
    gateway: LocalGateway, first_upstream: Upstream, tmp_path: Path
) -> None:
    sections = '[server]\nlisten = "127.0.0.1:1"\n[stream]\nretain_seconds = 1\n'
    content = reload_of([(first_upstream, [MODEL])], tmp_path, sections) + feed("ticker", first_upstream, "gap_ms=10")
    line = gateway.reload(content.replace("s.db", "t.db"))
    assert sorted(line["needs_restart"]) == ["feeds", "server", "storage", "stream"]
    assert fetch(gateway.port, body(stream=True)).text() == text(8)
    assert gateway.reload(reload_of([(first_upstream, [MODEL])], tmp_path))["needs_restart"] == []


def test_origins_of_browsers_are_taken_over(gateway: LocalGateway, first_upstream: Upstream, tmp_path: Path) -> None:
    page = {"Origin": "https://page.example"}
    assert fetch(gateway.port, body(), **page).status == 403
    server = '[server]\nlisten = "127.0.0.1:0"\ncors_origins = ["https://page.example"]\n'
    assert gateway.reload(reload_of([(first_upstream, [MODEL])], tmp_path, server))["needs_restart"] == []
    allowed = fetch(gateway.port, body(), **page)
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, "https://page.example")


def test_many_reloads_under_load_break_no_stream_and_leave_no_connection_behind(
    gateway: LocalGateway, first_upstream: Upstream, second_upstream: Upstream, tmp_path: Path
) -> None:
    with RawClient(gateway.port) as endless:
        endless.post(body(ENDLESS, stream=True))
        endless.head()
        for turn in range(10):
            served: Served = [(first_upstream, [MODEL])] if turn % 2 else [(second_upstream, [MODEL])]
            gateway.reload(reload_of(served, tmp_path))
            assert fetch(gateway.port, body(stream=True)).text() == text(8)
            assert endless.chunk().startswith(b"data: ")
        first_upstream.wait_until(
            lambda now: now.open_connections == 2, "the endless stream and one connection at rest"
        )
        second_upstream.wait_until(lambda now: now.open_connections == 0, "no connection of what was removed")
        endless.hang_up("rst")


def test_a_renewed_certificate_is_shown_to_those_who_connect_from_now_on(
    tmp_path: Path, first_upstream: Upstream
) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    first, second = (Certificates.make(tmp_path / name) for name in ("first", "second"))
    used = tmp_path / "used.pem"
    used.write_bytes(first.good.read_bytes())
    server = f'[server]\nlisten = "127.0.0.1:0"\ntls_cert_file = "{used}"\ntls_key_file = "{used}"\n'
    content = reload_of([(first_upstream, [MODEL])], tmp_path, server)
    gateway = LocalGateway(tmp_path, content, KEYS)
    try:
        assert shown(gateway) == certificate_in(first.good)
        used.write_text("nonsense")
        with pytest.raises(ConfigError, match=r"server\.tls_cert_file: cannot use"):
            gateway.reload(content)
        assert shown(gateway) == certificate_in(first.good)
        used.write_bytes(second.good.read_bytes())
        assert gateway.reload(content)["needs_restart"] == []
        assert shown(gateway) == certificate_in(second.good)
    finally:
        gateway.close()


def shown(gateway: Gateway) -> str:
    return ssl.get_server_certificate(("127.0.0.1", gateway.port), timeout=10).strip()


def certificate_in(file: Path) -> str:
    """The first certificate of a PEM file."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = file.read_text()
    return text[text.index(begin) : text.index(end) + len(end)]


def test_the_keys_of_viewer_tokens_are_read_again(tmp_path: Path, first_upstream: Upstream) -> None:
    content = reload_of([(first_upstream, [MODEL])], tmp_path)
    gateway = LocalGateway(tmp_path, content, KEYS)
    try:
        stream = create(gateway, QUICK)
        assert call(gateway, "GET", stream["viewer_url"]).status == 200
        keys = tmp_path / "s.db.token-keys"
        keys.write_text(f"newer {'ab' * 32}\n")
        gateway.reload(content)
        assert call(gateway, "GET", stream["viewer_url"]).status == 401
        fields = json.loads(call(gateway, "POST", f"/v1/streams/{stream['id']}/tokens", {"ttl_seconds": 60}).body)
        assert call(gateway, "GET", f"{stream['events_url']}?token={fields['token']}").status == 200
    finally:
        gateway.close()
