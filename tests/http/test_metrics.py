"""What Prometheus scrapes: every number moves with what it tells of, and no label grows with what clients send."""

import contextlib
import json
import os
import re
import socket
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from gateway.endings import Ending
from tests.kit.completions import CLIENT_KEY, ENDLESS, MODEL, PROMPT, QUICK, UPSTREAM_KEY, body, text
from tests.kit.configuration import KEYS, configuration, feed
from tests.kit.gateway import Gateway, LocalGateway
from tests.kit.http_client import Answer, RawClient, call, fetch
from tests.kit.sse_client import Subscriber
from tests.kit.streams import create, wait_for_state
from tests.kit.upstreams import Upstream, Upstreams
from tests.kit.waiting import wait_for

PAIR = "pair"  # both providers serve it, the slow one first
WEAK = "weak"  # the model of the provider that the tests make fail
FAILURES = 8  # failures in a row that open a breaker: more than the tests of endings cause
SECTIONS = f"""
[server]
listen = "127.0.0.1:0"
drain_seconds = 1
[stream]
idle_timeout_ms = 300
subscriber_stall_seconds = 1
[ttft]
hedge_after = 100
hedge_max_share = 1
[routing]
optimize = "priority"
breaker_failures = {FAILURES}
breaker_seconds = 600
"""
FEEDS = {"ticker", "heavy", "statistics"}
LABELS = {"gen_ai_request_model", "gen_ai_provider_name", "gen_ai_operation_name"}
# Every metric family and its labels. A new family has to be added here, and a test below has to see it move.
FAMILIES: dict[str, set[str]] = {
    "gen_ai_server_time_to_first_token": LABELS | {"le"},
    "gen_ai_server_time_per_output_token": LABELS | {"le"},
    "gen_ai_server_request_duration": LABELS | {"le", "ending"},
    "gen_ai_client_token_usage": LABELS | {"le", "gen_ai_token_type"},
    "rivergate_streams": {"ending"},
    "rivergate_aborts": {"reason"},
    "rivergate_ttft_budget_misses": set(),
    "rivergate_hedges": set(),
    "rivergate_hedge_cost_usd": set(),
    "rivergate_streams_running": set(),
    "rivergate_streams_kept": set(),
    "rivergate_readers": set(),
    "rivergate_stream_readers_max": set(),
    "rivergate_feed_readers": {"feed"},
    "rivergate_lag_bytes": set(),
    "rivergate_lagged_readers": set(),
    "rivergate_deliveries": set(),
    "rivergate_sends": set(),
    "rivergate_orphan_seconds": set(),
    "rivergate_refusals": {"status", "code"},
    "rivergate_attempts": {"upstream", "outcome"},
    "rivergate_breaker_changes": {"upstream", "model", "to"},
    "rivergate_breaker_open": {"upstream", "model"},
    "rivergate_in_flight": {"upstream", "model"},
    "rivergate_event_loop_lag_seconds": set(),
    "rivergate_upstream_reads": set(),
    "rivergate_loop_rests": set(),
    "rivergate_open_fds": set(),
    "rivergate_connections": set(),
    "rivergate_ledger_failing": set(),
}


