"""The order of merged events: it knows where each channel was before any event, at one byte an event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.merge.event_order import END, GAP, EventOrder


def test_it_says_which_channel_an_event_came_from_and_what_is_no_event_of_its_own() -> None:
    order = EventOrder([0, 5], [False, False], 100)
    order.add(1, 2)
    order.add_gap(0, 7)
    order.add_end(1)
    assert [order.entry_at(seq) for seq in range(4)] == [1, 1, 0 | GAP, 1 | END]
    assert order.missed_at(2) == 7
    assert (order.positions, order.next_seq, order.open_channels()) == ([7, 8], 4, [0])


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["event", "gap", "end"]), st.integers(1, 5))))
def test_it_knows_the_positions_before_each_event_that_it_remembers(moves: list[tuple[int, str, int]]) -> None:
    order = EventOrder([10, 20, 30, 40], [False] * 4, 16)
    before = [list(order.positions)]
    for channel, kind, count in moves:
        if order.ended[channel]:
            continue
        if kind == "gap":
            order.add_gap(channel, count)
        elif kind == "end":
            order.add_end(channel)
        else:
            for _ in range(count):
                order.add(channel)
                before.append(list(order.positions))
            continue
        before.append(list(order.positions))
    assert order.next_seq == len(before) - 1
    assert order.next_seq - order.first_seq <= 16
    for seq in range(order.first_seq, order.next_seq + 1):
        assert order.positions_at(seq) == before[seq]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 30)), max_size=30), st.integers(0, 500))
def test_a_mark_stands_where_no_channel_had_come_further_and_a_run_is_of_one_channel(
    moves: list[tuple[int, int]], seq: int
) -> None:
    order = EventOrder([0, 0, 0], [False] * 3, 256)
    for channel, count in moves:
        order.add(channel, count)
    seq = min(max(seq, order.first_seq), order.next_seq)
    reached = order.positions_at(seq)
    mark = order.last_mark_before(reached, order.next_seq)
    if mark is not None:
        assert mark.seq <= seq
        assert list(mark.positions) == order.positions_at(mark.seq)
    if order.next_seq - seq >= 1:
        run = order.run_at(seq, order.next_seq)
        assert len({order.entry_at(place) for place in range(seq, seq + run)}) == 1
        assert seq + run == order.next_seq or order.entry_at(seq + run) != order.entry_at(seq)


def test_an_end_and_a_gap_are_alone() -> None:
    order = EventOrder([0], [False], 8)
    order.add_gap(0, 1)
    order.add_gap(0, 1)
    order.add_end(0)
    assert [order.run_at(seq, 3) for seq in range(3)] == [1, 1, 1]


def test_a_position_that_is_forgotten_or_still_to_come_is_not_known() -> None:
    order = EventOrder([0], [False], 8)
    order.add(0, 9)
    assert order.first_seq == 2  # an eighth more than necessary
    for seq in (1, 10):
        with pytest.raises(LookupError):
            order.positions_at(seq)
