"""Hedges never exceed their share of the requests, from the first request on."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.throttle import MAX_SAVED, Throttle


def after(share: float, requests: int) -> Throttle:
    throttle = Throttle(share)
    for _ in range(requests):
        throttle.on_request()
    return throttle


def hedges(throttle: Throttle) -> int:
    """How many hedges the throttle allows one after the other."""
    while throttle.take():
        pass
    return throttle.hedges


def test_without_a_share_there_is_never_a_hedge() -> None:
    assert hedges(Throttle()) == hedges(after(0.0, 1000)) == 0


def test_nothing_is_saved_before_the_first_request() -> None:
    assert not Throttle(1.0).take()


def test_a_tenth_allows_the_first_hedge_with_the_tenth_request() -> None:
    assert hedges(after(0.1, 9)) == 0
    assert hedges(after(0.1, 10)) == 1


def test_a_share_of_one_allows_one_hedge_a_request() -> None:
    throttle = Throttle(1.0)
    for _ in range(100):
        throttle.on_request()
        assert (throttle.take(), throttle.take()) == (True, False)
    assert (throttle.requests, throttle.hedges) == (100, 100)


def test_a_quiet_time_saves_up_to_a_few_and_no_more() -> None:
    assert hedges(after(0.1, 109)) == MAX_SAVED
    assert hedges(after(0.1, 100_000)) == MAX_SAVED
    assert hedges(after(0.1, 99)) == MAX_SAVED - 1


def test_a_refusal_is_not_counted() -> None:
    throttle = after(0.1, 5)
    assert not throttle.take()
    assert (throttle.requests, throttle.hedges) == (5, 0)


def test_over_very_many_requests_the_whole_share_can_be_used() -> None:
    throttle = Throttle(0.1)
    for _ in range(100_000):
        throttle.on_request()
        throttle.take()
    assert throttle.hedges == 10_000


@given(st.floats(0.0, 1.0), st.lists(st.booleans(), max_size=300))
def test_hedges_never_exceed_the_share_at_any_time(share: float, script: list[bool]) -> None:
    throttle = Throttle(share)
    for asks in script:
        if asks:
            throttle.take()
        else:
            throttle.on_request()
        assert throttle.hedges <= share * throttle.requests + 1e-6


def test_another_share_counts_from_then_on_and_takes_away_nothing() -> None:
    throttle = after(0.5, 4)
    throttle.change(0.1)
    assert hedges(throttle) == 2
    for _ in range(10):
        throttle.on_request()
    assert hedges(throttle) == 3
    assert throttle.requests == 14


def test_after_a_change_to_a_share_of_zero_there_are_no_hedges() -> None:
    throttle = after(1.0, 5)
    throttle.change(0.0)
    assert hedges(throttle) == 0
