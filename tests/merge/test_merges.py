"""The merges of a process: who shares one, how long it is known, and what ends it."""

import asyncio
from typing import Any

import pytest

from gateway.config import StreamSettings
from gateway.delivery.long_piece import Sendable
from gateway.endings import Ending
from gateway.merge import merge
from gateway.merge import merges as registry
from gateway.merge.merge import MEMORY
from gateway.merge.merges import Merges
from tests.delivery.memory import MemorySink
from tests.merge.world import RingSource, Viewer, World, told_in


def opened(world: World, names: list[str], **options: Any) -> Any:
    subscription = world.open(names, **options)
    assert subscription is not None
    return subscription


async def test_all_who_want_the_same_channels_share_a_merge_in_whatever_order_they_name_them() -> None:
    world = World(["a", "b"])
    one, two = opened(world, ["a", "b"]), opened(world, ["b", "a"])
    world.append("a", 3)
    world.append("b")
    assert one[1].body == two[1].body
    assert one[1].writes[-1] is two[1].writes[-1]  # the very same bytes
    assert len(world.merges) == 1
    opened(world, ["a"])
    assert len(world.merges) == 2


async def test_subscribers_that_come_together_share_the_bytes_of_what_was_before() -> None:
    world = World(["a"])
    world.append("a", 5)
    first, second = opened(world, ["a"]), opened(world, ["a"])
    assert first[1].body == second[1].body != b""
    assert first[0].view is second[0].view  # from now on, too


async def test_a_merge_is_one_subscriber_of_each_channel_as_long_as_it_has_subscribers() -> None:
    world = World(["a"], ["r"])
    one, two = opened(world, ["a", "feed:r"]), opened(world, ["a", "feed:r"])
    streams = world.talks["a"].stream, world.rings["feed:r"].stream
    assert [stream.subscribers for stream in streams] == [1, 1]
    one[0].end(Ending.LEFT)
    assert [stream.subscribers for stream in streams] == [1, 1]
    two[0].end(Ending.LEFT)
    assert [stream.subscribers for stream in streams] == [0, 0]


async def test_the_end_of_all_channels_is_the_end_of_the_merge_and_is_told_to_late_comers() -> None:
    world = World(["a", "b"])
    subscriber, sink = opened(world, ["a", "b"])
    world.end("a")
    assert subscriber.ending is None
    world.end("b")
    assert subscriber.ending is Ending.COMPLETED
    late, late_sink = opened(world, ["a", "b"])
    assert late.ending is Ending.COMPLETED
    ends = [[(event.name, event.channel) for event in told_in(found.body)] for found in (sink, late_sink)]
    assert ends == [[("end", "a"), ("end", "b")]] * 2
    assert world.open(["a", "b"], told_in(sink.body)[-1].id) is None
    assert world.open(["a", "b"], told_in(late_sink.body)[-1].id) is None
    assert world.open(["a", "b"], told_in(late_sink.body)[0].id) is not None


async def test_a_merge_without_subscribers_is_forgotten_after_a_while_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "MIN_REST_SECONDS", 0.02)
    world = World(["a", "b"])
    world.merges = Merges(world.hub, lambda: StreamSettings(retain_seconds=0), lambda: 1000, MEMORY)
    staying, gone = opened(world, ["a"]), opened(world, ["b"])
    gone[0].end(Ending.LEFT)
    assert len(world.merges) == 2
    async with asyncio.timeout(5):
        while len(world.merges) == 2:  # noqa: ASYNC110 - a timer forgets it
            await asyncio.sleep(0.005)
    world.append("a")
    assert told_in(staying[1].body)[0].name == "a"
    staying[0].end(Ending.LEFT)
    async with asyncio.timeout(5):
        while len(world.merges):  # noqa: ASYNC110 - a timer forgets it
            await asyncio.sleep(0.005)


async def test_so_many_resting_merges_are_known_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MAX_RESTING", 3)
    world = World([f"s{number}" for number in range(6)])
    for name in world.names:
        opened(world, [name])[0].end(Ending.LEFT)
    assert len(world.merges) == 3


async def test_a_merge_that_has_rested_for_many_events_is_followed_by_another_and_its_viewers_miss_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merge, "MAX_CAUGHT_UP", 5)
    world = World(["a", "b"], ["r"])
    viewer = Viewer(world, ["a", "b", "feed:r"])
    for count, merges in ((2, 1), (3, 2)):
        viewer.leave()
        world.append("a", count)
        world.append("b", count)
        viewer.arrive()
        viewer.read()
        assert viewer.is_up_to_date
        assert len(world.merges) == merges
    world.append("a")
    viewer.read()
    assert (viewer.is_up_to_date, viewer.resets, viewer.missed) == (True, 0, 0)


class BrokenSink(MemorySink):
    """A sink with a defect."""

    def write(self, data: Sendable) -> None:
        raise RuntimeError("a defect")


async def test_a_fault_ends_the_merge_and_no_channel_and_the_next_subscriber_gets_another_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World(["a", "b"])
    subscriber, _ = opened(world, ["a", "b"])
    faulty = world.merges.merge_of(world.channels(["a", "b"])).join(None, (), chunked=False)
    faulty.attach(BrokenSink())
    alone, alone_sink = opened(world, ["a"])
    world.append("a")
    assert subscriber.ending is Ending.INTERNAL_ERROR
    assert [record.message for record in caplog.records] == ["a merge failed"]
    world.append("a")
    assert [event.data for event in told_in(alone_sink.body)] == [b"0", b"1"]
    assert alone.ending is None
    assert world.talks["b"].stream.subscribers == 0
    again = Viewer(world, ["a", "b"])
    again.read()
    assert again.is_up_to_date


async def test_a_feed_that_goes_on_behind_its_end_is_followed_by_another_merge() -> None:
    world = World([], ["r"])
    viewer = Viewer(world, ["feed:r"])
    world.append("feed:r", 2)
    world.rings["feed:r"].stream.close(Ending.COMPLETED, [])
    world.written["feed:r"] += 1
    viewer.leave()
    ended = world.rings["feed:r"]
    begun = RingSource("r", 8)
    begun.stream.on_frames([*ended.stream.log.frames(), b"data: 2\n\n"])
    ended.stream = begun.stream
    world.append("feed:r")
    viewer.arrive()
    viewer.read()
    assert viewer.resets == 0
    assert viewer.is_up_to_date


async def test_subscribers_are_sent_away_when_the_channels_that_are_left_are_closing() -> None:
    world = World(["a"], ["r"])
    subscriber, sink = opened(world, ["a", "feed:r"])
    world.rings["feed:r"].stream.dismiss(lambda: 1000)
    assert subscriber.ending is None  # the stream goes on
    world.end("a")
    assert subscriber.ending is Ending.DRAINED
    assert sink.body.rpartition(b"\n\n")[2] == b"retry: 1000\n"
    late, _ = opened(world, ["a", "feed:r"])
    assert late.ending is Ending.DRAINED
