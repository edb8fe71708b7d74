"""Races as scripts: events at their times go in, and the commands of the race come out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.endings import Ending
from gateway.errors import (
    ClientError,
    RateLimited,
    RivergateError,
    UpstreamError,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamTimeout,
)
from gateway.routing.race import Cancel, CancelReason, Command, Commit, GiveUp, Race, RaceRules, Start
from gateway.routing.throttle import Throttle


@dataclass(frozen=True, slots=True)
class Go:
    pass


@dataclass(frozen=True, slots=True)
class Content:
    attempt: int


@dataclass(frozen=True, slots=True)
class Failed:
    attempt: int
    error: RivergateError


@dataclass(frozen=True, slots=True)
class Time:
    pass


@dataclass(frozen=True, slots=True)
class Stop:
    pass


Step = Go | Content | Failed | Time | Stop


@dataclass(frozen=True, slots=True)
class At:
    now: float
    event: Step


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A `GiveUp`, by the code of its error."""

    code: str


def tell(race: Race, now: float, event: Step) -> list[Command]:
    match event:
        case Go():
            return race.on_go(now)
        case Content(attempt):
            return race.on_content(attempt)
        case Failed(attempt, error):
            return race.on_failed(attempt, error, now)
        case Time():
            return race.on_time(now)
        case Stop():
            return race.on_stop()


def play(race: Race, *script: At) -> list[Command | GaveUp]:
    commands = [command for step in script for command in tell(race, step.now, step.event)]
    return [GaveUp(command.error.code) if isinstance(command, GiveUp) else command for command in commands]


def wakes(race: Race, *script: At) -> list[float | None]:
    """The times at which the race wants to be woken, after each step of the script."""
    times: list[float | None] = []
    for step in script:
        tell(race, step.now, step.event)
        times.append(race.wake_at)
    return times


def answered(candidates: int, *errors: RivergateError) -> RivergateError:
    """The error with which a race gives up when its attempts fail with these errors, in order."""
    race = Race(candidates)
    race.on_go(0.0)
    commands = [command for attempt, error in enumerate(errors) for command in race.on_failed(attempt, error, 1.0)]
    assert isinstance(commands[-1], GiveUp)
    return commands[-1].error


def unthrottled() -> Throttle:
    return Throttle(1.0)


def hedged(candidates: int, after: float = 0.5, order: tuple[int, ...] = (), **rules: float) -> Race:
    """A race in which every attempt may run alone for `after` seconds."""
    some = RaceRules(
        budget=rules.get("budget"),
        timeout=rules.get("timeout"),
        attempts=int(rules.get("attempts", 20)),
        hedge_after=(after,) * candidates,
        hedge_order=order,
    )
    return Race(candidates, some, unthrottled())


DOWN = UpstreamError("HTTP 500")
REFUSED = UpstreamRefused("messages: too long")
LIMITED = RateLimited("slow down")
LOST, TIMED_OUT, STOPPED = CancelReason.LOST, CancelReason.TIMED_OUT, CancelReason.STOPPED


# --- one after the other


def test_the_first_candidate_starts_and_its_content_wins() -> None:
    assert play(Race(2), At(0.0, Go()), At(0.3, Content(0))) == [Start(0, 0), Commit(0)]


def test_a_failure_starts_the_next_candidate_in_order() -> None:
    script = At(0.0, Go()), At(0.1, Failed(0, DOWN)), At(0.2, Failed(1, LIMITED)), At(0.3, Content(2))
    assert play(Race(3), *script) == [Start(0, 0), Start(1, 1), Start(2, 2), Commit(2)]


def test_the_clients_fault_is_told_at_once_and_nobody_else_is_asked() -> None:
    script = At(0.0, Go()), At(0.1, Failed(0, DOWN)), At(0.2, Failed(1, REFUSED))
    assert play(Race(3), *script) == [Start(0, 0), Start(1, 1), GaveUp("invalid_request")]
    assert answered(3, REFUSED) is REFUSED


