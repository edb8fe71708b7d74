"""Streams are found while they run and for a while after; then time, or the bytes of newer streams, remove them."""

import asyncio

import pytest

from gateway.endings import Ending
from gateway.stream.view import Framing
from tests.delivery.memory import MemorySink
from tests.delivery.sockets import PATIENCE, until

from .talk import new_hub, started

PLENTY = 1 << 30
FOR_EVER = 3600.0
SOON = 0.03  # seconds of retention that a test waits for


class Whole:
    """A completion that is not streamed."""

    def __init__(self, name: str) -> None:
        self.id = name
        self.stops: list[Ending] = []

    def stop(self, ending: Ending) -> None:
        self.stops.append(ending)


def is_past(time: float) -> bool:
    return asyncio.get_running_loop().time() > time


async def test_a_stream_is_found_while_it_runs_and_is_kept_after_its_end() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    talk = started(hub, "a")
    assert hub.find("a") is talk
    assert hub.statistics().running == 1
    talk.end(size=10)
    assert hub.find("a") is talk
    counts = hub.statistics()
    assert (counts.running, counts.ended, counts.kept, counts.kept_bytes) == (0, 1, 1, 10)
    hub.close()


async def test_an_unknown_id_finds_nothing() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    assert hub.find("a") is None
    assert hub.find("") is None


async def test_an_end_told_twice_or_of_somebody_unknown_counts_once() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    talk = started(hub, "a")
    talk.end()
    hub.end("a")
    hub.end("nobody")
    assert hub.statistics().ended == 1
    assert hub.statistics().kept == 1
    hub.close()


async def test_streams_are_told_oldest_first_running_ones_too() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    talks = [started(hub, name) for name in "abc"]
    talks[1].end()
    assert hub.ids() == [talk.id for talk in talks]
    hub.close()


async def test_a_completion_that_is_not_streamed_is_only_here_while_it_runs() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    hub.add(Whole("w"))
    assert hub.statistics().running == 1
    assert hub.find("w") is None
    assert hub.ids() == []
    hub.end("w")
    assert hub.statistics().running == 0
    assert hub.statistics().kept == 0


# --- until when


async def test_a_stream_is_forgotten_when_its_time_is_over() -> None:
    hub = new_hub(SOON, PLENTY)
    started(hub, "a").end()
    assert hub.find("a") is not None
    await until(lambda: hub.find("a") is None)
    assert hub.statistics().kept == 0
    assert hub.statistics().kept_bytes == 0
    assert hub.ids() == []


async def test_each_stream_has_its_own_time_and_running_ones_have_no_end() -> None:
    hub = new_hub(SOON, PLENTY)
    started(hub, "running")
    started(hub, "first").end()
    await until(lambda: hub.find("first") is None)
    started(hub, "second").end()
    assert hub.find("second") is not None
    await until(lambda: hub.find("second") is None)
    assert hub.ids() == ["running"]


async def test_many_are_forgotten_in_the_order_of_their_ends() -> None:
    hub = new_hub(SOON, PLENTY)
    talks = {name: started(hub, name) for name in "abcd"}
    for name in "cadb":
        talks[name].end()
        before = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > before + 0.002)  # noqa: B023
    gone: list[str] = []
    while len(gone) < 4:  # at any moment the streams that are gone are the ones that ended first
        gone = [name for name in "cadb" if hub.find(name) is None]
        assert gone == list("cadb")[: len(gone)]
        await asyncio.sleep(0)


async def test_with_no_retention_a_stream_leaves_with_its_end() -> None:
    hub = new_hub(0.0, PLENTY)
    talk = started(hub, "a", key="k")
    assert hub.find("a") is talk
    talk.end(size=5)
    assert hub.find("a") is None
    assert hub.find_key("me", "k") is None
    assert hub.statistics().kept_bytes == 0


async def test_a_subscriber_of_a_stream_that_is_forgotten_reads_on() -> None:
    hub = new_hub(FOR_EVER, 0)
    talk = started(hub, "a")
    sink = MemorySink(blocked=True)
    subscriber = talk.stream.join(chunked=False, framing=Framing.EVENTS)
    subscriber.attach(sink)
    talk.end(size=10)
    assert hub.find("a") is None
    sink.blocked = False
    subscriber.on_writable()
    assert b"x" * 9 in sink.body
    assert subscriber.ending is Ending.COMPLETED


# --- how much


async def test_bytes_at_the_limit_are_kept_and_one_more_takes_the_oldest() -> None:
    hub = new_hub(FOR_EVER, 100)
    talks = [started(hub, name) for name in "abc"]
    talks[1].end(size=60)
    talks[0].end(size=40)
    assert set(hub.ids()) == {"a", "b", "c"}
    assert hub.statistics().kept_bytes == 100
    talks[2].end(size=1)
    assert set(hub.ids()) == {"a", "c"}
    assert hub.statistics().kept_bytes == 41
    hub.close()


