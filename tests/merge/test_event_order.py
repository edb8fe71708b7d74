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


def test_a_position_that_is_forgotten_or_still_to_come_is_not_known() -> None:
    order = EventOrder([0], [False], 8)
    order.add(0, 9)
    assert order.first_seq == 2  # an eighth more than necessary
    for seq in (1, 10):
        with pytest.raises(LookupError):
            order.positions_at(seq)