def test_the_clients_fault_is_told_even_when_the_budget_is_over_by_then() -> None:
    race = Race(2, RaceRules(budget=1.0))
    assert play(race, At(0.0, Go()), At(9.0, Failed(0, REFUSED))) == [Start(0, 0), GaveUp("invalid_request")]


def test_when_no_candidate_is_left_the_race_gives_up() -> None:
    script = At(0.0, Go()), At(0.1, Failed(0, DOWN)), At(0.2, Failed(1, DOWN))
    assert play(Race(2), *script) == [Start(0, 0), Start(1, 1), GaveUp("upstream_error")]


def test_without_rules_there_is_nothing_to_wait_for() -> None:
    race = Race(2)
    assert race.wake_at is None
    assert wakes(race, At(0.0, Go()), At(5.0, Failed(0, DOWN)), At(9.0, Content(1))) == [None, None, None]


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_no_more_attempts_start_than_the_limit(attempts: int) -> None:
    failures = [At(1.0, Failed(number, DOWN)) for number in range(attempts)]
    commands = play(Race(5, RaceRules(attempts=attempts)), At(0.0, Go()), *failures)
    assert commands == [*(Start(number, number) for number in range(attempts)), GaveUp("upstream_error")]


# --- after the end


def test_content_wins_once() -> None:
    assert play(Race(2), At(0.0, Go()), At(0.1, Content(0)), At(0.2, Content(0))) == [Start(0, 0), Commit(0)]


def test_a_failure_after_the_commit_starts_nothing() -> None:
    assert play(Race(2), At(0.0, Go()), At(0.1, Content(0)), At(0.2, Failed(0, DOWN))) == [
        Start(0, 0),
        Commit(0),
    ]


def test_time_means_nothing_after_the_commit() -> None:
    race = Race(3, RaceRules(budget=1.0, deadline=1.0, timeout=0.5, hedge_after=(0.2,)), unthrottled())
    assert play(race, At(0.0, Go()), At(0.1, Content(0)), At(9.0, Time())) == [Start(0, 0), Commit(0)]
    assert race.wake_at is None


def test_content_after_the_end_of_the_budget_is_no_answer() -> None:
    race = Race(1, RaceRules(budget=1.0))
    commands = play(race, At(0.0, Go()), At(1.0, Time()), At(1.1, Content(0)), At(1.2, Failed(0, DOWN)))
    assert commands == [Start(0, 0), Cancel(0, TIMED_OUT), GaveUp("ttft_budget_exceeded")]


def test_content_of_an_attempt_that_gave_way_does_not_win_nor_end_the_race() -> None:
    race = Race(2, RaceRules(timeout=1.0))
    commands = play(race, At(0.0, Go()), At(1.0, Time()), At(1.1, Content(0)), At(1.2, Content(1)))
    assert commands == [Start(0, 0), Cancel(0, TIMED_OUT), Start(1, 1), Commit(1)]


def test_a_failure_of_an_attempt_that_gave_way_is_not_counted_again() -> None:
    race = Race(3, RaceRules(timeout=1.0))
    commands = play(race, At(0.0, Go()), At(1.0, Time()), At(1.1, Failed(0, REFUSED)), At(1.2, Failed(0, DOWN)))
    assert commands == [Start(0, 0), Cancel(0, TIMED_OUT), Start(1, 1)]


def test_a_stop_cancels_what_runs_and_ends_the_race() -> None:
    assert play(Race(2), At(0.0, Go()), At(0.1, Stop())) == [Start(0, 0), Cancel(0, STOPPED)]
    script = At(0.0, Go()), At(0.1, Stop()), At(0.2, Stop()), At(0.3, Content(0)), At(0.4, Failed(0, DOWN))
    race = Race(2, RaceRules(budget=1.0))
    assert play(race, *script, At(2.0, Time())) == [Start(0, 0), Cancel(0, STOPPED)]
    assert race.wake_at is None


def test_a_stop_after_a_fallback_cancels_only_what_still_runs() -> None:
    script = At(0.0, Go()), At(0.1, Failed(0, DOWN)), At(0.2, Stop())
    assert play(Race(3), *script) == [Start(0, 0), Start(1, 1), Cancel(1, STOPPED)]


