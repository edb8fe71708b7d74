"""The watch over the silence between two events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.idle_watch import CHECKS, LONGEST_WAIT, SHORTEST_WAIT, IdleWatch


def test_a_silence_that_reaches_the_limit_is_a_stall() -> None:
    watch = IdleWatch(0.8)
    assert watch.look(1, 10.0) == pytest.approx(0.1)
    assert watch.look(1, 10.75) == pytest.approx(0.05)
    assert watch.look(1, 10.8) == 0.0


def test_every_event_begins_the_silence_anew() -> None:
    watch = IdleWatch(0.8)
    watch.look(1, 10.0)
    assert watch.look(2, 10.7) > 0
    assert watch.look(2, 11.4) > 0
    assert watch.look(2, 11.5) == 0.0


def test_a_restart_begins_the_silence_with_the_next_look() -> None:
    watch = IdleWatch(0.8)
    watch.look(1, 10.0)
    watch.restart()
    assert watch.look(1, 20.0) > 0
    assert watch.look(1, 20.8) == 0.0


def test_a_long_limit_is_looked_at_every_second_and_a_short_one_no_oftener_than_a_timer_can() -> None:
    assert IdleWatch(600.0).look(1, 0.0) == LONGEST_WAIT
    assert IdleWatch(0.002).look(1, 0.0) == SHORTEST_WAIT


@given(st.floats(0.05, 30.0), st.lists(st.floats(0.0, 1.0), max_size=30))
def test_a_stall_is_noticed_at_most_an_eighth_of_the_limit_late_and_never_early(
    limit: float, arrivals: list[float]
) -> None:
    watch, now, count, last_seen = IdleWatch(limit), 0.0, 0, 0.0
    events = [place * limit for place in sorted(arrivals)]
    while True:
        before, count = count, sum(at <= now for at in events)
        if count != before:
            last_seen = now
        wait = watch.look(count, now)
        if wait == 0.0:
            break
        now += wait
    quiet = now - max([0.0, *events])
    assert now - last_seen >= limit * 0.999
    assert quiet >= limit * 0.999
    assert quiet <= limit * (1 + 1 / CHECKS) + SHORTEST_WAIT + 1e-6
