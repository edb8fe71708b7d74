"""A subscriber begins where it asked to, and for a position that cannot be ours anew, which it is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.endings import Ending
from gateway.stream.log import StreamLog
from gateway.stream.position import StartPoint, start_of


def log_of(count: int, *, ended: bool = False, trimmed: int = 0) -> StreamLog:
    log = StreamLog("e1")
    log.extend([b"data: x\n\n"] * count)
    log.trim(trimmed)
    if ended:
        log.close(Ending.COMPLETED)
    return log


def test_without_an_id_a_subscriber_begins_at_the_start_or_now() -> None:
    assert start_of(log_of(5), None, from_now=False, oldest=0) == StartPoint(0)
    assert start_of(log_of(5), None, from_now=True, oldest=0) == StartPoint(5)
    assert start_of(log_of(0), None, from_now=True, oldest=0) == StartPoint(0)


def test_now_in_a_stream_that_has_ended_is_its_end() -> None:
    assert start_of(log_of(5, ended=True), None, from_now=True, oldest=0) == StartPoint(5)


@pytest.mark.parametrize("seq", [0, 1, 4])
@pytest.mark.parametrize("ended", [False, True])
def test_a_subscriber_goes_on_behind_the_last_event_it_has_seen(seq: int, ended: bool) -> None:
    assert start_of(log_of(5, ended=ended), f"e1-{seq}", from_now=False, oldest=0) == StartPoint(seq + 1)


def test_an_id_says_more_than_from_now() -> None:
    assert start_of(log_of(5), "e1-1", from_now=True, oldest=0) == StartPoint(2)


def test_after_the_end_event_nothing_is_left() -> None:
    assert start_of(log_of(5, ended=True), "e1-5", from_now=False, oldest=0) is None
    assert start_of(log_of(0, ended=True), "e1-0", from_now=False, oldest=0) is None


def test_the_last_event_alone_is_not_the_end() -> None:
    assert start_of(log_of(5, ended=True), "e1-4", from_now=False, oldest=0) == StartPoint(5)


@pytest.mark.parametrize(("seq", "ended"), [(5, False), (6, False), (6, True), (10**17, True)])
def test_an_id_ahead_of_the_stream_starts_over_with_a_reset(seq: int, ended: bool) -> None:
    start = start_of(log_of(5, ended=ended), f"e1-{seq}", from_now=False, oldest=0)
    assert start == StartPoint(0, reset=True)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("text", ["e2-0", "e2-4", "e2-999999", "E1-0", "e11-0"])
def test_another_epoch_starts_over_with_a_reset(text: str, ended: bool) -> None:
    assert start_of(log_of(5, ended=ended), text, from_now=False, oldest=0) == StartPoint(0, reset=True)


def test_a_position_that_was_trimmed_is_where_the_gap_begins() -> None:
    assert start_of(log_of(9, trimmed=6), "e1-2", from_now=False, oldest=0) == StartPoint(3)


def test_a_new_subscriber_and_a_reset_begin_where_they_are_told_what_is_missing() -> None:
    assert start_of(log_of(9, trimmed=6), None, from_now=False, oldest=0) == StartPoint(0)
    assert start_of(log_of(9, trimmed=6), "e2-2", from_now=False, oldest=0) == StartPoint(0, reset=True)


def test_a_new_subscriber_of_a_ring_begins_at_its_oldest_event() -> None:
    assert start_of(log_of(9, trimmed=6), None, from_now=False, oldest=6) == StartPoint(6)
    assert start_of(log_of(9, trimmed=6), "e2-2", from_now=False, oldest=6) == StartPoint(6, reset=True)


def test_the_sources_own_id_behind_a_slash_is_not_looked_at() -> None:
    assert start_of(log_of(5), "e1-1/anything at all, 42", from_now=False, oldest=0) == StartPoint(2)
    assert start_of(log_of(5), "e1-1/", from_now=False, oldest=0) == StartPoint(2)


BAD = [
    "", " ", "-", "e1", "e1-", "-1", "e1-x", "e1--1", "e1-1.0", "e1-+1", "e1-1 ", " e1-1", "e1-1\n", "e1 -1",
    "e1-0x1", "e1-1e3", "e1_1", "é-1", "e1-\uff11", "e1-٣", "e" * 65 + "-1", "e1-" + "1" * 19, "e1-" + "1" * 5000,
    "e1-1-1", "e1-1\0", "a/b-1", "e1-1/a\nb", "null", "undefined",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD)
@pytest.mark.parametrize("from_now", [False, True])
def test_an_id_that_is_none_of_ours_starts_over_with_a_reset(text: str, from_now: bool) -> None:
    assert start_of(log_of(5, trimmed=2), text, from_now=from_now, oldest=2) == StartPoint(2, reset=True)


@given(st.text(max_size=30), st.integers(0, 6), st.integers(0, 6), st.booleans(), st.booleans())
def test_any_text_gives_a_position_that_can_be_read(
    text: str, count: int, trimmed: int, ended: bool, from_now: bool
) -> None:
    log = log_of(count, ended=ended, trimmed=min(trimmed, count))
    start = start_of(log, text, from_now=from_now, oldest=0)
    assert start is None or 0 <= start.seq <= log.next_seq


@given(st.integers(0, 20), st.integers(0, 20), st.booleans(), st.integers(0, 25))
def test_every_id_that_was_sent_resumes_right_behind_it(count: int, trimmed: int, ended: bool, seq: int) -> None:
    log = log_of(count, ended=ended, trimmed=min(trimmed, count))
    sent = count + ended  # the ids 0 to count - 1, and the id of the end event if the log has ended
    if seq >= sent:
        assert start_of(log, f"e1-{seq}", from_now=False, oldest=0) == StartPoint(0, reset=True)
    else:
        expected = None if ended and seq == count else StartPoint(seq + 1)
        assert start_of(log, f"e1-{seq}", from_now=False, oldest=0) == expected