def test_a_stop_cancels_the_hedge_too() -> None:
    commands = play(hedged(2), At(0.0, Go()), At(0.5, Time()), At(0.6, Stop()))
    assert commands == [
        Start(0, 0),
        Start(1, 1, hedge=True),
        Cancel(0, STOPPED),
        Cancel(1, STOPPED),
    ]


def test_a_stop_leaves_the_winner_to_whoever_took_it() -> None:
    assert play(Race(2), At(0.0, Go()), At(0.1, Content(0)), At(0.2, Stop())) == [Start(0, 0), Commit(0)]


# --- the budget, the deadline and the time of one attempt


def test_each_attempt_has_an_equal_share_of_the_budget_and_the_last_one_the_rest() -> None:
    race = Race(3, RaceRules(budget=3.0))
    assert play(race, At(10.0, Go()), At(11.0, Time()), At(12.0, Time()), At(13.0, Time())) == [
        Start(0, 0),
        Cancel(0, TIMED_OUT),
        Start(1, 1),
        Cancel(1, TIMED_OUT),
        Start(2, 2),
        Cancel(2, TIMED_OUT),
        GaveUp("ttft_budget_exceeded"),
    ]


def test_the_race_wakes_at_the_end_of_each_share() -> None:
    script = At(10.0, Go()), At(11.0, Time()), At(12.0, Time()), At(13.0, Time())
    assert wakes(Race(3, RaceRules(budget=3.0)), *script) == [11.0, 12.0, 13.0, None]


def test_what_an_early_failure_left_is_shared_by_the_others() -> None:
    script = At(0.0, Go()), At(0.2, Failed(0, DOWN)), At(1.6, Failed(1, DOWN))
    assert wakes(Race(3, RaceRules(budget=3.0)), *script) == [1.0, pytest.approx(1.6), 3.0]


def test_one_candidate_has_the_whole_budget() -> None:
    assert wakes(Race(1, RaceRules(budget=3.0)), At(0.0, Go())) == [3.0]


def test_the_budget_is_shared_by_as_many_as_may_be_tried() -> None:
    script = At(0.0, Go()), At(2.0, Time())
    assert wakes(Race(9, RaceRules(budget=4.0, attempts=2)), *script) == [2.0, 4.0]
    assert wakes(Race(9, RaceRules(budget=4.0, attempts=1)), At(0.0, Go())) == [4.0]


def test_time_before_the_share_is_over_changes_nothing() -> None:
    race = Race(2, RaceRules(budget=2.0))
    assert play(race, At(0.0, Go()), At(0.999, Time())) == [Start(0, 0)]
    assert race.wake_at == 1.0


def test_a_failure_after_the_budget_starts_nobody() -> None:
    race = Race(2, RaceRules(budget=1.0))
    assert play(race, At(0.0, Go()), At(1.0, Failed(0, DOWN))) == [Start(0, 0), GaveUp("ttft_budget_exceeded")]


def test_a_late_clock_gives_up_rather_than_start_an_attempt_without_time() -> None:
    race = Race(3, RaceRules(budget=3.0))
    commands = play(race, At(0.0, Go()), At(3.5, Time()))
    assert commands == [Start(0, 0), Cancel(0, TIMED_OUT), GaveUp("ttft_budget_exceeded")]


def test_the_error_of_a_spent_budget_says_how_much_it_was_and_when_to_come_again() -> None:
    race = Race(1, RaceRules(budget=0.25))
    race.on_go(0.0)
    *_, last = race.on_time(0.25)
    assert isinstance(last, GiveUp)
    assert (last.error.status, last.error.ending, last.error.retry_after) == (504, Ending.TTFT_BUDGET_EXCEEDED, 1)
    assert "250 ms" in last.error.message


def test_a_deadline_ends_the_race_and_is_not_shared() -> None:
    race = Race(2, RaceRules(deadline=2.0))
    assert wakes(race, At(1.0, Go()), At(1.5, Failed(0, DOWN))) == [3.0, 3.0]
    assert play(race, At(3.0, Time())) == [Cancel(1, TIMED_OUT), GaveUp("upstream_timeout")]


