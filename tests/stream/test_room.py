"""A full log forgets what all were sent, closes subscribers that take nothing while others do, or pauses."""

from collections.abc import Iterator

import pytest

from gateway.config import StreamSettings
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.stream.log import StreamLog
from gateway.stream.room import SELDOM, BoundedRoom, Ring, RingRoom
from gateway.stream.stream import Stream
from gateway.stream.view import Framing
from tests.delivery.memory import MemorySink, Source, frames, stream_of, subscriber_of
from tests.kit.waiting import until

pytestmark = pytest.mark.usefixtures("whole_passes")


async def test_a_full_log_pauses_the_producer_until_the_slowest_subscriber_moves() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    slow, sink = subscriber_of(stream, MemorySink(blocked=True))
    stream.join(chunked=False, framing=Framing.EVENTS).attach(MemorySink())  # a subscriber that is up to date
    stream.on_frames(frames(4, size=1024))
    assert not source.paused
    stream.on_frame(b"x")
    assert source.paused
    sink.blocked = False
    slow.on_writable()
    assert not source.paused
    assert sink.body == b"".join(frames(4, size=1024)) + b"x"
    assert source.pauses == 1


@pytest.mark.parametrize("stuck", [Framing.EVENTS, Framing.COMPLETION])
@pytest.mark.parametrize("free", [Framing.EVENTS, Framing.COMPLETION])
async def test_a_subscriber_that_takes_nothing_of_a_full_log_is_closed_for_others(
    stuck: Framing, free: Framing
) -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    holder, other = stream.join(chunked=False, framing=stuck), stream.join(chunked=False, framing=free)
    holder.attach(MemorySink(blocked=True))
    other.attach(MemorySink())
    for frame in frames(20, size=1024):
        if not source.paused:
            stream.on_frame(frame)
    watched_only = stuck is Framing.COMPLETION and free is Framing.EVENTS
    assert (holder.ending, source.pauses) == ((None, 1) if watched_only else (Ending.LAGGED, 0))
    assert (other.ending, other.position) == (None, 5 if watched_only else 20)
    assert stream.log.bytes <= 4096 or watched_only


async def test_no_subscriber_is_closed_while_none_takes_anything() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    subscribers = [subscriber_of(stream, MemorySink(blocked=True))[0] for _ in range(2)]
    stream.on_frames(frames(5, size=1024))
    assert (source.paused, [subscriber.ending for subscriber in subscribers]) == (True, [None, None])


async def test_a_full_log_forgets_only_as_much_as_it_has_to() -> None:
    stream = stream_of(max_log_bytes=4096)
    subscriber_of(stream)
    for frame in frames(100, size=100):
        stream.on_frame(frame)
    assert 4096 - 4096 // 8 - 100 < stream.log.bytes <= 4096
    assert stream.statistics().bytes == 10_000


async def test_a_full_log_that_all_have_read_is_forgotten_and_pauses_nobody() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    _, sink = subscriber_of(stream)
    for frame in frames(100, size=1024):
        stream.on_frame(frame)
    assert source.pauses == 0
    assert sink.body == b"".join(frames(100, size=1024))
    assert stream.statistics().bytes == 102_400


async def test_the_producer_resumes_when_the_slow_subscriber_leaves() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    slow, _ = subscriber_of(stream, MemorySink(blocked=True))
    stream.join(chunked=False, framing=Framing.EVENTS).attach(MemorySink())
    stream.on_frames(frames(5, size=1024))
    assert source.paused
    slow.end()
    assert not source.paused
    assert source.endings == []


async def test_frames_that_come_although_the_producer_is_paused_are_kept() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    slow, sink = subscriber_of(stream, MemorySink(blocked=True))
    stream.on_frames(frames(6, size=1024))
    stream.on_frame(b"data: late\n\n")
    assert source.pauses == 1
    sink.blocked = False
    slow.on_writable()
    assert sink.body == b"".join(frames(6, size=1024)) + b"data: late\n\n"


