"""Spreads, samples and ratios within a round."""

import math

import pytest

from bench.kit.figures import Results, Sample, percentile, spread


def test_a_spread_is_the_median_with_the_ends_and_leaves_out_what_is_no_number() -> None:
    assert spread([3.0, math.nan, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}
    assert spread([math.nan]) is None


def test_the_percentile_is_the_nearest_rank() -> None:
    assert [percentile(range(1, 101), share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert math.isnan(percentile([], 0.5))


def test_what_happened_between_two_samples_has_a_cost_for_each_event_and_shares_of_a_core() -> None:
    spent = Sample(12.0, 150, 3.5, 1.0) - Sample(10.0, 50, 3.0, 0.0)
    assert spent == Sample(2.0, 100, 0.5, 1.0)
    assert spent.each_us == pytest.approx(5000.0)
    assert (spent + spent).cores("burst_") == {"burst_peer_core": 0.25, "burst_load_core": 0.5}


def test_a_ratio_is_taken_within_each_round_and_a_peer_that_failed_has_none() -> None:
    results = Results()
    for mine, theirs in ((1.0, 2.0), (30.0, 20.0), (3.0, 3.0)):
        results.add("gateway", {"cpu_us": mine})
        results.add("nginx", {"cpu_us": theirs})
    assert results.ratio("gateway", "nginx", "cpu_us") == {"median": 1.0, "low": 0.5, "high": 1.5}
    assert results.beyond("gateway", "nginx", "cpu_us") == {"median": 0.0, "low": -1.0, "high": 10.0}
    assert results.ratio("gateway", "litellm", "cpu_us") is None
