"""The rate of published events: a second's worth at once, an even flow after it, and a debt that is waited for."""

from gateway.access.event_limits import MAX_OWNERS, EventLimits


def test_a_second_of_events_may_come_at_once_and_then_an_even_flow() -> None:
    limits = EventLimits()
    assert limits.wait("a", 10, 0.0) == 0.0
    limits.charge("a", 10, 10, 0.0)
    assert limits.wait("a", 10, 0.0) == 0.1
    assert limits.wait("a", 10, 0.1) == 0.0
    limits.charge("a", 1, 10, 0.1)
    assert limits.wait("a", 10, 5.0) == 0.0


def test_a_body_may_have_more_events_than_are_left_and_the_next_waits_for_them() -> None:
    limits = EventLimits()
    limits.charge("a", 35, 10, 0.0)
    assert limits.wait("a", 10, 0.0) == 2.6
    assert limits.wait("a", 10, 2.6) == 0.0


def test_each_owner_has_a_rate_of_its_own_and_the_longest_silent_ones_are_forgotten() -> None:
    limits = EventLimits()
    limits.charge("first", 10, 10, 0.0)
    for number in range(MAX_OWNERS - 1):
        limits.charge(f"o{number}", 10, 10, 0.0)
    assert limits.wait("first", 10, 0.0) > 0
    assert limits.wait("another", 10, 0.0) == 0.0
    limits.charge("another", 1, 10, 0.0)
    assert limits.wait("first", 10, 0.0) == 0.0
    assert limits.wait("o0", 10, 0.0) > 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    limits = EventLimits()
    limits.charge("a", 10, 10, 5.0)
    assert limits.wait("a", 10, 1.0) > 0
