"""Backlogs: which event of which channel has which number, and where a subscriber is behind each of them."""

import pytest

from gateway.merge.backlog import MAX_KEPT, Backlog, Backlogs, Stretch


def test_channels_follow_one_another_and_the_last_event_stands_before_the_merged_log() -> None:
    backlog = Backlog(1, 100, [0, 4, 7], [3, 4, 9])
    assert (backlog.count, backlog.first_seq) == (5, 95)
    assert [backlog.stretch_from(number) for number in range(5)] == [
        Stretch(0, 0, 3),
        Stretch(0, 1, 3),
        Stretch(0, 2, 3),
        Stretch(2, 7, 9),
        Stretch(2, 8, 9),
    ]


def test_positions_are_known_behind_each_event_and_no_further() -> None:
    backlog = Backlog(1, 100, [0, 4, 7], [3, 4, 9])
    assert [backlog.positions_at(count) for count in range(6)] == [
        [0, 4, 7],
        [1, 4, 7],
        [2, 4, 7],
        [3, 4, 7],
        [3, 4, 8],
        [3, 4, 9],
    ]
    with pytest.raises(LookupError):
        backlog.positions_at(6)


def test_subscribers_that_come_at_the_same_position_share_a_backlog() -> None:
    backlogs = Backlogs()
    one = backlogs.between(10, [0], [4])
    assert backlogs.between(10, [0], [4]) is one
    assert backlogs.between(11, [0], [5]) is not one
    assert backlogs.find(1) is one


def test_an_empty_backlog_is_not_kept_and_the_oldest_ones_are_forgotten() -> None:
    backlogs = Backlogs()
    assert backlogs.between(10, [4], [4]).count == 0
    for number in range(MAX_KEPT + 1):
        backlogs.between(number, [0], [number + 1])
    with pytest.raises(LookupError):
        backlogs.find(1)
    assert backlogs.find(MAX_KEPT + 1).count == MAX_KEPT + 1
