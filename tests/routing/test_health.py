"""The health of an upstream: its breaker, its cooldown, and how fast it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import (
    ClientError,
    RateLimited,
    RivergateError,
    UpstreamError,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamTimeout,
)
from gateway.routing.health import COOLDOWN, HALF_LIFE, KNOWN, LONGEST_OPEN, TAIL_KNOWN, Breaker, BreakerRules, Health

DOWN = UpstreamError("HTTP 500")
RULES = BreakerRules(failures=3, seconds=10.0, max_cooldown=60.0)


def fail(health: Health, now: float, *errors: RivergateError) -> None:
    for error in errors:
        health.on_failed(health.on_start(now), error, now)


def succeed(health: Health, now: float, ttft: float = 0.2, tps: float | None = None) -> None:
    health.on_content(health.on_start(now), ttft, now)
    health.on_complete(tps, now)


def opened(rules: BreakerRules = RULES) -> Health:
    """An upstream whose breaker opened at 0."""
    health = Health(rules)
    fail(health, 0.0, *[DOWN] * rules.failures)
    assert health.breaker is Breaker.OPEN
    return health


def probed(now: float = 10.0) -> tuple[Health, int]:
    """An upstream with a probe under way, and the number of the probe."""
    health = opened()
    probe = health.on_start(now)
    assert health.breaker is Breaker.HALF_OPEN
    return health, probe


# --- the breaker


def test_a_new_upstream_may_be_tried_at_once() -> None:
    health = Health()
    assert (health.breaker, health.wait(0.0), health.in_flight) == (Breaker.CLOSED, 0.0, 0)


def test_the_configured_failures_in_a_row_open_the_breaker_and_one_fewer_do_not() -> None:
    health = Health(RULES)
    fail(health, 5.0, DOWN, DOWN)
    assert (health.breaker, health.wait(5.0)) == (Breaker.CLOSED, 0.0)
    fail(health, 5.0, DOWN)
    assert (health.breaker, health.wait(5.0)) == (Breaker.OPEN, 10.0)


def test_a_whole_answer_between_failures_breaks_the_row() -> None:
    health = Health(RULES)
    for now in range(10):
        fail(health, float(now), DOWN, DOWN)
        succeed(health, float(now))
    assert health.breaker is Breaker.CLOSED


def test_content_alone_does_not_break_the_row_for_an_upstream_that_always_breaks_off() -> None:
    health = Health(RULES)
    for now in (0.0, 1.0, 2.0):
        attempt = health.on_start(now)
        health.on_content(attempt, 0.2, now)
        health.on_failed(attempt, UpstreamStalled("silence"), now)
    assert health.breaker is Breaker.OPEN


def test_an_attempt_that_was_given_up_says_nothing_about_the_row() -> None:
    health = Health(RULES)
    for now in (0.0, 1.0, 2.0):
        assert health.breaker is Breaker.CLOSED
        health.on_given_up(health.on_start(now), 1.0, now)
        fail(health, now, DOWN)
    assert health.breaker is Breaker.OPEN


def test_no_number_of_given_up_attempts_opens_the_breaker() -> None:
    health = Health(RULES)
    for _ in range(100):
        health.on_given_up(health.on_start(0.0), 0.5, 0.5)
    assert (health.breaker, health.statistics(1.0).error_rate) == (Breaker.CLOSED, 0.0)


@pytest.mark.parametrize("error", [ClientError("bad"), UpstreamRefused("too long"), RateLimited("slow")])
def test_the_clients_fault_and_limits_never_open_the_breaker(error: RivergateError) -> None:
    health = Health(RULES)
    fail(health, 0.0, *[error] * 100)
    assert (health.breaker, health.statistics(0.0).error_rate) == (Breaker.CLOSED, 0.0)


@pytest.mark.parametrize("error", [DOWN, UpstreamStalled("silence"), UpstreamTimeout("slow")])
def test_every_failure_of_the_upstream_itself_counts(error: RivergateError) -> None:
    health = Health(RULES)
    fail(health, 0.0, *[error] * 3)
    assert health.breaker is Breaker.OPEN


def test_with_zero_failures_the_breaker_never_opens() -> None:
    health = Health(BreakerRules(failures=0))
    fail(health, 0.0, *[DOWN] * 1000)
    assert (health.breaker, health.wait(0.0)) == (Breaker.CLOSED, 0.0)


def test_one_failure_may_be_enough() -> None:
    assert opened(BreakerRules(failures=1, seconds=2.0)).wait(0.5) == 1.5


def test_an_open_breaker_counts_down_and_then_lets_one_probe_through() -> None:
    health = opened()
    assert [health.wait(now) for now in (0.0, 4.0, 10.0, 11.0)] == [10.0, 6.0, 0.0, 0.0]
    health.on_start(10.0)
    assert health.breaker is Breaker.HALF_OPEN
    assert health.wait(10.0) > 0
    assert health.wait(1000.0) > 0


def test_an_attempt_on_an_open_breaker_is_no_probe_before_its_time() -> None:
    health = opened()
    health.on_start(9.9)
    assert (health.breaker, health.wait(9.9)) == (Breaker.OPEN, pytest.approx(0.1))


def test_a_probe_with_content_closes_the_breaker() -> None:
    health, probe = probed()
    health.on_content(probe, 0.2, 10.2)
    assert (health.breaker, health.wait(10.2)) == (Breaker.CLOSED, 0.0)
    fail(health, 10.3, DOWN, DOWN)
    assert health.breaker is Breaker.CLOSED  # the count of failures in a row began anew


def test_each_failed_probe_doubles_the_wait_up_to_the_longest() -> None:
    health, now, waits = opened(), 0.0, []
    for _ in range(8):
        waits.append(health.wait(now))
        now += waits[-1]
        fail(health, now, DOWN)
    assert waits == [10.0, 20.0, 40.0, 80.0, 160.0, LONGEST_OPEN, LONGEST_OPEN, LONGEST_OPEN]


def test_after_a_good_probe_the_wait_is_short_again() -> None:
    health = opened()
    fail(health, 10.0, DOWN)
    succeed(health, 30.0)
    fail(health, 31.0, DOWN, DOWN, DOWN)
    assert health.wait(31.0) == 10.0


@pytest.mark.parametrize("error", [ClientError("bad"), UpstreamRefused("too long"), RateLimited("slow")])
def test_a_probe_that_is_refused_closes_the_breaker_for_it_answers(error: RivergateError) -> None:
    health, probe = probed()
    health.on_failed(probe, error, 10.5)
    assert health.breaker is Breaker.CLOSED


def test_a_probe_over_its_limit_leaves_the_cooldown() -> None:
    health, probe = probed()
    health.on_failed(probe, RateLimited("slow", retry_after=7), 10.5)
    assert (health.breaker, health.wait(10.5)) == (Breaker.CLOSED, 7.0)


def test_a_probe_that_was_given_up_makes_room_for_another() -> None:
    health, probe = probed()
    health.on_given_up(probe, None, 10.5)
    assert (health.breaker, health.wait(10.5)) == (Breaker.OPEN, 0.0)
    health.on_start(10.5)
    assert health.breaker is Breaker.HALF_OPEN


def test_a_given_up_probe_does_not_lengthen_the_wait() -> None:
    health, probe = probed()
    health.on_given_up(probe, 5.0, 15.0)
    fail(health, 15.0, DOWN)
    assert health.wait(15.0) == 20.0


def test_the_outcome_of_an_older_attempt_leaves_the_breaker_to_its_probe() -> None:
    for end in ("content", "refused", "limited", "failed", "given up"):
        health = Health(RULES)
        older = health.on_start(0.0)
        fail(health, 0.0, DOWN, DOWN, DOWN)
        probe = health.on_start(10.0)
        besides = health.on_start(10.0)  # its route was found before the breaker opened
        for attempt in (older, besides):
            if end == "content":
                health.on_content(attempt, 0.2, 11.0)
                health.on_complete(None, 11.0)
            elif end == "given up":
                health.on_given_up(attempt, 1.0, 11.0)
            else:
                error = {"refused": ClientError("bad"), "limited": RateLimited("slow"), "failed": DOWN}[end]
                health.on_failed(attempt, error, 11.0)
            assert health.breaker is Breaker.HALF_OPEN, end
        health.on_failed(probe, DOWN, 12.0)
        assert (health.breaker, health.wait(12.0)) == (Breaker.OPEN, 20.0), end


def test_content_of_an_older_attempt_does_not_close_an_open_breaker() -> None:
    health = Health(RULES)
    older = health.on_start(0.0)
    fail(health, 0.0, DOWN, DOWN, DOWN)
    health.on_content(older, 5.0, 5.0)
    assert (health.breaker, health.wait(5.0)) == (Breaker.OPEN, 5.0)


def test_a_probe_that_succeeded_is_not_the_probe_of_the_next_half_open_breaker() -> None:
    health, first = probed()
    health.on_content(first, 0.2, 10.2)
    fail(health, 11.0, DOWN, DOWN, DOWN)
    second = health.on_start(21.0)
    health.on_failed(first, UpstreamStalled("silence"), 21.5)
    assert health.breaker is Breaker.HALF_OPEN
    health.on_content(second, 0.2, 22.0)
    assert health.breaker is Breaker.CLOSED


def test_failures_of_attempts_that_were_under_way_do_not_lengthen_the_wait() -> None:
    health = Health(RULES)
    attempts = [health.on_start(0.0) for _ in range(10)]
    for now, attempt in enumerate(attempts):
        health.on_failed(attempt, DOWN, now / 10)
    assert health.wait(0.2) == 10.0


# --- the time it asked for


def test_a_limit_without_a_time_cools_for_a_moment() -> None:
    health = Health(RULES)
    fail(health, 5.0, RateLimited("slow"))
    assert [health.wait(now) for now in (5.0, 5.5, 6.0)] == [COOLDOWN, 0.5, 0.0]


@pytest.mark.parametrize(
    ("retry_after", "obeyed"), [(0, 0.0), (1, 1.0), (59, 59.0), (60, 60.0), (61, 60.0), (3600, 60.0)]
)
def test_a_retry_after_is_obeyed_up_to_its_cap(retry_after: int, obeyed: float) -> None:
    health = Health(RULES)
    fail(health, 5.0, RateLimited("slow", retry_after=retry_after))
    assert health.wait(5.0) == obeyed


def test_any_error_may_ask_for_time() -> None:
    health = Health(RULES)
    fail(health, 5.0, UpstreamError("HTTP 503", retry_after=30))
    assert (health.breaker, health.wait(5.0)) == (Breaker.CLOSED, 30.0)


def test_a_shorter_wait_does_not_undo_a_longer_one() -> None:
    health = Health(RULES)
    fail(health, 0.0, RateLimited("slow", retry_after=30), RateLimited("slow", retry_after=1), RateLimited("slow"))
    assert health.wait(0.0) == 30.0


def test_content_does_not_undo_the_time_that_was_asked_for() -> None:
    health = Health(RULES)
    fail(health, 0.0, RateLimited("slow", retry_after=30))
    succeed(health, 1.0)
    assert health.wait(1.0) == 29.0


def test_the_longer_of_breaker_and_cooldown_counts() -> None:
    health = opened()
    fail(health, 0.0, UpstreamError("HTTP 503", retry_after=3))
    assert health.wait(0.0) == 10.0
    fail(health, 0.0, UpstreamError("HTTP 503", retry_after=30))
    assert health.wait(0.0) == 30.0


def test_a_cap_of_zero_ignores_every_retry_after() -> None:
    health = Health(BreakerRules(max_cooldown=0.0))
    fail(health, 0.0, RateLimited("slow", retry_after=30), RateLimited("slow"))
    assert health.wait(0.0) == 0.0


# --- how fast


def near(value: float | None, wanted: float) -> bool:
    return value is not None and abs(value / wanted - 1) < 0.05


def test_nothing_is_known_of_a_new_upstream() -> None:
    health = Health()
    known = health.statistics(0.0)
    assert (known.ttft_p50, known.ttft_p95, known.tps_p50, known.tps_p95) == (None, None, None, None)
    assert (known.samples, known.error_rate, known.wait) == (0.0, 0.0, 0.0)
    assert health.is_cold(0.0)
    assert health.tail(0.0) is None


def test_an_upstream_is_cold_with_too_few_values_and_again_when_they_have_faded() -> None:
    health = Health()
    for count in range(1, int(KNOWN) + 1):
        succeed(health, 0.0)
        assert health.is_cold(0.0) == (count < KNOWN)
    for half_lives in (1, 39, 41, 5000):
        assert health.is_cold(half_lives * HALF_LIFE)


def test_the_tail_is_known_once_there_are_enough_values() -> None:
    health = Health()
    for count in range(1, int(TAIL_KNOWN) + 1):
        succeed(health, 0.0, ttft=0.4)
        assert (health.tail(0.0) is not None) == (count >= TAIL_KNOWN)
    assert near(health.tail(0.0), 0.4)
    assert health.tail(HALF_LIFE) is None


@pytest.mark.parametrize(
    ("values", "slow", "tail"), [(100, 6, 0.1), (100, 12, 1.0), (10_000, 520, 0.1), (10_000, 600, 1.0)]
)
def test_the_tail_is_the_lowest_p95_that_the_values_allow(values: int, slow: int, tail: float) -> None:
    health = Health()
    for number in range(values):
        succeed(health, 0.0, ttft=1.0 if number < slow else 0.1)
    assert near(health.tail(0.0), tail)


def test_statistics_tell_the_middle_and_the_tails() -> None:
    health = Health()
    for tenth in range(1, 101):
        succeed(health, 0.0, ttft=tenth / 10, tps=float(tenth))
    known = health.statistics(0.0)
    assert near(known.ttft_p50, 5.0)
    assert near(known.ttft_p95, 9.5)
    assert near(known.tps_p50, 50.0)
    assert (known.tps_p95 or 0.0) == pytest.approx(5.0, rel=0.05)  # the throughput that 95 % of the answers reach
    assert known.samples == pytest.approx(100.0)


def test_a_whole_answer_has_no_ttft() -> None:
    health = opened()
    health.on_content(health.on_start(10.0), None, 40.0)
    health.on_complete(None, 40.0)
    assert (health.statistics(40.0).samples, health.breaker, health.in_flight) == (0.0, Breaker.CLOSED, 0)


def test_an_answer_whose_speed_cannot_be_told_leaves_the_throughput_unknown() -> None:
    health = Health()
    succeed(health, 0.0, tps=None)
    assert health.statistics(0.0).tps_p50 is None


def test_waiting_in_vain_longer_than_usual_makes_the_ttft_at_least_that() -> None:
    health = Health()
    for _ in range(3):
        succeed(health, 0.0, ttft=0.2)
    for _ in range(7):
        health.on_given_up(health.on_start(0.0), 2.0, 2.0)
    known = health.statistics(2.0)
    assert near(known.ttft_p50, 2.0)
    assert known.samples == pytest.approx(10.0, rel=0.01)


def test_waiting_in_vain_for_less_than_usual_says_nothing() -> None:
    health = Health()
    for _ in range(3):
        succeed(health, 0.0, ttft=2.0)
    before = health.statistics(0.0)
    for waited in (0.01, 0.2, 1.5):
        health.on_given_up(health.on_start(0.0), waited, 0.0)
    assert health.statistics(0.0) == before


def test_the_first_thing_known_may_be_a_wait_in_vain() -> None:
    health = Health()
    health.on_given_up(health.on_start(0.0), 1.0, 1.0)
    assert near(health.statistics(1.0).ttft_p50, 1.0)


def test_an_attempt_that_nobody_wanted_any_more_is_no_sample() -> None:
    health = Health()
    health.on_given_up(health.on_start(0.0), None, 50.0)
    assert health.statistics(50.0) == Health().statistics(50.0)


def test_the_error_rate_is_the_share_of_failures_and_fades_with_the_past() -> None:
    health = Health(BreakerRules(failures=0))
    fail(health, 0.0, DOWN, DOWN, DOWN)
    succeed(health, 0.0)
    assert health.statistics(0.0).error_rate == pytest.approx(0.75)
    for _ in range(3):
        succeed(health, 2 * HALF_LIFE)
    assert health.statistics(2 * HALF_LIFE).error_rate == pytest.approx(0.75 / 4)
    assert health.statistics(1000 * HALF_LIFE).error_rate == 0.0


# --- whatever happens

LIMITS = (RateLimited("slow"), RateLimited("slow", retry_after=999))
ERRORS = st.sampled_from([DOWN, UpstreamError("HTTP 503", retry_after=2), ClientError("bad"), *LIMITS])


@given(st.integers(0, 4), st.sampled_from([0.0, 1e6]), st.data())
def test_over_any_history_the_attempts_in_flight_and_the_waits_are_true(
    failures: int, now: float, data: st.DataObject
) -> None:
    health = Health(BreakerRules(failures, seconds=5.0, max_cooldown=20.0))
    running: list[tuple[int, bool]] = []  # each attempt in flight: its number, and whether its content has come
    probe = 0
    for _ in range(data.draw(st.integers(0, 40))):
        now += data.draw(st.sampled_from([0.0, 0.1, 1.0, 6.0, 400.0]))
        free = health.wait(now) == 0.0
        happens = data.draw(st.sampled_from(["start", "start", "content", "complete", "fail", "fail", "give up"]))
        at = data.draw(st.integers(0, len(running) - 1)) if running else None
        if happens == "start":
            before = health.breaker
            number = health.on_start(now)
            running.append((number, False))
            if health.breaker is not before:  # a cooldown does not keep an open breaker from its probe
                assert (before, health.breaker) == (Breaker.OPEN, Breaker.HALF_OPEN)
                probe = number
            assert health.breaker is not Breaker.OPEN or not free
            assert health.breaker is not Breaker.HALF_OPEN or health.wait(now) > 0
        elif at is None:
            continue
        else:
            number, has_content = running[at]
            before = health.breaker
            if happens == "content" and not has_content:
                running[at] = (number, True)
                health.on_content(number, 0.3, now)
                assert health.breaker is Breaker.CLOSED or number != probe
            elif happens == "complete" and has_content:
                del running[at]
                health.on_complete(10.0, now)
            elif happens == "fail":
                del running[at]
                health.on_failed(number, data.draw(ERRORS), now)
            elif happens == "give up" and not has_content:
                del running[at]
                health.on_given_up(number, data.draw(st.sampled_from([None, 0.1, 30.0])), now)
            # An attempt that is not the probe can open a closed breaker, and can change nothing else.
            assert number == probe or before in (health.breaker, Breaker.CLOSED)
        known = health.statistics(now)
        assert known.in_flight == health.in_flight == len(running)
        assert 0.0 <= known.error_rate <= 1.0
        assert 0.0 <= known.wait <= LONGEST_OPEN + 0.001
        assert failures or known.breaker is Breaker.CLOSED
        assert known.breaker is not Breaker.CLOSED or known.wait <= 20.001
