"""The filters leave out the offers that a request may not be sent to, and say how unknown values count."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.errors import InvalidParameter
from gateway.routing.filters import check_provider_names
from gateway.routing.options import parse

from .offers import CHEAP, COLD, OFFERS, QUICK, names, ranked, refused


def test_the_percentile_chooses_the_metric_that_is_filtered() -> None:
    assert names(OFFERS, max_ttft_ms=500) == ["quick"]
    assert set(names(OFFERS, max_ttft_ms=2000, ttft_percentile="p95")) == {"cheap", "wordy"}
    assert set(names(OFFERS, min_throughput_tps=25)) == {"quick", "wordy"}
    assert names(OFFERS, min_throughput_tps=25, throughput_percentile="p95") == ["wordy"]


def test_a_filter_keeps_what_is_exactly_at_its_limit() -> None:
    assert names([CHEAP], max_cost_per_1m=1.0, max_ttft_ms=1000, min_throughput_tps=20.0) == ["cheap"]


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({"providers": ["other"]}, "provider_not_in_allowlist", "providers"),
        ({"exclude_providers": ["cheap", "quick", "wordy"]}, "provider_blocked", "exclude_providers"),
        ({"max_cost_per_1m": 0.99}, "cost_constraint_exceeded", "max_cost_per_1m"),
        ({"max_ttft_ms": 199}, "latency_constraint_exceeded", "max_ttft_ms"),
        ({"min_throughput_tps": 200.1}, "throughput_constraint_not_met", "min_throughput_tps"),
        ({"providers": ["cheap"], "exclude_providers": ["cheap"]}, "provider_blocked", "exclude_providers"),
        ({"providers": ["cheap"], "max_ttft_ms": 500}, "latency_constraint_exceeded", "max_ttft_ms"),
    ],
)
def test_a_filter_that_leaves_no_offer_is_refused_with_its_code_and_field(
    given: dict[str, Any], code: str, field: str
) -> None:
    error = refused(OFFERS, **given)
    assert (error.code, error.param) == (code, f"gateway.routing.{field}")
    assert error.message.startswith(f"{field}: ")


def test_a_filter_drops_the_offers_it_excludes_and_no_others() -> None:
    assert set(names(OFFERS, providers=["cheap", "wordy", "other"])) == {"cheap", "wordy"}
    assert set(names(OFFERS, exclude_providers=["cheap", "other"])) == {"quick", "wordy"}
    assert set(names(OFFERS, max_cost_per_1m=4)) == {"cheap", "quick"}


def test_without_offers_there_is_nothing_to_rank_and_no_filter_objects() -> None:
    assert ranked((), max_ttft_ms=1, providers=["x"]).order == ()


def test_an_unknown_speed_passes_the_filters() -> None:
    assert set(names((COLD, QUICK), max_ttft_ms=500, min_throughput_tps=25)) == {"cold", "quick"}


def test_an_unknown_price_does_not_pass_a_filter_for_the_price() -> None:
    unpriced = replace(QUICK, upstream="unpriced", usd_per_mtok=None)
    assert names((unpriced, CHEAP), max_cost_per_1m=100) == ["cheap"]
    assert refused((unpriced,), max_cost_per_1m=100).code == "cost_constraint_exceeded"


@pytest.mark.parametrize("field", ["providers", "exclude_providers"])
def test_a_provider_that_is_not_configured_is_an_invalid_parameter(field: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        check_provider_names(parse({field: ["alpha", "alhpa"]}), ["alpha", "beta"])
    assert raised.value.param == f"gateway.routing.{field}"
    assert raised.value.message == "there is no provider 'alhpa'; known providers: alpha, beta"
    check_provider_names(parse({field: ["alpha", "beta"]}), ["alpha", "beta"])