async def test_a_stream_larger_than_all_that_may_be_kept_takes_everything_and_itself() -> None:
    hub = new_hub(FOR_EVER, 100)
    started(hub, "small").end(size=10)
    started(hub, "large").end(size=101)
    assert hub.ids() == []
    assert hub.statistics().kept_bytes == 0


async def test_running_streams_are_never_forgotten_for_their_bytes() -> None:
    hub = new_hub(FOR_EVER, 10)
    running = started(hub, "running")
    running.stream.on_frame(b"x" * 1000)
    started(hub, "small").end(size=10)
    assert len(hub.ids()) == 2
    hub.close()


async def test_a_log_that_is_trimmed_after_its_end_leaves_no_bytes_in_the_count() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    talk = started(hub, "a", max_log_bytes=4096)
    sink = MemorySink(blocked=True)
    slow = talk.stream.join(chunked=False)
    slow.attach(sink)
    talk.stream.on_frame(b"x" * 5000)
    talk.end()
    sink.blocked = False
    slow.on_writable()
    hub.close()
    assert hub.statistics().kept == 0
    assert hub.statistics().kept_bytes == 0


async def test_a_kept_stream_can_be_replayed_after_a_slow_subscriber_has_read_it() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    talk = started(hub, "a", max_log_bytes=4096)
    sink = MemorySink(blocked=True)
    slow = talk.stream.join(chunked=False)
    slow.attach(sink)
    talk.stream.on_frame(b"x" * 5000)
    talk.end()
    sink.blocked = False
    slow.on_writable()
    late = MemorySink()
    talk.stream.join(chunked=False).attach(late)
    assert late.body == sink.body
    hub.close()


async def test_close_forgets_everything_that_has_ended() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    for name in "abc":
        started(hub, name).end(size=3)
    started(hub, "running")
    hub.close()
    assert hub.ids() == ["running"]
    hub.close()


# --- by key


async def test_a_key_finds_the_stream_of_its_owner_only() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    mine = started(hub, "a", owner="me", key="k")
    yours = started(hub, "b", owner="you", key="k")
    assert hub.find_key("me", "k") is mine
    assert hub.find_key("you", "k") is yours
    assert hub.find_key("me", "other") is None
    assert hub.find_key("somebody", "k") is None


async def test_a_key_goes_with_its_stream() -> None:
    hub = new_hub(SOON, PLENTY)
    talk = started(hub, "a", key="k")
    talk.end()
    assert hub.find_key("me", "k") is talk
    await until(lambda: hub.find_key("me", "k") is None)


async def test_the_key_of_a_newer_stream_stays_when_the_older_one_goes() -> None:
    hub = new_hub(FOR_EVER, 10)
    old = started(hub, "old", key="k")
    old.end(Ending.UPSTREAM_ERROR, size=10)
    new = started(hub, "new", key="k")
    started(hub, "other").end(size=10)
    assert hub.find("old") is None
    assert hub.find_key("me", "k") is new
    hub.close()


# --- drain


async def test_a_drain_of_nothing_is_over_at_once() -> None:
    await asyncio.wait_for(new_hub(FOR_EVER, PLENTY).drain(FOR_EVER), PATIENCE)


async def test_a_drain_waits_for_all_to_end_by_themselves() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    talk, whole = started(hub, "a"), Whole("w")
    hub.add(whole)
    draining = asyncio.ensure_future(hub.drain(FOR_EVER))
    await asyncio.sleep(0)
    talk.end()
    await asyncio.sleep(0)
    assert not draining.done()
    hub.end("w")
    await asyncio.wait_for(draining, PATIENCE)
    assert talk.stops == whole.stops == []
    hub.close()


async def test_a_drain_ends_the_rest_as_drained() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    talks, whole = [started(hub, name) for name in "ab"], Whole("w")
    hub.add(whole)
    await asyncio.wait_for(hub.drain(0.0), PATIENCE)
    assert [talk.stops for talk in talks] == [[Ending.DRAINED]] * 2
    assert whole.stops == [Ending.DRAINED]
    hub.close()


async def test_what_begins_during_a_drain_is_waited_for_too() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    first = started(hub, "a")
    draining = asyncio.ensure_future(hub.drain(FOR_EVER))
    await asyncio.sleep(0)
    second = started(hub, "b")
    first.end()
    await asyncio.sleep(0)
    assert not draining.done()
    second.end()
    await asyncio.wait_for(draining, PATIENCE)
    hub.close()


@pytest.mark.parametrize("seconds", [0.0, FOR_EVER])
async def test_after_everything_has_ended_no_drain_waits(seconds: float) -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    started(hub, "a").end()
    await asyncio.wait_for(hub.drain(seconds), PATIENCE)
    hub.close()


async def test_a_stream_whose_id_nobody_was_told_is_not_kept() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    talk = started(hub, "a")
    talk.announced = False
    talk.end(Ending.UPSTREAM_ERROR)
    assert hub.find("a") is None
    assert (hub.statistics().kept, hub.statistics().ended) == (0, 1)