def test_a_failure_after_the_deadline_starts_nobody() -> None:
    race = Race(2, RaceRules(deadline=2.0))
    assert play(race, At(0.0, Go()), At(2.0, Failed(0, DOWN))) == [Start(0, 0), GaveUp("upstream_timeout")]


def test_each_attempt_has_its_own_timeout() -> None:
    script = At(0.0, Go()), At(0.4, Failed(0, DOWN)), At(1.4, Time()), At(2.4, Time())
    race = Race(3, RaceRules(timeout=1.0))
    assert play(race, *script) == [
        Start(0, 0),
        Start(1, 1),
        Cancel(1, TIMED_OUT),
        Start(2, 2),
        Cancel(2, TIMED_OUT),
        GaveUp("upstream_error"),
    ]
    assert wakes(Race(3, RaceRules(timeout=1.0)), *script) == [1.0, 1.4, 2.4, None]


def test_the_last_attempt_that_times_out_is_a_timeout_if_it_was_the_only_one() -> None:
    race = Race(1, RaceRules(timeout=1.0))
    assert play(race, At(0.0, Go()), At(1.0, Time())) == [
        Start(0, 0),
        Cancel(0, TIMED_OUT),
        GaveUp("upstream_timeout"),
    ]


def test_whatever_ends_first_wakes_the_race() -> None:
    for rules, first in [
        (RaceRules(budget=4.0, timeout=1.0), 1.0),
        (RaceRules(budget=4.0, timeout=3.0), 2.0),
        (RaceRules(budget=9.0, deadline=1.5), 1.5),
        (RaceRules(deadline=9.0, timeout=8.0), 8.0),
        (RaceRules(budget=4.0, hedge_after=(0.5, None)), 0.5),
        (RaceRules(budget=4.0, hedge_after=(None, 0.5)), 2.0),
    ]:
        assert wakes(Race(2, rules), At(0.0, Go())) == [first]


def test_a_race_that_begins_below_zero_times_out_at_zero() -> None:
    race = Race(2, RaceRules(timeout=1.0))
    assert play(race, At(-1.0, Go()), At(0.0, Time())) == [
        Start(0, 0),
        Cancel(0, TIMED_OUT),
        Start(1, 1),
    ]


# --- hedging


def test_a_hedge_starts_after_the_delay_and_its_content_cancels_the_first() -> None:
    script = At(0.0, Go()), At(0.499, Time()), At(0.5, Time()), At(0.7, Content(1))
    assert play(hedged(2), *script) == [
        Start(0, 0),
        Start(1, 1, hedge=True),
        Commit(1),
        Cancel(0, LOST),
    ]
    assert wakes(hedged(2), *script) == [0.5, 0.5, None, None]


def test_the_first_attempt_may_still_win_while_the_hedge_runs() -> None:
    script = At(0.0, Go()), At(0.5, Time()), At(0.7, Content(0)), At(0.8, Content(1))
    assert play(hedged(2), *script) == [
        Start(0, 0),
        Start(1, 1, hedge=True),
        Commit(0),
        Cancel(1, LOST),
    ]


def test_a_hedge_that_the_throttle_refuses_is_not_asked_for_again() -> None:
    race = Race(2, RaceRules(hedge_after=(0.5, 0.5)), Throttle(0.5))
    script = At(0.0, Go()), At(0.5, Time()), At(0.6, Failed(0, DOWN)), At(1.2, Time())
    assert play(race, *script) == [Start(0, 0), Start(1, 1)]
    assert wakes(Race(2, RaceRules(hedge_after=(0.5, 0.5)), Throttle(0.5)), *script) == [0.5, None, None, None]


def test_the_throttle_is_shared_and_allows_every_second_request_a_hedge_at_one_half() -> None:
    throttle = Throttle(0.5)
    hedges = [
        len(play(Race(2, RaceRules(hedge_after=(0.5,)), throttle), At(0.0, Go()), At(0.5, Time()))) for _ in "1234"
    ]
    assert hedges == [1, 2, 1, 2]


