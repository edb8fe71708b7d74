"""Ten thousand models hold up nobody: a reload, the lists of models and the statistics take short turns."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.completions import QUICK, body
from tests.kit.configuration import KEYS
from tests.kit.gateway import LocalGateway
from tests.kit.http_client import call, fetch
from tests.kit.sse_client import Subscriber
from tests.kit.upstreams import Upstream

pytestmark = pytest.mark.deep

LONGEST_TURN = 0.02  # of the loop, in processor time; at once, each of these takes 30 to 150 ms
COUNT = 10_000


def written(upstream: Upstream, price: int, models: int = COUNT) -> str:
    head = (
        f'[server]\nlisten = "127.0.0.1:0"\n[[upstreams]]\nname = "many"\nbase_url = "{upstream.base_url}"\n'
        'api_key_env = "TEST_UPSTREAM_KEY"\n'
    )
    prices = f"input_usd_per_mtok = {price}\noutput_usd_per_mtok = {price}\n"
    return head + "".join(f'[[upstreams.models]]\nid = "m{number}"\n{prices}' for number in range(models))


@pytest.fixture(scope="module")
def gateway(logs: Path, alpha: Upstream) -> Iterator[LocalGateway]:
    gateway = LocalGateway(logs, written(alpha, 1), KEYS)
    yield gateway
    gateway.close()


def test_the_lists_of_models_are_written_in_short_turns(gateway: LocalGateway) -> None:
    paths = ("/v1/models", "/v1/directory/models", "/v1/registry/models", "/v1/registry/providers")
    answers, longest = gateway.watch(lambda: [call(gateway, "GET", path) for path in paths], LONGEST_TURN)
    models, directory, registry, providers = (json.loads(answer.body) for answer in answers)
    assert [model["id"] for model in models["data"]] == [f"m{number}" for number in range(COUNT)]
    assert len(directory["models"]) == registry["count"] == len(registry["models"]) == COUNT
    assert directory["models"]["m7"]["providers"][0]["provider_model_id"] == "m7"
    assert providers["count"] == 1
    page = json.loads(call(gateway, "GET", "/v1/models?after_id=m9997", anthropic_version="2023-06-01").body)
    assert ([model["id"] for model in page["data"]], page["has_more"]) == (["m9998", "m9999"], False)
    assert longest < LONGEST_TURN


def test_statistics_of_many_models_take_short_turns(gateway: LocalGateway) -> None:
    assert fetch(gateway.port, body(QUICK, model=f"m{COUNT - 1}")).status == 200

    def look() -> set[str]:
        with Subscriber(gateway.port, "/v1/feeds/statistics/events") as subscriber:
            return {upstream["model"] for upstream in subscriber.events(1)[0].json["upstreams"]}

    shown, longest = gateway.watch(look, LONGEST_TURN)
    assert f"m{COUNT - 1}" in shown
    assert longest < LONGEST_TURN


def test_a_reload_is_built_in_short_turns_while_requests_are_answered(gateway: LocalGateway, alpha: Upstream) -> None:
    prices = iter(range(2, 100))

    def reload() -> int:
        price = next(prices)
        gateway.reload(written(alpha, price))
        answer = json.loads(call(gateway, "GET", f"/v1/models/m{COUNT - 1}").body)
        return price - int(answer["providers"][0]["input_price"])

    difference, longest = gateway.watch(reload, LONGEST_TURN)
    assert difference == 0
    assert longest < LONGEST_TURN
