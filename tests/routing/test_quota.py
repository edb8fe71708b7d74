"""The quota of one upstream: requests at once, and requests in the last minute."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.quota import MINUTE, Quota


def test_without_a_limit_nothing_waits() -> None:
    quota = Quota()
    for _ in range(100):
        quota.on_start(0.0)
    assert quota.wait(0.0) == 0.0


def test_a_place_is_free_again_when_an_attempt_ends() -> None:
    quota = Quota(max_concurrency=2)
    quota.on_start(0.0)
    assert quota.wait(0.0) == 0.0
    quota.on_start(0.0)
    assert quota.wait(0.0) == 1.0  # nobody knows when an answer ends
    quota.on_end()
    assert quota.wait(0.0) == 0.0


def test_the_wait_for_the_minute_is_exact() -> None:
    quota = Quota(rpm=2)
    quota.on_start(10.0)
    quota.on_start(25.0)
    assert quota.wait(30.0) == 40.0
    assert quota.wait(69.5) == 0.5
    assert quota.wait(70.0) <= 0.0
    quota.on_start(70.0)
    assert quota.wait(71.0) == 14.0  # until the start at 25 is a minute ago


def test_other_limits_count_what_was_before() -> None:
    quota = Quota(rpm=5)
    for at in (1.0, 2.0, 3.0):
        quota.on_start(at)
    quota.change(max_concurrency=3, rpm=2)
    assert quota.wait(3.0) == 59.0  # of the last two starts, the older one was at 2
    quota.change(max_concurrency=3, rpm=0)
    assert quota.wait(3.0) == 1.0
    quota.change(max_concurrency=0, rpm=0)
    assert quota.wait(3.0) == 0.0


@given(st.integers(1, 5), st.lists(st.floats(0.0, 30.0), max_size=40))
def test_no_minute_ever_sees_more_starts_than_the_limit(rpm: int, pauses: list[float]) -> None:
    quota, now, starts = Quota(rpm=rpm), 0.0, []
    for pause in pauses:
        now += pause
        if quota.wait(now) <= 0:
            quota.on_start(now)
            starts.append(now)
    for start in starts:
        assert sum(start <= other < start + MINUTE - 1e-9 for other in starts) <= rpm
