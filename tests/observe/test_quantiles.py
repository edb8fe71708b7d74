"""Quantiles of what was measured lately: true within half a bucket, while the past fades."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.observe.quantiles import GROWTH, FadingCount, Quantiles

LOW, HIGH = 0.001, 300.0
NEAR = math.sqrt(GROWTH) * (1 + 1e-9)  # from the middle of a bucket to its edge
HALF_LIFE = 300.0

values = st.floats(LOW, HIGH)
shares = st.floats(0.0, 1.0)


def quantiles_of(some: list[float], half_life: float = math.inf) -> Quantiles:
    quantiles = Quantiles(LOW, HIGH, half_life)
    for value in some:
        quantiles.add(value, 0.0)
    return quantiles


def near(quantiles: Quantiles, share: float, value: float) -> bool:
    found = quantiles.quantile(share)
    return found is not None and value / NEAR <= found <= value * NEAR


def test_without_values_there_is_no_quantile_and_the_count_is_zero() -> None:
    quantiles = quantiles_of([])
    assert [quantiles.quantile(share) for share in (0.0, 0.5, 1.0)] == [None, None, None]
    assert quantiles.count(0.0) == quantiles.count(1e9) == 0.0


@given(st.lists(values, min_size=1, max_size=200), shares)
def test_a_quantile_is_the_sorted_value_of_that_rank_within_half_a_bucket(some: list[float], share: float) -> None:
    ranked = sorted(some)
    exact = ranked[max(math.ceil(share * len(some)) - 1, 0)]
    assert near(quantiles_of(some), share, exact)


@given(st.lists(values, min_size=1, max_size=50), shares, shares)
def test_a_larger_share_is_never_a_smaller_value(some: list[float], share: float, other: float) -> None:
    quantiles = quantiles_of(some)
    low, high = sorted((share, other))
    assert (quantiles.quantile(low) or 0.0) <= (quantiles.quantile(high) or 0.0)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_many_equal_values_are_told_as_themselves_at_every_share(share: float) -> None:
    assert near(quantiles_of([0.1] * 1000), share, 0.1)


def test_the_tail_is_the_slow_one_in_ten() -> None:
    quantiles = quantiles_of([0.1] * 9 + [5.0])
    assert near(quantiles, 0.5, 0.1)
    assert near(quantiles, 0.95, 5.0)


@pytest.mark.parametrize("value", [0.0, -1.0, -math.inf, LOW, LOW / 2, 5e-324])
def test_what_is_too_small_counts_as_the_lowest_bucket(value: float) -> None:
    quantiles = quantiles_of([value])
    assert near(quantiles, 0.5, LOW * math.sqrt(GROWTH))
    assert quantiles.count(0.0) == 1.0


@pytest.mark.parametrize("value", [HIGH, HIGH * 2, 1e308, math.inf])
def test_what_is_too_large_counts_as_the_highest_bucket(value: float) -> None:
    quantiles = quantiles_of([value])
    assert HIGH / GROWTH <= (quantiles.quantile(1.0) or 0.0) <= HIGH * GROWTH
    assert quantiles.quantile(1.0) == quantiles_of([HIGH]).quantile(1.0)


def test_a_count_fades_too() -> None:
    counter = FadingCount(HALF_LIFE)
    for _ in range(3):
        counter.count_one(0.0)
    assert counter.count(0.0) == 3.0
    assert counter.count(HALF_LIFE) == 1.5


@given(st.floats(0.0, 100.0), st.floats(0.0, 1e7))
def test_a_value_counts_half_after_each_half_life(half_lives: float, start: float) -> None:
    quantiles = Quantiles(LOW, HIGH, HALF_LIFE)
    quantiles.add(1.0, start)
    assert quantiles.count(start) == pytest.approx(1.0)
    assert quantiles.count(start + half_lives * HALF_LIFE) == pytest.approx(2.0**-half_lives)


@given(st.floats(0.0, 12_000.0), st.floats(41.0, 5000.0))
def test_after_a_long_silence_the_first_look_finds_nothing_that_counts(start: float, half_lives: float) -> None:
    quantiles = Quantiles(LOW, HIGH, HALF_LIFE)
    quantiles.add(1.0, start)
    assert quantiles.count(start + half_lives * HALF_LIFE) < 1e-12


def test_without_a_half_life_nothing_fades() -> None:
    assert quantiles_of([1.0, 2.0]).count(1e9) == 2.0


def test_a_new_time_outweighs_an_old_one() -> None:
    quantiles = quantiles_of([10.0] * 100, HALF_LIFE)
    for _ in range(10):
        quantiles.add(0.1, 5 * HALF_LIFE)
    assert near(quantiles, 0.5, 0.1)
    assert near(quantiles, 0.95, 10.0)


def test_quantiles_do_not_move_while_nothing_is_added() -> None:
    quantiles = quantiles_of([0.1, 0.2, 0.4, 5.0], HALF_LIFE)
    before = [quantiles.quantile(share) for share in (0.05, 0.5, 0.95)]
    for half_lives in (1, 39, 41, 200, 500):
        quantiles.count(half_lives * HALF_LIFE)
        assert [quantiles.quantile(share) for share in (0.05, 0.5, 0.95)] == before


def test_a_process_that_has_run_for_years_before_the_first_value_measures_as_a_fresh_one() -> None:
    quantiles = Quantiles(LOW, HIGH, HALF_LIFE)
    now = 3600.0 * 24 * 365 * 30
    for value in (0.1, 0.2, 0.4):
        quantiles.add(value, now)
    assert quantiles.count(now) == 3.0
    assert near(quantiles, 0.5, 0.2)


@pytest.mark.parametrize("step", [15.0, 41 * HALF_LIFE, 999 * HALF_LIFE, 5000 * HALF_LIFE])
def test_after_a_long_silence_the_old_values_are_told_as_they_were_or_not_at_all(step: float) -> None:
    quantiles = quantiles_of([0.1, 0.1, 0.2, 0.3], HALF_LIFE)
    for turn in range(1, 40):
        assert quantiles.count(turn * step) >= 0.0
        assert quantiles.quantile(0.95) is None or near(quantiles, 0.95, 0.3) or near(quantiles, 0.95, 0.1)


def test_months_of_looking_at_a_silent_upstream_leave_nothing_and_new_values_count_in_full() -> None:
    quantiles = quantiles_of([0.1 + at / 100 for at in range(20)], HALF_LIFE)
    for turn in range(1, 3000):
        quantiles.count(turn * HALF_LIFE * 2)
        assert (quantiles.quantile(0.95) or 0.0) < 1.0
    assert quantiles.quantile(0.5) is None
    quantiles.add(2.0, 6000 * HALF_LIFE)
    assert quantiles.count(6000 * HALF_LIFE) == 1.0
    assert near(quantiles, 0.5, 2.0)


@given(st.lists(st.tuples(values, st.floats(0.0, 30_000.0)), min_size=1, max_size=60), shares)
def test_with_fading_the_quantile_is_the_weighted_one_over_rescaling_too(
    some: list[tuple[float, float]], share: float
) -> None:
    quantiles = Quantiles(LOW, HIGH, HALF_LIFE)
    now, weighed = 0.0, []
    for value, gap in some:
        now += gap
        quantiles.add(value, now)
        weighed.append((value, now))
    ranked = sorted((value, 2.0 ** ((at - now) / HALF_LIFE)) for value, at in weighed)
    total = sum(weight for _, weight in ranked)
    assert quantiles.count(now) == pytest.approx(total)

    def at_share(wanted: float) -> float:
        seen = 0.0
        for value, weight in ranked:
            seen += weight
            if seen >= wanted * total:
                return value
        return ranked[-1][0]

    found = quantiles.quantile(share) or 0.0
    assert at_share(share - 1e-6) / NEAR <= found <= at_share(share + 1e-6) * NEAR


def test_ten_days_of_a_request_a_second_keep_the_count_at_its_steady_state() -> None:
    quantiles = Quantiles(LOW, HIGH, HALF_LIFE)
    for second in range(0, 864_000, 60):
        quantiles.add(0.2, float(second))
    steady = 1 / (1 - 2 ** (-60 / HALF_LIFE))
    assert quantiles.count(863_940.0) == pytest.approx(steady)
    assert near(quantiles, 0.95, 0.2)
