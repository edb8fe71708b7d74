"""Channels: the events of a stream or a feed under the name by which subscribers know it."""

import pytest

from gateway.endings import Ending
from gateway.merge.channel import Channel
from gateway.stream.log import StreamLog
from gateway.stream.view import CONTROL
from gateway.wire import sse
from tests.merge.world import RingSource, World


def channel_of(name: str, *frames: bytes) -> Channel:
    source = RingSource("r", 100)
    source.stream.on_frames(list(frames))
    return Channel(name, "", source.log(), source)


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (b"data: x\n\n", b"event: st_1\ndata: x\n\n"),
        (b"data: x\ndata: y\n\n", b"event: st_1\ndata: x\ndata: y\n\n"),
        (b"event: tick\ndata: x\n\n", b"event: st_1/tick\ndata: x\n\n"),
        (b"event: a/b\ndata: event: x\n\n", b"event: st_1/a/b\ndata: event: x\n\n"),
        (b"source-id: 7\ndata: x\n\n", b"source-id: 7\nevent: st_1\ndata: x\n\n"),
        (b"source-id: 7\nevent: tick\ndata: x\n\n", b"source-id: 7\nevent: st_1/tick\ndata: x\n\n"),
        (b"event: end\ndata: x\n\n", b"event: st_1/end\ndata: x\n\n"),
        (CONTROL + sse.control("gap", {"missed": None}), b'event: gap\ndata: {"channel":"st_1","missed":null}\n\n'),
        (
            CONTROL + sse.control("rivergate.source", {"state": "reading"}),
            b'event: source\ndata: {"channel":"st_1","state":"reading"}\n\n',
        ),
    ],
)
def test_an_event_gets_the_name_of_its_channel_and_stays_as_it_is(frame: bytes, told: bytes) -> None:
    lines, rest = channel_of("st_1").named(frame)
    assert lines + rest == told


def test_an_event_without_a_name_is_not_copied() -> None:
    frame = b"data: " + b"x" * 10_000 + b"\n\n"
    assert channel_of("st_1").named(frame).rest is frame


async def test_the_end_counts_as_an_event_and_what_is_forgotten_is_counted() -> None:
    world = World(["a"])
    [channel] = world.channels(["a"])
    world.append("a", 3)
    assert (channel.next_seq, channel.end_seq, channel.is_sent_at(4)) == (3, 3, False)
    world.end("a")
    assert (channel.next_seq, channel.end_seq, channel.ending) == (3, 4, Ending.COMPLETED)
    assert [channel.is_sent_at(seq) for seq in (3, 4)] == [False, True]
    missed, events = channel.events(1, 4, 1 << 20)
    assert (missed, [event.rest for event in events][-1]) == (0, channel.end(Ending.COMPLETED))
    assert len(events) == 3
    log = channel.log
    assert isinstance(log, StreamLog)
    log.trim(2)
    assert [channel.events(0, stop, 1 << 20)[0] for stop in (1, 2, 3)] == [1, 2, 2]


async def test_a_channel_whose_log_was_put_away_or_forgotten_can_still_be_asked() -> None:
    world = World(["a"])
    [channel] = world.channels(["a"])
    world.append("a", 3)
    world.end("a")
    channel.close(Ending.COMPLETED)
    assert [len(channel.events(0, 4, 1 << 20)[1])] == [4]
    world.hub.close()  # forgets what has ended
    assert channel.log is None
    missed, events = channel.events(0, 4, 1 << 20)
    assert (missed, [event.rest for event in events]) == (3, [channel.end(Ending.COMPLETED)])
