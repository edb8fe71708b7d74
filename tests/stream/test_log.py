"""Every subscriber of a log sees a prefix, in order, once, whatever is appended, trimmed or closed meanwhile."""

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from gateway.endings import Ending
from gateway.stream.log import StreamLog

PLENTY = 1 << 30


def log_of(*frames: bytes) -> StreamLog:
    log = StreamLog("e1")
    log.extend(list(frames))
    return log


def test_a_new_log_is_empty_and_open() -> None:
    log = StreamLog("e1")
    assert (log.epoch, log.first_seq, log.next_seq, log.bytes, log.ending) == ("e1", 0, 0, 0, None)
    assert log.read(0, PLENTY) == []


def test_frames_are_read_from_any_position_in_order() -> None:
    log = log_of(b"a", b"b", b"c")
    assert [log.read(seq, PLENTY) for seq in range(4)] == [[b"a", b"b", b"c"], [b"b", b"c"], [b"c"], []]


def test_one_frame_and_many_are_appended_alike() -> None:
    log = log_of(b"a", b"b")
    log.append(b"c")
    log.extend([])
    assert log.read(0, PLENTY) == [b"a", b"b", b"c"]
    assert (log.next_seq, log.bytes) == (3, 3)


@pytest.mark.parametrize(("limit", "count"), [(0, 1), (1, 1), (4, 1), (5, 1), (6, 2), (9, 2), (10, 3), (11, 3)])
def test_a_read_stays_within_its_limit_but_gives_one_frame_at_least(limit: int, count: int) -> None:
    assert log_of(b"aaaa", b"bb", b"cccc").read(0, limit) == [b"aaaa", b"bb", b"cccc"][:count]


@pytest.mark.parametrize("seq", [-1, 0, 4])
def test_a_position_that_was_trimmed_or_is_not_there_yet_is_refused(seq: int) -> None:
    log = log_of(b"a", b"b", b"c")
    log.trim(1)
    with pytest.raises(LookupError, match=r"is not in 1\.\.3"):
        log.read(seq, PLENTY)


def test_trimming_forgets_bytes_and_keeps_the_numbers_of_what_stays() -> None:
    log = log_of(b"aaa", b"bb", b"c")
    log.trim(2)
    assert (log.first_seq, log.next_seq, log.bytes) == (2, 3, 1)
    assert log.read(2, PLENTY) == [b"c"]


@pytest.mark.parametrize(("seq", "first"), [(-5, 0), (0, 0), (3, 3), (99, 3)])
def test_trimming_stays_within_the_log(seq: int, first: int) -> None:
    log = log_of(b"a", b"b", b"c")
    log.trim(seq)
    assert (log.first_seq, log.next_seq) == (first, 3)


def test_trimming_backwards_changes_nothing() -> None:
    log = log_of(b"a", b"b", b"c")
    log.trim(2)
    log.trim(1)
    assert log.first_seq == 2


def test_a_closed_log_takes_no_frame_and_its_first_reason_wins() -> None:
    log = log_of(b"a")
    log.close(Ending.COMPLETED)
    log.close(Ending.LAGGED)
    assert log.ending is Ending.COMPLETED
    with pytest.raises(ValueError, match="closed"):
        log.append(b"b")
    with pytest.raises(ValueError, match="closed"):
        log.extend([b"b"])
    assert log.read(0, PLENTY) == [b"a"]


def test_what_a_subscriber_was_given_is_its_own() -> None:
    log = log_of(b"a", b"b")
    for seq in (0, 1, 2):
        log.read(seq, PLENTY).append(b"mine")
    assert log.read(0, PLENTY) == [b"a", b"b"]


@dataclass
class Subscriber:
    start: int
    seen: list[bytes] = field(default_factory=list)

    @property
    def seq(self) -> int:
        return self.start + len(self.seen)


class LogMachine(RuleBasedStateMachine):
    """A log against a plain list that never forgets."""

    subscribers = Bundle("subscribers")

    def __init__(self) -> None:
        super().__init__()
        self.log = StreamLog("e1")
        self.all: list[bytes] = []
        self.first = 0
        self.ending: Ending | None = None

    @rule(target=subscribers)
    def join_at_the_start(self) -> Subscriber:
        return Subscriber(self.log.first_seq)

    @rule(target=subscribers)
    def join_at_the_end(self) -> Subscriber:
        return Subscriber(self.log.next_seq)

    @precondition(lambda self: self.ending is None)
    @rule(frame=st.binary(min_size=1, max_size=9))
    def append(self, frame: bytes) -> None:
        self.log.append(frame)
        self.all.append(frame)

    @precondition(lambda self: self.ending is None)
    @rule(frames=st.lists(st.binary(min_size=1, max_size=9), max_size=5))
    def extend(self, frames: list[bytes]) -> None:
        self.log.extend(frames)
        self.all += frames

    @precondition(lambda self: self.ending is not None)
    @rule()
    def append_to_the_closed_log(self) -> None:
        with pytest.raises(ValueError, match="closed"):
            self.log.append(b"late")

    @rule(target=subscribers, subscriber=consumes(subscribers), limit=st.integers(0, 40))
    def read(self, subscriber: Subscriber, limit: int) -> object:
        if subscriber.seq < self.first:
            with pytest.raises(LookupError):
                self.log.read(subscriber.seq, limit)
            return multiple()  # the subscriber was too slow and has been closed
        frames = self.log.read(subscriber.seq, limit)
        assert bool(frames) == (subscriber.seq < len(self.all))
        assert len(frames) <= 1 or sum(map(len, frames)) <= limit
        subscriber.seen += frames
        assert subscriber.seen == self.all[subscriber.start : subscriber.seq]
        return subscriber

    @rule(seq=st.integers(-2, 60))
    def trim(self, seq: int) -> None:
        self.log.trim(seq)
        self.first = min(max(self.first, seq), len(self.all))

    @rule(ending=st.sampled_from(Ending))
    def close(self, ending: Ending) -> None:
        self.log.close(ending)
        self.ending = self.ending or ending

    @invariant()
    def the_log_agrees_with_the_list(self) -> None:
        held = self.all[self.first :]
        assert (self.log.first_seq, self.log.next_seq) == (self.first, len(self.all))
        assert self.log.bytes == sum(map(len, held))
        assert self.log.ending is self.ending
        assert self.log.read(self.first, PLENTY) == held


TestLogMachine = LogMachine.TestCase