async def test_a_subscriber_that_reads_a_full_log_when_it_attaches_resumes_the_producer() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    subscriber = stream.join(chunked=False)
    stream.on_frames(frames(5, size=1024))
    assert source.paused
    subscriber.attach(MemorySink())
    assert not source.paused


async def test_a_subscriber_that_catches_up_with_the_next_frame_resumes_the_producer() -> None:
    source = Source()
    stream = stream_of(source, max_log_bytes=4096)
    _, sink = subscriber_of(stream, MemorySink(blocked=True))
    stream.on_frames(frames(5, size=1024))
    assert source.paused
    sink.blocked = False
    stream.on_frame(b"data: late\n\n")
    assert not source.paused


# --- the rules alone


def reach(position: int, *, is_blocked: bool = False, resumable: bool = True) -> Subscriber:
    """A subscriber that has been sent the log up to this position."""
    subscriber = stream_of().join(chunked=False, framing=Framing.EVENTS if resumable else Framing.COMPLETION)
    subscriber.sink = MemorySink(blocked=is_blocked)
    subscriber.stand_at(position)
    return subscriber


def log_of(count: int, size: int = 10) -> StreamLog:
    log = StreamLog("e1")
    log.extend(frames(count, size))
    return log


async def test_a_bounded_log_at_its_limit_forgets_nothing_and_one_byte_more_makes_room() -> None:
    log = log_of(10)
    room = BoundedRoom(log, 100)
    assert (room.make([reach(10)]), room.is_full, log.first_seq) == ([], False, 0)
    log.append(b"x")
    assert room.is_full
    assert (room.make([reach(11)]), room.is_full, log.first_seq) == ([], False, 2)
    assert (log.bytes, log.forgotten_bytes) == (81, 20)


async def test_a_bounded_log_never_forgets_what_somebody_has_still_to_be_sent() -> None:
    log = log_of(20)
    room = BoundedRoom(log, 100)
    assert room.make([reach(3), reach(20)]) == []
    assert (log.first_seq, room.is_full) == (3, True)


@pytest.mark.parametrize(
    ("others", "resumable", "is_let_go_of"),
    [
        ([], True, False),
        ([{}], True, True),
        ([{"is_blocked": True}], True, False),
        ([{}], False, False),
        ([{"resumable": False}], False, True),
    ],
)
async def test_a_stuck_subscriber_is_let_go_of_for_others_that_take_bytes_and_last(
    others: list[dict[str, bool]], resumable: bool, is_let_go_of: bool
) -> None:
    stuck = reach(0, is_blocked=True, resumable=resumable)
    free = [reach(20, **other) for other in others]
    assert BoundedRoom(log_of(20), 100).make([stuck, *free]) == ([stuck] if is_let_go_of else [])


@pytest.mark.parametrize(("count", "kept"), [(8, 8), (9, 9), (10, 8), (30, 8)])
async def test_a_ring_turns_an_eighth_beyond_its_events(count: int, kept: int) -> None:
    log = log_of(count)
    room = RingRoom(log, 1 << 20, Ring(8, "skip"))
    assert room.make([reach(count)]) == []
    assert (len(log), log.next_seq, room.is_full) == (kept, count, False)


async def test_a_ring_over_its_bytes_keeps_at_least_the_newest_event() -> None:
    log = log_of(8, size=100)
    RingRoom(log, 450, Ring(8, "skip")).make([])
    assert (len(log), log.bytes) == (3, 300)
    RingRoom(log, 50, Ring(8, "skip")).make([])
    assert (len(log), log.next_seq) == (1, 8)


@pytest.mark.parametrize("is_blocked", [False, True])
async def test_a_ring_keeps_what_a_subscriber_has_not_been_sent_and_the_newest_for_those_who_come(
    is_blocked: bool,
) -> None:
    log = log_of(500)
    room = RingRoom(log, 1 << 20, Ring(8, "skip"))
    assert room.make([reach(100, is_blocked=is_blocked), reach(500)]) == []
    assert (log.first_seq, room.is_full, room.oldest_seq) == (100, False, 492)


