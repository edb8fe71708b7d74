"""The table of an attempt, walked: which inputs count in which phase, what follows, which timer runs."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.attempt_phases import TABLE, AttemptInput, AttemptPhase, AttemptTimer

# One way into each phase, as an attempt goes it.
WAYS = {
    AttemptPhase.DIALLING: [],
    AttemptPhase.SENT: [AttemptInput.CONNECTED],
    AttemptPhase.HEAD: [AttemptInput.CONNECTED, AttemptInput.HEAD],
    AttemptPhase.ERROR_BODY: [AttemptInput.CONNECTED, AttemptInput.ERROR_HEAD],
    AttemptPhase.FLOWING: [AttemptInput.CONNECTED, AttemptInput.HEAD, AttemptInput.CONTENT, AttemptInput.RELAYED],
    AttemptPhase.PAUSED: [AttemptInput.CONNECTED, AttemptInput.HEAD, AttemptInput.CONTENT, AttemptInput.PAUSE],
    AttemptPhase.LINGERING: [
        AttemptInput.CONNECTED,
        AttemptInput.HEAD,
        AttemptInput.CONTENT,
        AttemptInput.RELAYED,
        AttemptInput.COMPLETE,
    ],
    AttemptPhase.ENDED: [AttemptInput.CANCELLED],
}
ARMED = {
    AttemptPhase.DIALLING: {AttemptTimer.NONE},
    AttemptPhase.SENT: {AttemptTimer.ANSWER},
    AttemptPhase.HEAD: {AttemptTimer.ANSWER},
    AttemptPhase.ERROR_BODY: {AttemptTimer.ERROR_BODY},
    # Until the first content went on, the timer is the one that waited for it.
    AttemptPhase.FLOWING: {AttemptTimer.IDLE, AttemptTimer.ANSWER},
    AttemptPhase.PAUSED: {AttemptTimer.NONE},
    AttemptPhase.LINGERING: {AttemptTimer.LINGER},
    AttemptPhase.ENDED: {AttemptTimer.NONE},
}


def walk(inputs: list[AttemptInput]) -> Iterator[tuple[AttemptPhase, AttemptTimer]]:
    """The phase and the timer after each input, from the start of an attempt."""
    phase, timer = AttemptPhase.DIALLING, AttemptTimer.NONE
    yield phase, timer
    for happened in inputs:
        if (following := TABLE[phase].get(happened)) is not None:
            phase = following.phase
            timer = timer if following.timer is AttemptTimer.AS_IT_WAS else following.timer
        yield phase, timer


def ways() -> Iterator[tuple[AttemptPhase, AttemptInput]]:
    for phase in AttemptPhase:
        for happened in AttemptInput:
            yield phase, happened


def test_every_phase_and_every_input_stands_in_the_table() -> None:
    assert list(TABLE) == list(AttemptPhase)
    assert {happened for row in TABLE.values() for happened in row} == set(AttemptInput)
    assert {following.timer for row in TABLE.values() for following in row.values()} == set(AttemptTimer)


@pytest.mark.parametrize("phase", AttemptPhase)
def test_every_phase_is_reached(phase: AttemptPhase) -> None:
    *_, last = walk(WAYS[phase])
    assert last[0] is phase


@pytest.mark.parametrize(("phase", "happened"), list(ways()))
def test_an_input_does_what_its_row_says_and_nothing_where_it_has_none(
    phase: AttemptPhase, happened: AttemptInput
) -> None:
    *_, before, after = walk([*WAYS[phase], happened])
    following = TABLE[phase].get(happened)
    if following is None:
        assert after == before
    else:
        assert after[0] is following.phase
        assert following.timer in (AttemptTimer.AS_IT_WAS, after[1])


@given(st.lists(st.sampled_from(AttemptInput), max_size=30))
def test_an_attempt_ends_once_and_every_phase_has_its_timer(inputs: list[AttemptInput]) -> None:
    seen = list(walk(inputs))
    ended = [phase is AttemptPhase.ENDED for phase, _ in seen]
    assert ended == sorted(ended)
    for phase, timer in seen:
        assert timer in ARMED[phase]


@given(st.lists(st.sampled_from(AttemptInput), max_size=30))
def test_content_comes_at_most_once_and_only_behind_a_head(inputs: list[AttemptInput]) -> None:
    seen = [phase for phase, _ in walk(inputs)]
    steps = list(itertools.pairwise(seen))
    first = [step for step in steps if step[1] is AttemptPhase.FLOWING and step[0] is not AttemptPhase.PAUSED]
    assert first.count((AttemptPhase.HEAD, AttemptPhase.FLOWING)) <= 1
    assert {step[0] for step in first} <= {AttemptPhase.HEAD, AttemptPhase.FLOWING}


@pytest.mark.parametrize("phase", [phase for phase in AttemptPhase if phase is not AttemptPhase.ENDED])
def test_a_cancel_ends_every_phase(phase: AttemptPhase) -> None:
    assert TABLE[phase][AttemptInput.CANCELLED] == (AttemptPhase.ENDED, AttemptTimer.NONE)


def test_an_attempt_whose_completion_is_whole_can_no_longer_fail() -> None:
    assert AttemptInput.FAILED not in TABLE[AttemptPhase.LINGERING]
    assert TABLE[AttemptPhase.ENDED] == {}
