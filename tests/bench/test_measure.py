"""Spreads of measurements, and the labels of a picture, which must not overlap."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measure import Spread, apart, percentile, spread_text


def test_a_spread_is_the_median_with_the_ends_and_leaves_out_what_is_no_number() -> None:
    assert Spread.of([3.0, math.nan, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert Spread.of([math.nan]) is None
    assert [spread_text(measured, 1) for measured in (Spread(2.0, 1.0, 3.0), Spread(2.0, 2.0, 2.0), None)] == [
        "2.0 (1.0..3.0)",
        "2.0",
        "-",
    ]


def test_the_percentile_is_the_nearest_rank() -> None:
    assert [percentile(range(1, 101), share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert math.isnan(percentile([], 0.5))


def test_labels_that_are_far_apart_stay() -> None:
    assert apart([0.0, 20.0, 50.0], 10.0) == [0.0, 20.0, 50.0]


def test_labels_at_one_place_are_spread_around_it() -> None:
    assert apart([5.0, 5.0, 5.0], 10.0) == [-5.0, 5.0, 15.0]


@given(st.lists(st.floats(0, 300), max_size=8).map(sorted))
def test_no_two_labels_overlap_and_none_is_moved_without_need(values: list[float]) -> None:
    moved = apart(values, 13.0)
    gaps = [right - left for left, right in itertools.pairwise(moved)]
    assert all(gap >= 13.0 - 1e-6 for gap in gaps)
    assert sum(moved) == pytest.approx(sum(values), abs=1e-3)
