"""Requests a minute: a bucket that fills evenly, and what it tells its client."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.limits import Allowance, RequestLimit

START = 1_000_000.0
RATES = st.integers(1, 100_000)
GAPS = st.lists(st.floats(0, 90), max_size=60)


def test_a_minutes_worth_may_come_at_once_and_then_no_more() -> None:
    limit = RequestLimit(3, START)
    assert [limit.allow(START) for _ in range(4)] == [0.0, 0.0, 0.0, 20.0]


def test_the_wait_that_is_told_is_the_true_wait() -> None:
    limit = RequestLimit(2, START)
    limit.allow(START)
    limit.allow(START)
    assert limit.allow(START + 10) == pytest.approx(20)
    assert limit.allow(START + 29.9) > 0
    assert limit.allow(START + 30) == 0.0
    assert limit.allow(START + 30) == pytest.approx(30)


def test_a_refusal_is_not_counted() -> None:
    limit = RequestLimit(1, START)
    limit.allow(START)
    assert all(limit.allow(START + 1) == pytest.approx(59) for _ in range(1000))
    assert limit.allow(START + 60) == 0.0


def test_time_that_was_not_used_is_not_saved_beyond_a_minute() -> None:
    limit = RequestLimit(2, START)
    assert [limit.allow(START + 86_400) for _ in range(3)] == [0.0, 0.0, 30.0]


def test_a_clock_that_goes_back_gives_nothing() -> None:
    limit = RequestLimit(1, START)
    limit.allow(START)
    assert limit.allow(START - 1000) == pytest.approx(60)


def about(seconds: float) -> Any:
    return pytest.approx(seconds)


def test_the_allowance_says_what_is_left_and_when_it_is_all_there_again() -> None:
    limit = RequestLimit(4, START)
    assert limit.allowance(START) == Allowance(4, 4, 0.0)
    limit.allow(START)
    limit.allow(START)
    assert limit.allowance(START) == Allowance(4, 2, 30.0)
    assert limit.allowance(START + 15) == Allowance(4, 3, about(15))
    assert limit.allowance(START + 20) == Allowance(4, 3, about(10))


@given(RATES, GAPS)
def test_in_any_time_no_more_pass_than_a_minutes_worth_and_what_has_come_since(rate: int, gaps: list[float]) -> None:
    limit, now, passed = RequestLimit(rate, START), START, 0
    for gap in gaps:
        now += gap
        passed += limit.allow(now) == 0.0
        assert passed <= rate + (now - START) * rate / 60 + 1e-3


@given(RATES, GAPS)
def test_the_allowance_never_promises_what_is_refused_nor_hides_what_passes(rate: int, gaps: list[float]) -> None:
    limit, now = RequestLimit(rate, START), START
    for gap in gaps:
        now += gap
        remaining = limit.allowance(now).remaining
        assert 0 <= remaining <= rate
        wait = limit.allow(now)
        assert (wait == 0.0) == (remaining >= 1)
        assert wait <= 60
        assert limit.allowance(now).remaining == max(remaining - 1, 0)


@given(RATES, GAPS)
def test_a_client_that_waits_as_told_is_let_through(rate: int, gaps: list[float]) -> None:
    limit, now = RequestLimit(rate, START), START
    for gap in gaps:
        now += gap
        if wait := limit.allow(now):
            now += wait + 1e-6  # more than the rounding of floats at these times
            assert limit.allow(now) == 0.0


def test_a_look_at_the_rate_counts_nothing() -> None:
    limit = RequestLimit(1, START)
    assert [limit.wait(START) for _ in range(3)] == [0.0, 0.0, 0.0]
    limit.allow(START)
    assert limit.wait(START) == pytest.approx(60)


def test_a_charge_counts_in_any_case_up_to_a_debt_of_a_minute() -> None:
    limit = RequestLimit(2, START)
    for _ in range(3):
        limit.charge(START)
    assert limit.allow(START) == pytest.approx(60)
    allowance = limit.allowance(START)
    assert (allowance.limit, allowance.remaining, allowance.reset) == (2, 0, pytest.approx(90))
    for _ in range(1000):
        limit.charge(START)
    assert limit.wait(START) == pytest.approx(90)
    assert limit.allow(START + 90) == 0.0
