"""What the load counts was compared, however the bytes are cut; a difference ends the run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.kit.script import START, BrokenStream, Check, ContentCheck, Position, SubscriberCheck, chunk, script

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SCRIPT = script(7, 3)
WHOLE = HEAD + b"".join(SCRIPT.chunks)
SUBSCRIBED = HEAD + b"".join(
    chunk(b"%bid: e-%d\n\n" % (event[:-1], number)) for number, event in enumerate(SCRIPT.events)
)


def played(check: Check, data: bytes, cuts: list[int]) -> Position:
    position = START
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    for begin, end in zip([0, *ends], ends, strict=False):
        position = check.advance(position, data[begin:end])
    return position


@pytest.mark.parametrize("kind", [Check, ContentCheck])
@given(cuts=st.lists(st.integers(1, len(WHOLE))))
def test_a_whole_answer_is_whole_however_it_is_cut(kind: type[Check], cuts: list[int]) -> None:
    position = played(kind(SCRIPT), WHOLE, cuts)
    assert (position.events, position.ended) == (len(SCRIPT.events), True)


@given(cuts=st.lists(st.integers(1, len(SUBSCRIBED))))
def test_a_subscription_has_ids_and_no_end(cuts: list[int]) -> None:
    check = SubscriberCheck(SCRIPT.events, len(SCRIPT.events))
    assert played(check, SUBSCRIBED, cuts).events == len(SCRIPT.events)
    assert check.ids[2] == b"id: e-2"


def test_subscribers_that_are_equally_far_have_equal_positions_and_share_a_proven_move() -> None:
    check = SubscriberCheck(SCRIPT.events, len(SCRIPT.events))
    places = [check.advance(START, HEAD) for _ in range(2)]
    assert places[0] == places[1]
    data = SUBSCRIBED[len(HEAD) :]
    assert check.advance(places[0], data) == check.advance(places[1], data)
    assert check.moves[places[0]][0] == data


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        HEAD + SCRIPT.chunks[1],
        HEAD + SCRIPT.chunks[0] * 2,
        HEAD + b"zz\r\n",
        HEAD + b"3\r\nabcXY",
        WHOLE + b"more",
        HEAD + chunk(SCRIPT.events[0] + b": comment\n\n"),
    ],
    ids=["status", "order", "repeated", "size", "line end", "behind the end", "comment"],
)
def test_whatever_differs_is_broken(data: bytes) -> None:
    with pytest.raises(BrokenStream):
        played(Check(SCRIPT), data, [])


def test_a_subscriber_may_get_a_body_without_chunks_and_a_client_may_not() -> None:
    data = b"HTTP/1.1 200 OK\r\n\r\n: hi\n\n" + b"".join(SCRIPT.events[:2])
    assert played(SubscriberCheck(SCRIPT.events, 2), data, [30, 60]).events == 2
    with pytest.raises(BrokenStream, match="answered"):
        played(Check(SCRIPT), data, [])


def test_a_keepalive_may_stand_between_events() -> None:
    for comment in (b": keepalive\n\n", b": keepalive\n"):
        data = HEAD + SCRIPT.chunks[0] + chunk(comment) + SCRIPT.chunks[1]
        assert played(Check(SCRIPT), data, []).events == 2


def test_a_subscriber_gets_nothing_that_is_not_published_and_no_other_id() -> None:
    with pytest.raises(BrokenStream, match="instead of event 1 of 1"):
        played(SubscriberCheck(SCRIPT.events, 1), SUBSCRIBED, [])
    check = SubscriberCheck(SCRIPT.events, len(SCRIPT.events))
    played(check, SUBSCRIBED, [])
    with pytest.raises(BrokenStream, match="has the ids"):
        played(check, SUBSCRIBED.replace(b"id: e-1", b"id: e-9"), [])
