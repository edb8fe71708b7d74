"""The scrape configuration, the alerts and the dashboard are valid, and name only metrics that exist."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.endings import Ending

from .places import DEPLOY, ROOT, run, tool

GAUGES = {
    "rivergate_streams_running",
    "rivergate_readers",
    "rivergate_lag_bytes",
    "rivergate_breaker_open",
    "rivergate_event_loop_lag_seconds",
    "rivergate_open_fds",
    "rivergate_ledger_failing",
    "rivergate_connections",
}
COUNTERS = {
    "rivergate_streams_total",
    "rivergate_deliveries_total",
    "rivergate_sends_total",
    "rivergate_aborts_total",
    "rivergate_orphan_seconds_total",
    "rivergate_hedges_total",
    "rivergate_hedge_cost_usd_total",
    "rivergate_ttft_budget_misses_total",
}
HISTOGRAMS = {
    "gen_ai_server_time_to_first_token",
    "gen_ai_server_time_per_output_token",
    "gen_ai_server_request_duration",
    "gen_ai_client_token_usage",
}
METRICS = GAUGES | COUNTERS | {f"{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "sum", "count")}

ALERTS = (DEPLOY / "alerts.yml").read_text()
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text())


def named(text: str) -> set[str]:
    """The gateway's metrics in a query; OpenTelemetry's labels (gen_ai_request_model) are left out."""
    return set(re.findall(r"\b(?:rivergate|gen_ai_server|gen_ai_client)_[a-z0-9_]+", text))


def queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]


def test_prometheus_takes_the_scrape_configuration_and_the_alerts() -> None:
    done = run(tool("promtool"), "check", "config", DEPLOY / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    done = run(tool("promtool"), "test", "rules", "alerts_test.yml", cwd=DEPLOY.parent / "tests" / "deploy")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_program_has_every_metric_of_the_list() -> None:
    source = "".join(path.read_text() for path in sorted((ROOT / "gateway").rglob("*.py")))
    fields = {name for name in GAUGES | HISTOGRAMS if f'"{name}"' in source}
    fields |= {name for name in COUNTERS if f'"{name.removesuffix("_total")}"' in source}
    assert fields == GAUGES | HISTOGRAMS | COUNTERS


def test_alerts_name_only_metrics_that_there_are() -> None:
    assert named(ALERTS)
    assert named(ALERTS) - METRICS == set()


def test_the_dashboard_names_only_metrics_that_there_are_and_every_one_of_them() -> None:
    used = {name for _, query in queries() for name in named(query)}
    assert used - METRICS == set()
    bare = {re.sub("_(bucket|sum|count)$", "", name) for name in used}
    assert bare == GAUGES | COUNTERS | HISTOGRAMS


def test_alerts_and_dashboard_count_the_endings_that_are_faults() -> None:
    faults = "|".join(ending for ending in Ending if ending.is_fault)
    for text in (ALERTS, *(query for _, query in queries())):
        lists = set(re.findall(r'ending=~"([^"]*)"', text))
        assert lists <= {faults}
    assert faults in ALERTS
    assert any(faults in query for _, query in queries())


@pytest.mark.parametrize("name", sorted(COUNTERS))
def test_a_counter_is_only_looked_at_as_a_rate(name: str) -> None:
    for _, query in [*queries(), ("alerts", ALERTS)]:
        for found in re.finditer(name, query):
            before = query[: found.start()]
            assert re.search(r"(rate|increase)\($", before)


def test_every_alert_says_how_grave_it_is_and_what_to_do() -> None:
    rules = ALERTS.split("- alert: ")[1:]
    assert len(rules) >= 10
    for rule in rules:
        assert re.search(r"severity: (critical|warning)", rule)
        assert "summary: " in rule
        assert "description: " in rule


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert cells & taken == set()
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