async def test_a_ring_that_waits_for_a_slow_subscriber_looks_at_all_of_them_seldom() -> None:
    log, slow = log_of(20), reach(0, is_blocked=True)
    room = RingRoom(log, 1 << 20, Ring(8, "skip"))
    looks = []

    class Counted(list[Subscriber]):
        def __iter__(self) -> Iterator[Subscriber]:
            looks.append(log.next_seq)
            return super().__iter__()

    for _ in range(3 * SELDOM):
        room.make(Counted([slow]))
        log.append(b"x")
    assert looks == [20, 20 + SELDOM, 20 + 2 * SELDOM]


async def test_a_full_ring_forgets_what_only_a_subscriber_waits_for_that_takes_nothing() -> None:
    log = log_of(20)
    room = RingRoom(log, 100, Ring(8, "skip"))
    assert room.make([reach(0, is_blocked=True), reach(15)]) == []
    assert (log.first_seq, room.is_full) == (12, False)


async def test_a_full_ring_pauses_its_producer_for_subscribers_that_the_pass_has_not_served() -> None:
    log, behind = log_of(20), reach(2)
    room = RingRoom(log, 100, Ring(8, "skip"))
    assert room.make([reach(0, is_blocked=True), behind]) == []
    assert (log.first_seq, room.is_full) == (2, True)
    log.extend([b"0123456789"] * 10)  # from a producer that does not pause
    room.make([behind])
    assert (log.bytes, room.is_full) == (200, True)
    behind.stand_at(30)
    room.make([behind])
    assert (log.first_seq, room.is_full) == (22, False)


async def test_a_full_ring_waits_for_the_foremost_of_its_stuck_subscribers_until_it_gives_up() -> None:
    log, first, second = log_of(20), reach(12, is_blocked=True), reach(2, is_blocked=True)
    room = RingRoom(log, 70, Ring(8, "skip"))
    assert room.make([first, second]) == []
    assert (log.first_seq, room.is_full) == (12, True)
    room.give_up()
    room.make([first, second])
    assert (log.first_seq, room.is_full) == (14, False)
    log.extend([b"0123456789"] * 2)
    room.make([first, second])  # nobody has taken anything since
    assert (log.first_seq, room.is_full) == (16, False)
    first.stand_at(17)
    log.extend([b"0123456789"] * 4)
    room.make([first, second])
    assert (log.first_seq, room.is_full) == (17, True)


async def test_a_producer_is_held_up_by_stuck_subscribers_for_a_moment_only() -> None:
    source = Source()
    stream = Stream("feed", "e1", StreamSettings(max_log_bytes=4096), source, ring=Ring(8, "skip"))
    subscriber_of(stream, MemorySink(blocked=True))
    stream.on_frames(frames(5, size=1024))
    assert source.paused
    await until(lambda: not source.paused)
    stream.on_frames(frames(5, size=1024))
    assert (source.paused, source.pauses) == (False, 1)


async def test_a_ring_in_which_only_the_newest_event_matters_waits_for_nobody() -> None:
    log = log_of(20)
    RingRoom(log, 1 << 20, Ring(2, "skip", newest_only=True)).make([reach(0), reach(20)])
    assert log.first_seq == 18


async def test_a_burst_that_is_longer_than_the_ring_reaches_a_subscriber_that_is_up_to_date() -> None:
    stream = Stream("feed", "e1", StreamSettings(), Source(), ring=Ring(8, "skip"))
    _, sink = subscriber_of(stream)
    blocked, waiting = subscriber_of(stream, MemorySink(blocked=True))
    burst = frames(5000, size=95)
    stream.on_frames(burst[:3000])
    stream.on_frames(burst[3000:])
    waiting.blocked = False
    blocked.on_writable()
    assert sink.body == waiting.body == b"".join(burst)


async def test_a_ring_that_closes_names_the_subscribers_that_have_fallen_out_of_it() -> None:
    log = log_of(20)
    inside, outside = reach(12), reach(11, is_blocked=True)
    assert RingRoom(log, 80, Ring(8, "close")).make([inside, outside]) == [outside]