def test_a_hedge_goes_to_the_fastest_that_was_not_tried() -> None:
    race = hedged(4, order=(0, 3, 2, 1))
    script = At(0.0, Go()), At(0.5, Time()), At(0.6, Failed(0, DOWN)), At(0.7, Failed(1, DOWN))
    assert play(race, *script) == [Start(0, 0), Start(1, 3, hedge=True), Start(2, 1)]


def test_a_hedge_without_an_order_goes_to_the_next() -> None:
    assert play(hedged(3), At(0.0, Go()), At(0.5, Time()))[1] == Start(1, 1, hedge=True)


def test_a_hedge_goes_to_the_same_candidate_when_there_is_no_other() -> None:
    assert play(hedged(1, order=(0,)), At(0.0, Go()), At(0.5, Time())) == [
        Start(0, 0),
        Start(1, 0, hedge=True),
    ]


def test_a_hedge_does_not_go_to_a_candidate_that_failed() -> None:
    race = hedged(2, order=(0, 1))
    script = At(0.0, Go()), At(0.1, Failed(0, DOWN)), At(0.6, Time())
    assert play(race, *script) == [Start(0, 0), Start(1, 1), Start(2, 1, hedge=True)]


def test_the_delay_of_a_fallback_counts_from_its_own_start() -> None:
    race = Race(3, RaceRules(hedge_after=(0.5, 2.0, None)), unthrottled())
    assert wakes(race, At(0.0, Go()), At(0.4, Failed(0, DOWN)), At(0.6, Failed(1, DOWN))) == [0.5, 2.4, None]


def test_a_fallback_at_the_very_moment_of_a_hedge_is_not_hedged_at_once() -> None:
    race = hedged(3, after=1.0, timeout=1.0)
    script = At(0.0, Go()), At(1.0, Time())
    assert play(race, *script) == [Start(0, 0), Cancel(0, TIMED_OUT), Start(1, 1)]
    assert race.wake_at == 2.0


def test_when_the_first_fails_the_hedge_runs_on_alone() -> None:
    script = At(0.0, Go()), At(0.5, Time()), At(0.6, Failed(0, DOWN)), At(0.9, Content(1))
    assert play(hedged(3), *script) == [Start(0, 0), Start(1, 1, hedge=True), Commit(1)]


def test_when_the_hedge_fails_the_first_runs_on_and_nobody_takes_its_place() -> None:
    script = At(0.0, Go()), At(0.5, Time()), At(0.6, Failed(1, DOWN)), At(5.0, Time()), At(5.1, Content(0))
    assert play(hedged(3), *script) == [Start(0, 0), Start(1, 1, hedge=True), Commit(0)]


def test_when_both_fail_the_next_starts_and_there_is_no_second_hedge() -> None:
    script = At(0.0, Go()), At(0.5, Time()), At(0.6, Failed(1, DOWN)), At(0.7, Failed(0, DOWN)), At(9.0, Time())
    assert play(hedged(3), *script) == [Start(0, 0), Start(1, 1, hedge=True), Start(2, 2)]


def test_the_clients_fault_at_the_hedge_cancels_the_first() -> None:
    script = At(0.0, Go()), At(0.5, Time()), At(0.6, Failed(1, REFUSED))
    commands = [Start(0, 0), Start(1, 1, hedge=True), Cancel(0, STOPPED), GaveUp("invalid_request")]
    assert play(hedged(3), *script) == commands


def test_a_hedge_counts_as_an_attempt() -> None:
    script = At(0.0, Go()), At(0.5, Time()), At(0.6, Failed(0, DOWN)), At(0.7, Failed(1, DOWN))
    commands = [Start(0, 0), Start(1, 1, hedge=True), GaveUp("upstream_error")]
    assert play(hedged(5, attempts=2), *script) == commands


def test_without_an_attempt_left_nothing_is_hedged() -> None:
    race = hedged(5, attempts=1)
    assert play(race, At(0.0, Go()), At(0.5, Time())) == [Start(0, 0)]
    assert race.wake_at is None