class Scrape:
    """One answer of `/metrics`."""

    def __init__(self, gateway: Gateway) -> None:
        answer = call(gateway, "GET", "/metrics")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        self.families: list[Metric] = list(text_string_to_metric_families(answer.body.decode()))

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the samples with this name and these labels."""
        samples = (sample for family in self.families for sample in family.samples)
        return sum(item.value for item in samples if item.name == name and labels.items() <= item.labels.items())


@pytest.fixture(scope="module")
def providers() -> Iterator[Upstreams]:
    providers = Upstreams()
    yield providers
    providers.close()


@pytest.fixture(scope="module")
def first(providers: Upstreams) -> Upstream:
    return providers.start("first", **QUICK)


@pytest.fixture(scope="module")
def second(providers: Upstreams) -> Upstream:
    return providers.start("second", **QUICK)


@pytest.fixture
def first_as(first: Upstream) -> Iterator[Callable[..., None]]:
    yield first.follow
    first.follow(**QUICK)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger") / "s.db"


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, first: Upstream, second: Upstream, storage: Path
) -> Iterator[LocalGateway]:
    content = configuration(
        [(first, [MODEL, PAIR, WEAK]), (second, [PAIR])], f'{SECTIONS}[storage]\npath = "{storage}"\n'
    )
    content += feed("ticker", first, "gap_ms=10")
    content += feed("heavy", first, "gap_ms=2&padding_bytes=20000", "retain_events = 400")
    gateway = LocalGateway(tmp_path_factory.mktemp("metrics"), content, KEYS)
    yield gateway
    gateway.close()


def wait_until(gateway: Gateway, holds: Callable[[Scrape], bool], what: str, seconds: float = 10.0) -> Scrape:
    """The first scrape for which `holds` is true."""

    def look() -> Scrape | None:
        scrape = Scrape(gateway)
        return scrape if holds(scrape) else None

    return wait_for(look, what, seconds)


# --- completions


def test_a_completion_is_in_every_histogram_of_opentelemetry(gateway: Gateway) -> None:
    labels = {"gen_ai_request_model": MODEL, "gen_ai_provider_name": "first", "gen_ai_operation_name": "chat"}
    before = Scrape(gateway)
    assert fetch(gateway.port, body({"ttft_ms": 60, "gap_ms": 20, "tokens": 20}, stream=True)).text() == text(20)
    after = Scrape(gateway)

    def added(name: str, **more: str) -> tuple[float, float]:
        """How many observations a histogram has gained, and their sum."""
        count, total = (after(name + end, **labels, **more) - before(name + end, **labels, **more) for end in ENDS)
        return count, total

    ttft, per_token = (
        added("gen_ai_server_time_to_first_token"),
        added("gen_ai_server_time_per_output_token"),
    )
    duration = added("gen_ai_server_request_duration", ending="completed")
    assert (ttft[0], per_token[0], duration[0]) == (1, 1, 1)
    assert 0.055 <= ttft[1] < duration[1]
    assert 0.4 < duration[1] < 5
    assert per_token[1] == pytest.approx((duration[1] - ttft[1]) / 19, rel=0.1)
    assert added("gen_ai_client_token_usage", gen_ai_token_type="output") == (1, 20)
    count, tokens = added("gen_ai_client_token_usage", gen_ai_token_type="input")
    assert count == 1
    assert tokens > 0


ENDS = ("_count", "_sum")


def test_a_completion_that_is_not_streamed_is_measured_too(gateway: Gateway) -> None:
    before = Scrape(gateway)
    assert fetch(gateway.port, body()).status == 200
    after = Scrape(gateway)
    for name in ("gen_ai_server_request_duration_count", "rivergate_streams_total"):
        assert after(name, ending="completed") == before(name, ending="completed") + 1


def stopped(gateway: Gateway) -> str:
    stream = create(gateway, {"ttft_ms": 60_000})
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")
    return str(gateway.wait_for_event("completion ended", stream_id=stream["id"])["request_id"])


def abandoned(gateway: Gateway) -> str:
    with RawClient(gateway.port) as client:
        client.post(body(ENDLESS, stream=True))
        return client.head().headers["x-request-id"]


def ended_by(simulate: dict[str, Any], **headers: str) -> Callable[[Gateway], str]:
    def end(gateway: Gateway) -> str:
        return fetch(gateway.port, body(simulate, stream=True), **headers).headers["x-request-id"]

    return end


ENDINGS: dict[str, tuple[Callable[[Gateway], str], bool]] = {
    "completed": (ended_by(QUICK), False),
    "refused": (ended_by({"status": 400}), False),
    "upstream_error": (ended_by({"ttft_ms": 5, "cut_after": 3}), False),
    "stalled": (ended_by({"ttft_ms": 5, "stall_after": 3}), True),
    "ttft_budget_exceeded": (ended_by({"ttft_ms": 60_000}, X_Max_TTFT_Ms="50"), True),
    "abandoned": (abandoned, True),
    "stopped": (stopped, True),  # before the first content, too
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_is_counted_by_its_name_and_logged_in_one_line(gateway: Gateway, ending: str) -> None:
    end, aborted = ENDINGS[ending]
    before = Scrape(gateway)
    request_id = end(gateway)
    gateway.ending(request_id)
    after = wait_until(
        gateway, lambda now: now("rivergate_streams_total") > before("rivergate_streams_total"), ending
    )
    counted = {ended.value for ended in Ending if after("rivergate_streams_total", ending=ended) > 0}
    assert ending in counted
    assert after("rivergate_streams_total") == before("rivergate_streams_total") + 1
    for name in ("rivergate_streams_total", "gen_ai_server_request_duration_count"):
        assert after(name, ending=ending) == before(name, ending=ending) + 1
    assert after("rivergate_aborts_total", reason=ending) - before("rivergate_aborts_total", reason=ending) == aborted
    misses = after("rivergate_ttft_budget_misses_total") - before("rivergate_ttft_budget_misses_total")
    assert misses == (ending == "ttft_budget_exceeded")
    lines = [line for line in gateway.lines() if line.get("request_id") == request_id and "ending" in line]
    assert [(line["event"], line["ending"]) for line in lines] == [("completion ended", ending)]


def test_hedges_and_what_they_cost_are_counted(gateway: Gateway, first_as: Callable[..., None]) -> None:
    before = Scrape(gateway)
    first_as(ttft_ms=5000)
    answer = fetch(gateway.port, body(model=PAIR, stream=True))
    assert answer.text() == text(8)
    assert answer.headers["x-upstream"] == "second"
    after = Scrape(gateway)
    assert after("rivergate_hedges_total") == before("rivergate_hedges_total") + 1
    cost = after("rivergate_hedge_cost_usd_total") - before("rivergate_hedge_cost_usd_total")
    logged = gateway.ending(answer.headers["x-request-id"])["hedge_cost_usd"]
    assert cost == pytest.approx(float(logged))
    assert cost > 0


def test_a_breaker_that_opens_moves_its_metric(gateway: Gateway, first_as: Callable[..., None]) -> None:
    weak = {"upstream": "first", "model": WEAK}
    assert Scrape(gateway)("rivergate_breaker_open", **weak) == 0
    first_as(status=500)
    for _ in range(FAILURES):
        assert fetch(gateway.port, body(model=WEAK)).status == 502
    scrape = Scrape(gateway)
    assert scrape("rivergate_breaker_open", **weak) == 2
    assert scrape("rivergate_breaker_changes_total", **weak, to="open") == 1
    assert scrape("rivergate_breaker_open", upstream="first", model=MODEL) == 0


# --- what runs


def test_streams_attempts_and_subscribers_are_counted_while_they_run(gateway: Gateway) -> None:
    before = Scrape(gateway)
    stream = create(gateway, ENDLESS)
    with (
        Subscriber(gateway.port, stream["events_url"]) as first_subscriber,
        Subscriber(gateway.port, stream["events_url"]) as two,
    ):
        first_subscriber.events(1)
        two.events(1)
        now = Scrape(gateway)
        assert now("rivergate_streams_running") == before("rivergate_streams_running") + 1
        assert now("rivergate_readers") == before("rivergate_readers") + 2
        assert now("rivergate_stream_readers_max") == 2
        assert now("rivergate_in_flight", upstream="first", model=MODEL) == 1
        assert now("rivergate_connections") >= 3  # these two and the scrape's own
        assert now("rivergate_open_fds") >= before("rivergate_open_fds") + 2
        call(gateway, "DELETE", f"/v1/streams/{stream['id']}")
    after = wait_until(gateway, lambda now: now("rivergate_readers") == before("rivergate_readers"), "no readers")
    assert after("rivergate_streams_running") == before("rivergate_streams_running")
    assert after("rivergate_streams_kept") == before("rivergate_streams_kept") + 1
    assert after("rivergate_in_flight") == 0


def test_deliveries_over_sends_tell_how_events_are_coalesced(gateway: Gateway) -> None:
    stream = create(gateway, QUICK)
    ended = wait_for_state(gateway, stream["id"], state="ended")
    before = Scrape(gateway)
    with Subscriber(gateway.port, stream["events_url"]) as late:
        late.all_events()
    after = Scrape(gateway)
    assert after("rivergate_deliveries_total") - before("rivergate_deliveries_total") == ended["events"]
    assert after("rivergate_sends_total") - before("rivergate_sends_total") == 1


def test_time_without_a_subscriber_is_counted(gateway: Gateway) -> None:
    before = Scrape(gateway)("rivergate_orphan_seconds_total")
    stream = create(gateway, ENDLESS)
    wait_until(gateway, lambda now: now("rivergate_orphan_seconds_total") > before + 0.1, "a stream without a reader")
    with Subscriber(gateway.port, stream["events_url"]) as reader:
        reader.events(1)
        read = Scrape(gateway)("rivergate_orphan_seconds_total")
        reader.events(30)
        assert Scrape(gateway)("rivergate_orphan_seconds_total") == pytest.approx(read)
    call(gateway, "DELETE", f"/v1/streams/{stream['id']}")


def test_streams_that_have_ended_and_are_forgotten_still_count(
    tmp_path: Path, first: Upstream, second: Upstream
) -> None:
    """A counter that falls is read as a restart."""
    sections = f'[stream]\nretain_seconds = 0\n[storage]\npath = "{tmp_path}/s.db"\n'
    gateway = LocalGateway(tmp_path, configuration([(first, [MODEL])], sections), KEYS)
    try:
        for count in range(1, 4):
            assert fetch(gateway.port, body(stream=True)).text() == text(8)
            scrape = Scrape(gateway)
            assert scrape("rivergate_streams_kept") == 0
            assert scrape("rivergate_deliveries_total") >= 8 * count
            assert scrape("rivergate_sends_total") >= count
    finally:
        gateway.close()


def slow_reader(gateway: Gateway, path: str) -> RawClient:
    """A client that asks for this path and reads nothing."""
    client = RawClient(gateway.port)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.request("GET", path, Accept="text/event-stream")
    return client


def test_a_subscriber_that_takes_nothing_is_behind_and_then_lagged(
    gateway: Gateway, first_as: Callable[..., None]
) -> None:
    before = Scrape(gateway)("rivergate_lagged_readers_total")
    first_as(text="w" * 40_000 + " " + ("w" * 40_000 + " ") * 300, ttft_ms=5, gap_ms=1)
    stream = create(gateway, {})
    with slow_reader(gateway, stream["events_url"]):
        wait_until(gateway, lambda now: now("rivergate_lag_bytes") > 1_000_000, "a reader that is behind", 20)
        wait_until(gateway, lambda now: now("rivergate_lagged_readers_total") == before + 1, "its end", 20)
    wait_until(gateway, lambda now: now("rivergate_lag_bytes") == 0, "nobody behind")


def test_a_subscriber_of_a_feed_that_takes_nothing_is_behind_and_then_lagged(gateway: Gateway) -> None:
    before = Scrape(gateway)("rivergate_lagged_readers_total")
    with slow_reader(gateway, "/v1/feeds/heavy/events"):
        wait_until(gateway, lambda now: now("rivergate_lag_bytes") > 1_000_000, "a reader that is behind", 20)
        wait_until(gateway, lambda now: now("rivergate_lagged_readers_total") == before + 1, "its end", 20)
    wait_until(gateway, lambda now: now("rivergate_lag_bytes") == 0, "nobody behind")


def test_subscribers_of_feeds_are_counted_by_feed(gateway: Gateway) -> None:
    before = Scrape(gateway)
    assert {
        s.labels["feed"] for f in before.families if f.name == "rivergate_feed_readers" for s in f.samples
    } == FEEDS
    with Subscriber(gateway.port, "/v1/feeds/ticker/events") as reader:
        reader.events(5)
        now = Scrape(gateway)
        assert now("rivergate_feed_readers", feed="ticker") == 1
        assert now("rivergate_feed_readers") == 1
        assert now("rivergate_deliveries_total") >= before("rivergate_deliveries_total") + 5
    wait_until(gateway, lambda now: now("rivergate_feed_readers", feed="ticker") == 0, "no reader")


# --- the process


def test_reads_are_counted_and_under_load_the_loop_rests_between_them(logs: Path, first: Upstream) -> None:
    many = {"ttft_ms": 5, "gap_ms": 5, "tokens": 300}
    # With `batch_us = 5000`, four reads in 5 ms, or 800 a second, are a load; sixteen streams bring 3,200 a second.
    content = configuration([(first, [MODEL])], '[server]\nlisten = "127.0.0.1:0"\nbatch_us = 5000\n')
    gateway = LocalGateway(logs, content, KEYS)
    try:
        before = Scrape(gateway)
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: fetch(gateway.port, body(many, stream=True)).text(), range(16)))
        assert answers == [text(300)] * 16
        after = Scrape(gateway)
        assert after("rivergate_upstream_reads_total") - before("rivergate_upstream_reads_total") >= 16
        assert after("rivergate_loop_rests_total") > before("rivergate_loop_rests_total")
    finally:
        gateway.close()


def test_the_lag_of_a_blocked_loop_is_in_one_scrape_only(gateway: LocalGateway) -> None:
    lag = "rivergate_event_loop_lag_seconds"
    gateway.block(0.8)
    wait_until(gateway, lambda now: now(lag) > 0.2, "the lag")
    wait_until(gateway, lambda now: now(lag) < 0.2, "its end")


def test_descriptors_are_counted_as_the_kernel_counts_them(gateway: Gateway) -> None:
    scrape = wait_until(gateway, lambda now: now("rivergate_connections") == 1, "only the scrape's own connection")
    own = {"its connection": 1, "the folder that is read": 1}
    assert abs(scrape("rivergate_open_fds") - len(os.listdir("/proc/self/fd"))) <= len(own)


def test_a_ledger_that_cannot_be_written_moves_its_metric_and_readiness_fails(
    gateway: Gateway, storage: Path
) -> None:
    with contextlib.closing(sqlite3.connect(storage, timeout=20)) as ledger:
        ledger.execute("ALTER TABLE usage RENAME TO elsewhere")
        try:
            assert fetch(gateway.port, body()).status == 200
            wait_until(gateway, lambda now: now("rivergate_ledger_failing") == 1, "the failure")
            assert call(gateway, "GET", "/readyz").status == 503
        finally:
            ledger.execute("ALTER TABLE elsewhere RENAME TO usage")
    wait_until(gateway, lambda now: now("rivergate_ledger_failing") == 0, "the ledger to be written again")
    assert call(gateway, "GET", "/readyz").status == 200


# --- names and labels


def test_the_metrics_have_exactly_the_listed_families_and_labels(
    gateway: Gateway, first_as: Callable[..., None]
) -> None:
    first_as(status=500)
    for _ in range(FAILURES):
        fetch(gateway.port, body(model=WEAK))  # whose breaker opens, if no test before has opened it
    first_as(**QUICK)
    fetch(gateway.port, body(stream=True))
    fetch(gateway.port, body(model="nobody"))
    abandoned(gateway)
    scrape = wait_until(gateway, lambda now: now("rivergate_aborts_total") > 0, "an abort")
    found = {family.name: family for family in scrape.families}
    assert found.keys() == FAMILIES.keys()
    for name, family in found.items():
        assert family.documentation, name
        labels = [sample.labels.keys() for sample in family.samples]
        assert set().union(*labels) == FAMILIES[name], name
        identities = Counter((sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples)
        assert set(identities.values()) <= {1}, name


def test_names_that_clients_make_up_never_become_labels(gateway: Gateway) -> None:
    made_up = [f"made-up-{number}" for number in range(20)]
    for name in made_up:
        fetch(gateway.port, body(model=name, stream=True))
        fetch(gateway.port, body(model=f"{MODEL}:{name}", stream=True))
        fetch(gateway.port, body(gateway={"models": [name, MODEL]}))
        fetch(gateway.port, body(stream=True), X_Stream_Key=name, X_Request_Id=name)
        call(gateway, "GET", f"/v1/feeds/{name}/events")
        call(gateway, "GET", f"/{name}")
    fetch(gateway.port, body(stream=True, gateway={"routing": {"optimize": "speed"}}, user="made-up-user"))
    samples = [sample for family in Scrape(gateway).families for sample in family.samples]
    assert not [sample for sample in samples if "made-up" in json.dumps(sample.labels)]
    values = {name: {sample.labels[name] for sample in samples if name in sample.labels} for name in LABELS}
    assert values["gen_ai_request_model"] <= {MODEL, PAIR, WEAK}
    assert values["gen_ai_provider_name"] <= {"", "first", "second"}
    assert values["gen_ai_operation_name"] == {"chat"}
    endings = {sample.labels[name] for sample in samples for name in ("ending", "reason") if name in sample.labels}
    assert endings <= {ending.value for ending in Ending}


def test_a_strategy_behind_a_models_name_is_no_other_model(gateway: Gateway) -> None:
    counted = "gen_ai_server_request_duration_count"
    before = Scrape(gateway)
    assert fetch(gateway.port, body(model=f"{PAIR}:ttft", stream=True)).status == 200
    after = Scrape(gateway)
    assert after(counted, gen_ai_request_model=PAIR) == before(counted, gen_ai_request_model=PAIR) + 1
    samples = [sample for family in after.families for sample in family.samples]
    assert not [sample for sample in samples if ":ttft" in sample.labels.get("gen_ai_request_model", "")]


# --- the log


def test_the_log_tells_every_ending_in_one_line_of_json_and_no_secret(
    gateway: Gateway, tmp_path: Path, storage: Path
) -> None:
    stream = create(gateway, QUICK, Authorization=f"Bearer {CLIENT_KEY}")
    wait_for_state(gateway, stream["id"], state="ended")
    token = stream["viewer_url"].partition("token=")[2]
    with Subscriber(gateway.port, stream["viewer_url"]) as viewer:
        viewer.all_events()
    ids = [fetch(gateway.port, body(QUICK, stream=True, user="who-asks")).headers["x-request-id"] for _ in range(3)]
    lines = [gateway.ending(request_id) for request_id in ids]
    for line in lines:
        assert (line["model"], line["upstream"], line["ending"]) == (MODEL, "first", "completed")
        assert (line["prompt_tokens"] > 0, line["completion_tokens"]) == (True, 8)
        assert line["attempts"] == ["first:won"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["at"])
    written = gateway.errors()
    assert all(json.loads(line)["event"] for line in written.splitlines())
    ended = Counter(line["request_id"] for line in gateway.lines() if line["event"] == "completion ended")
    assert set(ended.values()) == {1}
    for secret in (PROMPT, CLIENT_KEY, UPSTREAM_KEY, token, token.rpartition(".")[2], "Bearer", "who-asks", text(4)):
        assert secret not in written
    assert os.path.exists(storage)


def test_metrics_are_for_whoever_may_connect_and_hold_no_secret(gateway: Gateway) -> None:
    answer: Answer = call(gateway, "GET", "/metrics")
    for secret in (PROMPT, CLIENT_KEY, UPSTREAM_KEY, "Bearer"):
        assert secret not in answer.body.decode()
