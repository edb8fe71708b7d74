"""A flood of events writes a limited number of lines, and what is not written is counted."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.observe.line_limit import BURST, PER_SECOND, LineLimit


def test_a_burst_is_written_and_then_a_few_lines_a_second() -> None:
    limit = LineLimit()
    assert [limit.allow("404", 0.0) for _ in range(BURST + 1)] == [True] * BURST + [False]
    assert limit.allow("404", 1 / PER_SECOND)
    assert not limit.allow("404", 1 / PER_SECOND)
    assert limit.take_unwritten() == {"404": 2}
    assert limit.take_unwritten() == {}


def test_a_quiet_time_saves_no_more_than_a_burst() -> None:
    limit = LineLimit()
    limit.allow("404", 0.0)
    assert sum(limit.allow("404", 1e9) for _ in range(3 * BURST)) == BURST


def test_one_kind_does_not_hide_another() -> None:
    limit = LineLimit()
    for _ in range(100):
        limit.allow("404", 0.0)
    assert limit.allow("402", 0.0)


@given(st.lists(st.tuples(st.sampled_from(["400", "401"]), st.floats(0, 100)), max_size=300))
def test_every_event_is_written_or_counted(events: list[tuple[str, float]]) -> None:
    limit = LineLimit()
    written = sum(limit.allow(kind, at) for kind, at in events)  # the times may go backwards
    assert written + sum(limit.take_unwritten().values()) == len(events)
