"""Races, told as scripts: what happens, and what the race wants done about it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import (
    ClientError,
    Ending,
    RateLimited,
    RivergateError,
    UpstreamError,
    UpstreamRefused,
    UpstreamStalled,
)
from gateway.routing.race import Cancel, Command, Commit, GiveUp, Race, Start


@dataclass(frozen=True, slots=True)
class Go:
    pass


@dataclass(frozen=True, slots=True)
class Content:
    candidate: int


@dataclass(frozen=True, slots=True)
class Failed:
    candidate: int
    error: RivergateError


@dataclass(frozen=True, slots=True)
class Stop:
    pass


Event = Go | Content | Failed | Stop


def tell(race: Race, event: Event) -> list[Command]:
    match event:
        case Go():
            return race.on_go()
        case Content(candidate):
            return race.on_content(candidate)
        case Failed(candidate, error):
            return race.on_failed(candidate, error)
        case Stop():
            return race.on_stop()


def play(candidates: int, *script: Event) -> list[Command]:
    race = Race(candidates)
    return [command for event in script for command in tell(race, event)]


def verdict(*errors: RivergateError) -> RivergateError:
    """What is said when the attempts fail with these errors, in order."""
    failures = [Failed(candidate, error) for candidate, error in enumerate(errors)]
    last = play(len(errors), Go(), *failures)[-1]
    assert isinstance(last, GiveUp)
    return last.error


DOWN = UpstreamError("HTTP 500")
REFUSED = UpstreamRefused("messages: too long")
LIMITED = RateLimited("slow down")


def test_the_first_candidate_starts_and_its_content_wins() -> None:
    assert play(2, Go(), Content(0)) == [Start(0), Commit(0)]


def test_a_failure_starts_the_next_candidate_in_order() -> None:
    assert play(3, Go(), Failed(0, DOWN), Failed(1, LIMITED), Content(2)) == [Start(0), Start(1), Start(2), Commit(2)]


def test_the_clients_fault_is_told_at_once_and_nobody_else_is_asked() -> None:
    assert play(3, Go(), Failed(0, REFUSED)) == [Start(0), GiveUp(REFUSED)]
    assert play(3, Go(), Failed(0, DOWN), Failed(1, REFUSED)) == [Start(0), Start(1), GiveUp(REFUSED)]


def test_content_wins_once() -> None:
    assert play(2, Go(), Content(0), Content(0)) == [Start(0), Commit(0)]


def test_a_failure_after_the_commit_starts_nothing() -> None:
    assert play(2, Go(), Content(0), Failed(0, DOWN)) == [Start(0), Commit(0)]


def test_a_stop_cancels_what_runs_and_ends_the_race() -> None:
    assert play(2, Go(), Stop()) == [Start(0), Cancel(0)]
    assert play(2, Go(), Stop(), Stop(), Content(0), Failed(0, DOWN)) == [Start(0), Cancel(0)]


def test_a_stop_after_a_fallback_cancels_only_what_still_runs() -> None:
    assert play(3, Go(), Failed(0, DOWN), Stop()) == [Start(0), Start(1), Cancel(1)]


def test_a_stop_leaves_the_winner_to_whoever_took_it() -> None:
    assert play(2, Go(), Content(0), Stop()) == [Start(0), Commit(0)]


def test_one_failed_candidate_is_told_with_its_own_error() -> None:
    for error in (DOWN, LIMITED, UpstreamStalled("silence")):
        assert verdict(error) is error


def test_different_failures_are_a_502_with_every_reason() -> None:
    error = verdict(DOWN, LIMITED)
    assert (type(error), error.status, error.ending) == (UpstreamError, 502, Ending.UPSTREAM_ERROR)
    assert error.message == "all 2 upstreams failed: HTTP 500; slow down"


@pytest.mark.parametrize(("waits", "told"), [((3, 1, 2), 1), ((None, 4), 4), ((None, None), None), ((0, 5), 0)])
def test_limits_everywhere_are_a_429_with_the_shortest_wait(waits: tuple[int | None, ...], told: int | None) -> None:
    error = verdict(*[RateLimited("slow down", retry_after=wait) for wait in waits])
    assert (error.status, error.code, error.retry_after) == (429, "rate_limit_exceeded", told)


FAULTS: list[Callable[[], RivergateError]] = [
    lambda: UpstreamError("down"),
    lambda: UpstreamError("down"),
    lambda: RateLimited("slow", retry_after=1),
    lambda: ClientError("bad"),
]


@given(st.integers(1, 5), st.data())
def test_whatever_happens_there_is_one_verdict_and_every_other_attempt_is_cancelled(
    candidates: int, data: st.DataObject
) -> None:
    race = Race(candidates)
    running: set[int] = set()
    started: list[int] = []
    verdicts: list[Command] = []

    def obey(commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Start(candidate):
                    assert not verdicts
                    started.append(candidate)
                    running.add(candidate)
                case Cancel(candidate):
                    running.remove(candidate)
                case Commit(candidate):
                    assert candidate in running
                    running.remove(candidate)
                    verdicts.append(command)
                case GiveUp():
                    verdicts.append(command)

    obey(race.on_go())
    stopped = False
    for _ in range(data.draw(st.integers(0, 12))):
        event = data.draw(st.sampled_from(["content", "failed", "failed", "failed", "stop"]))
        if event == "stop":
            stopped = True
            obey(race.on_stop())
        elif running:
            candidate = data.draw(st.sampled_from(sorted(running)))
            if event == "content":
                obey(race.on_content(candidate))
            else:
                running.remove(candidate)
                obey(race.on_failed(candidate, data.draw(st.sampled_from(FAULTS))()))
        assert len(verdicts) <= 1
        if verdicts or stopped:
            assert not running
        else:
            assert running
    assert started == list(range(len(started)))
    assert len(started) <= candidates