def test_the_first_gives_way_to_nobody_once_the_last_candidate_runs_as_its_hedge() -> None:
    script = At(0.0, Go()), At(0.5, Time()), At(1.0, Time()), At(1.9, Content(0))
    assert play(hedged(2, budget=2.0), *script) == [
        Start(0, 0),
        Start(1, 1, hedge=True),
        Commit(0),
        Cancel(1, LOST),
    ]
    assert wakes(hedged(2, budget=2.0), *script) == [0.5, 2.0, 2.0, None]


def test_a_hedge_is_the_next_turn_begun_early_and_both_give_way_to_the_one_after() -> None:
    race = hedged(3, budget=3.0)
    assert play(race, At(0.0, Go()), At(0.5, Time()), At(1.75, Time()), At(3.0, Time())) == [
        Start(0, 0),
        Start(1, 1, hedge=True),
        Cancel(0, TIMED_OUT),
        Cancel(1, TIMED_OUT),
        Start(2, 2),
        Cancel(2, TIMED_OUT),
        GaveUp("ttft_budget_exceeded"),
    ]


def test_the_budget_ends_both_attempts() -> None:
    commands = play(hedged(2, budget=2.0), At(0.0, Go()), At(0.5, Time()), At(2.0, Time()))
    assert commands[2:] == [Cancel(0, TIMED_OUT), Cancel(1, TIMED_OUT), GaveUp("ttft_budget_exceeded")]


def test_a_timeout_of_the_first_leaves_the_hedge_its_own_time() -> None:
    script = At(0.0, Go()), At(0.5, Time()), At(1.0, Time()), At(1.5, Time())
    assert play(hedged(3, timeout=1.0), *script) == [
        Start(0, 0),
        Start(1, 1, hedge=True),
        Cancel(0, TIMED_OUT),
        Cancel(1, TIMED_OUT),
        Start(2, 2),
    ]
    assert wakes(hedged(3, timeout=1.0), *script) == [0.5, 1.0, 1.5, 2.5]


def test_a_hedge_that_comes_after_the_budget_never_starts() -> None:
    commands = play(hedged(2, after=3.0, budget=2.0, attempts=1), At(0.0, Go()), At(3.0, Time()))
    assert commands == [Start(0, 0), Cancel(0, TIMED_OUT), GaveUp("ttft_budget_exceeded")]


@pytest.mark.parametrize("covered", [True, False])
def test_a_hedge_that_is_not_paid_for_does_not_start_and_does_not_count(covered: bool) -> None:
    race = hedged(2)
    commands = race.on_go(0.0)
    requests = []
    for now in (0.4, 0.5, 0.9):
        requests.append(race.wants_hedge(now))
        commands += race.on_time(now, covered=covered)
    assert requests == [False, True, False]
    assert commands == [Start(0, 0), Start(1, 1, hedge=True)][: 1 + covered]
    assert race.throttle.hedges == covered


def test_no_money_is_put_aside_for_a_hedge_that_is_over_the_share() -> None:
    race = Race(2, RaceRules(hedge_after=(0.5,)), Throttle(0.1))
    assert race.on_go(0.0) == [Start(0, 0)]
    assert not race.wants_hedge(0.5)
    assert race.on_time(0.5) == []


# --- the verdict


def test_a_race_of_one_attempt_fails_with_the_error_of_that_attempt() -> None:
    for error in (DOWN, LIMITED, UpstreamStalled("silence")):
        assert answered(1, error) is error


def test_different_failures_are_a_502_with_every_reason_and_the_last_quote() -> None:
    error = answered(2, DOWN, RateLimited("slow down", quoted="in their words"))
    assert (type(error), error.status, error.ending) == (UpstreamError, 502, Ending.UPSTREAM_ERROR)
    assert error.message == "all 2 upstreams failed: HTTP 500; slow down: in their words"


