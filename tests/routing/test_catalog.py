"""The catalog: exact ids, aliases, and the models that wildcards find."""

from typing import Any

import pytest

from gateway.config import ModelSettings, UpstreamSettings
from gateway.errors import ModelNotFound, UpstreamError
from gateway.routing.catalog import MAX_MATCHED, Candidate, Catalog
from gateway.routing.health import Breaker, BreakerRules, Health
from gateway.routing.quota import Quota
from gateway.upstream.endpoint import Endpoint


def candidate(upstream: str, model_id: str, quota: Quota | None = None, **model: Any) -> Candidate:
    settings = UpstreamSettings(name=upstream, base_url="http://127.0.0.1:1/v1")
    return Candidate(
        Endpoint.build(settings, 60.0, {}), ModelSettings(id=model_id, **model), Health(), weight=2.0, quota=quota
    )


def served(catalog: Catalog, name: str) -> list[tuple[str, str, str]]:
    """The upstreams that are asked for a name: their names, the public id, and the model's name there."""
    return [(one.endpoint.name, one.model.id, one.model.upstream_id) for one in catalog.candidates(name)]


CATALOG = Catalog(
    [
        candidate("a", "gpt-4o", upstream_id="gpt-4o-2024", aliases=("smart", "fast")),
        candidate("b", "gpt-*"),
        candidate("c", "gpt-*", upstream_id="azure/*"),
        candidate("d", "gpt-4*", upstream_id="always-this"),
        candidate("e", "openai/*", upstream_id="*"),
        candidate("f", "four", aliases=("gpt-4o",)),
    ]
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt-4o", [("a", "gpt-4o", "gpt-4o-2024"), ("f", "four", "four")]),
        ("smart", [("a", "gpt-4o", "gpt-4o-2024")]),
        ("four", [("f", "four", "four")]),
        ("gpt-5", [("b", "gpt-5", "gpt-5"), ("c", "gpt-5", "azure/5")]),
        ("gpt-4.1", [("d", "gpt-4.1", "always-this")]),
        ("openai/o3", [("e", "openai/o3", "o3")]),
    ],
)
def test_an_exact_name_comes_before_every_wildcard_and_the_narrowest_wildcard_next(
    name: str, expected: list[tuple[str, str, str]]
) -> None:
    assert served(CATALOG, name) == expected
    assert name in CATALOG


@pytest.mark.parametrize("name", ["gpt-*", "gpt-", "llama", "gpt-4 o", "openai/*"])
def test_other_names_do_not_exist_and_the_known_ones_are_told(name: str) -> None:
    assert name not in CATALOG
    with pytest.raises(ModelNotFound, match="known models: gpt-4o, gpt-") as caught:
        CATALOG.candidates(name, "gateway.models")
    assert caught.value.param == "gateway.models"


def test_the_listing_has_every_id_as_configured_and_every_alias() -> None:
    assert [name for name, _ in CATALOG.listing()] == [
        *("gpt-4o", "gpt-*", "gpt-4*", "openai/*", "four", "smart", "fast")
    ]


def test_what_a_wildcard_finds_has_its_price_its_weight_its_quota_and_names_by_which_a_key_may_use_it() -> None:
    quota = Quota(max_concurrency=1)
    catalog = Catalog([candidate("a", "gpt-*", quota, input_usd_per_mtok=2.5)])
    [found] = catalog.candidates("gpt-5")
    assert (found.weight, found.quota, str(found.model.input_usd_per_mtok)) == (2.0, quota, "2.5")
    assert (found.wildcard, found.names) == ("gpt-*", ("gpt-5", "gpt-*"))
    found.health.on_start(0.0)
    assert catalog.candidates("gpt-6")[0].health.wait(0.0) == 1.0


def test_each_model_of_a_wildcard_has_a_health_of_its_own_as_long_as_it_is_asked_for() -> None:
    catalog = Catalog([candidate("a", "*")], BreakerRules(failures=1))
    [bad] = catalog.candidates("bad")
    bad.health.on_failed(bad.health.on_start(0.0), UpstreamError("no such model"), 0.0)
    for number in range(MAX_MATCHED - 1):
        assert catalog.candidates(f"m{number}")[0].health.breaker is Breaker.CLOSED
        assert catalog.candidates("bad")[0].health.breaker is Breaker.OPEN
    for number in range(MAX_MATCHED):
        assert catalog.candidates(f"n{number}")
    assert catalog.candidates("bad")[0].health.breaker is Breaker.CLOSED  # forgotten


def test_a_catalog_without_wildcards_keeps_nothing_of_unknown_names() -> None:
    catalog = Catalog([candidate("a", "m")])
    assert not catalog.is_named("x")
    assert "x" not in catalog
    assert catalog.is_named("m")
