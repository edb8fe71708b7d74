"""How models that an upstream lists become models of the gateway."""

from typing import Any

import pytest

from gateway.config import ModelSettings
from gateway.routing.catalog import DiscoveredModel
from gateway.run.discovery import new_models


def found(configured: list[dict[str, Any]], *listed: str) -> list[tuple[str, str]]:
    """The new models: the id by which clients ask, and the name at the upstream."""
    models = [ModelSettings.model_validate(model) for model in configured]
    new = new_models(models, [DiscoveredModel(id=name) for name in listed])
    return [(model.id, model.upstream_id) for model in new]


@pytest.mark.parametrize(
    ("configured", "listed", "expected"),
    [
        ([], ["a", "b"], [("a", "a"), ("b", "b")]),
        ([{"id": "a"}], ["a", "b"], [("b", "b")]),
        ([{"id": "public", "upstream_id": "a"}], ["a", "b"], [("b", "b")]),
        ([{"id": "x", "aliases": ["a"]}], ["a", "b"], [("b", "b")]),
        ([{"id": "gpt-*"}], ["gpt-5", "o3"], [("gpt-5", "gpt-5"), ("o3", "o3")]),
        ([{"id": "openai/*", "upstream_id": "*"}], ["gpt-5"], [("openai/gpt-5", "gpt-5")]),
        ([{"id": "o/*", "upstream_id": "*"}, {"id": "g/*", "upstream_id": "gpt-*"}], ["gpt-5"], [("g/5", "gpt-5")]),
        ([{"id": "o/*", "upstream_id": "*"}, {"id": "o/a"}], ["a"], []),
        ([{"id": "all-*", "upstream_id": "one"}], ["a"], [("a", "a")]),
    ],
)
def test_listed_models_are_added_once_and_named_by_the_narrowest_wildcard(
    configured: list[dict[str, Any]], listed: list[str], expected: list[tuple[str, str]]
) -> None:
    assert found(configured, *listed) == expected


def test_a_new_model_has_the_prices_of_its_wildcard_and_is_known_as_discovered() -> None:
    wildcard = ModelSettings.model_validate({"id": "gpt-*", "input_usd_per_mtok": 2.5, "output_usd_per_mtok": 10})
    [priced, bare] = new_models([wildcard], [DiscoveredModel(id="gpt-5"), DiscoveredModel(id="o3")])
    assert isinstance(priced, DiscoveredModel)
    assert priced.input_usd_per_mtok == wildcard.input_usd_per_mtok
    assert bare.input_usd_per_mtok is None