def test_a_timeout_is_one_of_the_reasons() -> None:
    race = Race(2, RaceRules(timeout=1.0))
    race.on_go(0.0)
    race.on_time(1.0)
    (last,) = race.on_failed(1, DOWN, 1.5)
    assert isinstance(last, GiveUp)
    assert last.error.message == "all 2 upstreams failed: no token in the time that it was given; HTTP 500"


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_nothing_but_timeouts_are_a_504(attempts: int) -> None:
    race = Race(3, RaceRules(timeout=1.0, attempts=attempts), names=("a", "b", "c"))
    race.on_go(0.0)
    commands = [command for now in range(1, attempts + 1) for command in race.on_time(float(now))]
    assert isinstance(commands[-1], GiveUp)
    error = commands[-1].error
    assert (type(error), error.status, error.code) == (UpstreamTimeout, 504, "upstream_timeout")
    assert error.message.count("no token in the time that it was given") == attempts


def test_an_upstream_that_was_asked_twice_is_not_two() -> None:
    race = hedged(1)
    race.names = ("a",)
    play(race, At(0.0, Go()), At(0.5, Time()), At(0.6, Failed(0, DOWN)))
    (last,) = race.on_failed(1, UpstreamStalled("silence"), 0.7)
    assert isinstance(last, GiveUp)
    assert last.error.message == "all 2 attempts failed: a: HTTP 500; a: silence"


def test_two_models_of_one_upstream_are_not_two_upstreams() -> None:
    race = Race(2, names=("a", "a"))
    play(race, At(0.0, Go()), At(0.5, Failed(0, DOWN)))
    (last,) = race.on_failed(1, DOWN, 0.7)
    assert isinstance(last, GiveUp)
    assert last.error.message.startswith("all 2 attempts failed: ")


@pytest.mark.parametrize(("waits", "shortest"), [((3, 1, 2), 1), ((None, 4), 4), ((None, None), None), ((0, 5), 0)])
def test_limits_everywhere_are_a_429_with_the_shortest_wait(
    waits: tuple[int | None, ...], shortest: int | None
) -> None:
    error = answered(len(waits), *[RateLimited("slow down", retry_after=wait) for wait in waits])
    assert (error.status, error.code, error.retry_after) == (429, "rate_limit_exceeded", shortest)


# --- whatever happens


class Referee:
    """Follows a race and objects to what must never be commanded."""

    def __init__(self, race: Race, now: float) -> None:
        self.race = race
        self.began = self.now = now
        self.running: dict[int, int] = {}
        self.tried: list[int] = []
        self.hedges = 0
        self.gone: set[int] = set()  # won, failed or cancelled
        self.over = False

    def obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Start(attempt, candidate, hedge):
                    self.on_start(attempt, candidate, hedge)
                case Cancel(attempt, _):
                    del self.running[attempt]
                    assert attempt not in self.gone
                    self.gone.add(attempt)
                case Commit(attempt):
                    assert not self.over
                    assert attempt not in self.running
                    self.over = True
                case GiveUp():
                    assert not self.over
                    assert not self.running
                    self.over = True
        assert self.over != bool(self.running)
        assert len(self.running) <= 2

    def on_start(self, attempt: int, candidate: int, hedge: bool) -> None:
        rules = self.race.rules
        assert not self.over
        assert hedge == bool(self.running)
        assert attempt == len(self.tried) < rules.attempts
        for limit in (rules.budget, rules.deadline):
            assert limit is None or self.now < self.began + limit
        untried = set(range(self.race.candidates)) - set(self.tried)
        assert candidate in (untried or self.running.values())
        self.hedges += hedge
        assert self.hedges <= 1
        self.running[attempt] = candidate
        self.tried.append(candidate)


TIMES = st.sampled_from([None, None, 0.25, 0.5, 1.0, 1.75, 4.0, 0.001])
GAPS = st.sampled_from([0.0, 0.001, 0.1, 0.1, 0.3, 1.0])
FAULTS = st.sampled_from([DOWN, DOWN, DOWN, RateLimited("slow", retry_after=1), REFUSED, ClientError("bad")])
STEPS = st.sampled_from(["wake"] * 4 + ["failed"] * 4 + ["time", "gone", "gone", "content", "stop"])


