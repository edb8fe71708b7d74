"""Names that a wildcard takes: records and logs tell each by itself, metrics and statistics only the wildcard.

Clients can make up any number of names, and each value of a metric's label is kept for ever.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.access.books import rows
from tests.kit.completions import QUICK, body
from tests.kit.configuration import KEYS, ORDERED, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.sse_client import Subscriber
from tests.kit.upstreams import Upstream
from tests.kit.waiting import wait_for

NAMES = [f"gpt-made-up-{number}" for number in range(40)]


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    written = configuration([(alpha, ["gpt-*"])], ORDERED).replace('upstream_id = "gpt-*-2024"', "")
    gateway = LocalGateway(logs, f'{written}[storage]\npath = "{logs}/wildcard.db"\n', KEYS)
    yield gateway
    gateway.close()


def labels(gateway: LocalGateway) -> set[str]:
    """All values of all labels in the metrics."""
    text = call(gateway, "GET", "/metrics").body.decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {value for sample in samples for value in sample.labels.values()}


def test_records_and_logs_tell_the_model_and_metrics_its_wildcard(gateway: LocalGateway, logs: Path) -> None:
    for number, name in enumerate(NAMES):
        streamed = {"stream": True} if number % 2 else {}
        failing = {"status": 500} if number % 5 == 0 else {}
        answer = fetch(gateway.port, body(failing or QUICK, model=name, **streamed))
        assert answer.status == (502 if failing else 200)
        assert gateway.ending(answer.headers["x-request-id"])["model"] == name
    assert fetch(gateway.port, body(QUICK, model="made-up-by-nobody")).status == 404
    found = labels(gateway)
    assert "gpt-*" in found
    assert [value for value in found if "made-up" in value] == []
    with Subscriber(gateway.port, "/v1/feeds/statistics/events") as subscriber:
        statistics = subscriber.events(1)[0].json
    assert {upstream["model"] for upstream in statistics["upstreams"]} == {"gpt-*"}
    assert {error["model"] for error in statistics["errors"]} == {"gpt-*"}
    good = set(NAMES) - set(NAMES[::5])
    wait_for(
        lambda: {model for (model,) in rows(logs / "wildcard.db", "SELECT model FROM usage")} >= good, "the records"
    )
