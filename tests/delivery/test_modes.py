"""The table of modes: what may happen to a subscriber in which mode, and what never happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.modes import Cause, Mode, next_mode

NEVER = None
# Rows: the mode before. Columns: ready, alone, caught up, company, behind, blocked, ended.
TABLE = {
    Mode.DETACHED: (Mode.APART, NEVER, NEVER, NEVER, NEVER, NEVER, Mode.ENDED),
    Mode.APART: (Mode.APART, Mode.STRAIGHT, Mode.IN_STEP, NEVER, NEVER, Mode.BLOCKED, Mode.ENDED),
    Mode.STRAIGHT: (Mode.STRAIGHT, NEVER, NEVER, Mode.APART, Mode.APART, Mode.BLOCKED, Mode.ENDED),
    Mode.IN_STEP: (Mode.IN_STEP, Mode.APART, NEVER, NEVER, Mode.APART, Mode.BLOCKED, Mode.ENDED),
    Mode.BLOCKED: (Mode.APART, NEVER, NEVER, NEVER, NEVER, NEVER, Mode.ENDED),
    Mode.ENDED: (NEVER, NEVER, NEVER, NEVER, NEVER, NEVER, NEVER),
}
CELLS = [(mode, cause, TABLE[mode][column]) for mode in Mode for column, cause in enumerate(Cause)]


@pytest.mark.parametrize(("mode", "cause", "expected"), CELLS)
def test_each_cell_of_the_table(mode: Mode, cause: Cause, expected: Mode | None) -> None:
    if expected is NEVER:
        with pytest.raises(KeyError):
            next_mode(mode, cause)
    else:
        assert next_mode(mode, cause) is expected


@given(st.lists(st.sampled_from(Cause), max_size=30))
def test_whatever_happens_a_subscriber_goes_straight_or_in_step_only_from_apart_and_ends_once(
    causes: list[Cause],
) -> None:
    mode = Mode.DETACHED
    for cause in causes:
        try:
            after = next_mode(mode, cause)
        except KeyError:
            continue
        assert mode is not Mode.ENDED
        if after in (Mode.STRAIGHT, Mode.IN_STEP):
            assert mode in (Mode.APART, after)
        mode = after