@st.composite
def races(draw: st.DrawFn) -> Race:
    candidates = draw(st.sampled_from([3, 2, 5, 1]))
    rules = RaceRules(
        attempts=draw(st.sampled_from([20, 20, 3, 2, 1])),
        budget=draw(TIMES),
        deadline=draw(TIMES),
        timeout=draw(TIMES),
        hedge_after=tuple(draw(st.lists(TIMES, max_size=candidates))),
        hedge_order=tuple(draw(st.permutations(range(candidates)))),
    )
    return Race(candidates, rules, Throttle(draw(st.sampled_from([0.0, 0.5, 1.0]))))


def test_a_rest_of_the_budget_that_no_float_can_share_goes_to_the_next_attempt_alone() -> None:
    race = Race(5, RaceRules(budget=0.5))
    race.on_go(7.5)
    while (now := race.wake_at) is not None and now < 8.0:
        race.on_time(math.nextafter(8.0, 0.0))
        assert race.wake_at is None or race.wake_at > math.nextafter(8.0, 0.0)
    assert race.wake_at == 8.0
    assert isinstance(race.on_time(8.0)[-1], GiveUp)


@settings(max_examples=500)
@given(races(), st.sampled_from([0.0, 7.5, 1e6]), st.lists(STEPS, min_size=4, max_size=16), st.data())
def test_whatever_happens_there_is_one_answer_and_every_other_attempt_is_cancelled_once(
    race: Race, now: float, steps: list[str], data: st.DataObject
) -> None:
    referee = Referee(race, now)
    referee.obey(race.on_go(now))
    for step in steps:
        referee.now += data.draw(GAPS)
        match step:
            case "stop":
                referee.over = True
                referee.obey(race.on_stop())
            case "wake" | "time":
                if step == "wake" and race.wake_at is not None:
                    referee.now = max(referee.now, race.wake_at)
                wanted, covered = race.wants_hedge(referee.now), data.draw(st.booleans())
                commands = race.on_time(referee.now, covered=covered)
                assert any(isinstance(command, Start) and command.hedge for command in commands) == (
                    wanted and covered
                )
                referee.obey(commands)
                assert race.wake_at is None or race.wake_at > referee.now
            case "content" if referee.running:
                attempt = data.draw(st.sampled_from(sorted(referee.running)))
                del referee.running[attempt]
                referee.gone.add(attempt)
                commands = race.on_content(attempt)
                assert commands[0] == Commit(attempt)
                referee.obey(commands)
            case "failed" if referee.running:
                attempt = data.draw(st.sampled_from(sorted(referee.running)))
                del referee.running[attempt]
                referee.gone.add(attempt)
                referee.obey(race.on_failed(attempt, data.draw(FAULTS), referee.now))
            case "gone" if referee.gone:
                attempt = data.draw(st.sampled_from(sorted(referee.gone)))
                assert race.on_content(attempt) == race.on_failed(attempt, DOWN, referee.now) == []
        assert not referee.over or race.wake_at is None
        assert referee.over or race.rules.budget is None or race.wake_at is not None


def woken(race: Race) -> Iterator[float]:
    """The times at which a race wakes up to its end."""
    while (at := race.wake_at) is not None:
        yield at


@given(races())
def test_a_silent_race_tries_as_many_as_it_may_and_ends_in_a_few_wakes(race: Race) -> None:
    referee = Referee(race, 0.0)
    referee.obey(race.on_go(0.0))
    for wakings, at in enumerate(woken(race)):
        assert wakings < 2 * race.candidates + 3
        referee.now = at
        referee.obey(race.on_time(at))
    rules = race.rules
    assert referee.over or (rules.budget is None and rules.deadline is None)
    if rules.budget is not None and rules.deadline is None:
        assert len(referee.tried) >= min(race.candidates, rules.attempts)


@given(st.integers(1, 8), st.floats(0.01, 100.0), st.floats(0.0, 1e6))
def test_silent_candidates_have_equal_times_that_fill_the_budget(candidates: int, budget: float, now: float) -> None:
    race = Race(candidates, RaceRules(budget=budget))
    race.on_go(now)
    times = [now]
    for at in woken(race):
        times.append(at)
        race.on_time(at)
    turns = [end - start for start, end in pairwise(times)]
    assert turns == pytest.approx([budget / candidates] * candidates, rel=1e-6, abs=1e-6)
    assert times[-1] == now + budget
