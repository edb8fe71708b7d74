"""The metrics of many models are written part by part, and read as if they had been written at once."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.kit.completions import QUICK, body
from tests.kit.configuration import KEYS, configuration
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.upstreams import Upstream

LONGEST_TURN = 0.02  # of the loop, in processor time; at once the metrics of 60 models would take 60 ms
MODELS = [f"m{number}" for number in range(60)]


def test_the_metrics_of_many_models_hold_up_nobody(logs: Path, alpha: Upstream) -> None:
    gateway = LocalGateway(logs, configuration([(alpha, MODELS)]), KEYS)
    try:
        for model in MODELS:
            assert fetch(gateway.port, body(QUICK, model=model, stream=True)).status == 200
        answer, longest = gateway.watch(lambda: call(gateway, "GET", "/metrics"), LONGEST_TURN)
    finally:
        gateway.close()
    families = list(text_string_to_metric_families(answer.body.decode()))
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    durations = next(family for family in families if family.name == "gen_ai_server_request_duration")
    counted = [
        sample.labels["gen_ai_request_model"] for sample in durations.samples if sample.name.endswith("_count")
    ]
    assert sorted(counted) == sorted(MODELS)
    assert longest < LONGEST_TURN
