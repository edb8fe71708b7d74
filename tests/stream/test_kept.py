"""A stream that has ended is read and described as before, from an entry that no collection walks."""

import gc
from typing import Any

import pytest

from gateway.endings import Ending
from gateway.stream.description import StreamFacts
from gateway.stream.hub import Hub
from gateway.stream.kept import KeptStream
from gateway.stream.production import Production
from gateway.stream.stream import EndedStream
from gateway.stream.view import Framing
from tests.delivery.memory import MemorySink
from tests.delivery.sockets import passes, until

from .talk import new_hub, started

PLENTY = 1 << 30
FOR_EVER = 3600.0
FRAMES = [b"data: %d\n\n" % number for number in range(5)]


async def put_away(hub: Hub, name: str) -> None:
    await until(lambda: isinstance(hub.peek(name), KeptStream) and not hub.open_streams())


async def kept(hub: Hub, name: str = "a", ending: Ending = Ending.COMPLETED, **fields: Any) -> None:
    """A stream that was sent to one subscriber, has ended and was put away."""
    talk = started(hub, name, **fields)
    talk.stream.join(chunked=False).attach(MemorySink())
    talk.stream.on_frames(FRAMES)
    talk.end(ending)
    await put_away(hub, name)


def found(hub: Hub, name: str = "a") -> Production:
    production = hub.find(name)
    assert production is not None
    return production


def fail() -> StreamFacts:
    raise ValueError("there is nothing to tell")


def body(production: Production, framing: Framing = Framing.COMPLETION, seq: int = 0) -> bytes:
    """What a new subscriber is sent."""
    sink = MemorySink()
    subscriber = production.stream.join(chunked=False, framing=framing, seq=seq)
    subscriber.attach(sink)
    assert subscriber.ending is Ending.COMPLETED
    return sink.body


@pytest.mark.parametrize("framing", [Framing.COMPLETION, Framing.EVENTS])
@pytest.mark.parametrize("seq", [0, 3, 5])
async def test_it_is_replayed_as_if_it_had_just_ended(framing: Framing, seq: int) -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    talk = started(hub, "a")
    talk.stream.on_frames(FRAMES)
    talk.end(Ending.UPSTREAM_ERROR)
    before = body(talk, framing, seq)
    await put_away(hub, "a")
    again = found(hub)
    assert isinstance(again.stream, EndedStream)
    assert body(again, framing, seq) == before
    assert again.stream.ending is Ending.UPSTREAM_ERROR
    hub.close()


async def test_it_is_whose_it_was_and_found_by_its_key_and_described_as_before() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    talk = started(hub, "a", owner="me", key="k")
    talk.fingerprint = b"f" * 32
    talk.stream.on_frames(FRAMES)
    talk.end()
    described = talk.describe()
    await put_away(hub, "a")
    again = found(hub)
    assert hub.find_key("me", "k") is again
    assert (again.id, again.owner, again.key, again.fingerprint) == ("a", "me", "k", b"f" * 32)
    assert again.announced
    assert again.headers() == talk.headers()
    assert again.describe() == described
    assert (again.stream.log.epoch, again.stream.log.next_seq) == ("e1", 5)
    hub.close()


async def test_subscribers_that_come_later_count_in_the_description_and_in_all_sums() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    await kept(hub)
    first = found(hub).describe()
    assert (first["readers_total"], first["deliveries"]) == (1, 5)
    for count in (2, 3):
        body(found(hub))
        during = found(hub).describe()
        await put_away(hub, "a")
        after = found(hub).describe()
        assert during == after
        assert (after["readers"], after["readers_total"], after["deliveries"]) == (0, count, 5 * count)
        assert hub.statistics().deliveries == 5 * count
        assert hub.statistics().sends == after["sends"]
    hub.close()


async def test_while_it_is_read_it_stays_open_and_whoever_asks_gets_the_same_stream() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    await kept(hub)
    again, sink = found(hub), MemorySink(blocked=True)
    slow = again.stream.join(chunked=False)
    slow.attach(sink)
    await until(lambda: hub.find("a") is again)
    assert again.describe()["readers"] == 1
    assert [stream.subscribers for stream in hub.open_streams()] == [1]
    sink.blocked = False
    slow.on_writable()
    assert sink.body == b"".join(FRAMES)
    await put_away(hub, "a")
    hub.close()


async def test_it_is_forgotten_while_it_is_read_and_read_to_its_end() -> None:
    hub = new_hub(FOR_EVER, 100)
    await kept(hub)
    again, sink = found(hub), MemorySink(blocked=True)
    slow = again.stream.join(chunked=False)
    slow.attach(sink)
    started(hub, "b").end(size=100)
    assert hub.find("a") is None
    assert (hub.statistics().kept, hub.statistics().kept_bytes) == (1, 100)
    assert sum(stream.subscribers for stream in hub.open_streams()) == 1
    sink.blocked = False
    slow.on_writable()
    assert sink.body == b"".join(FRAMES)
    await put_away(hub, "b")
    assert hub.statistics().deliveries == 10
    hub.close()


async def test_an_ended_stream_is_put_away_when_its_last_subscriber_has_left() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    talk, sink = started(hub, "a"), MemorySink(blocked=True)
    slow = talk.stream.join(chunked=False)
    slow.attach(sink)
    talk.end(size=10)
    await passes()
    assert hub.find("a") is talk
    slow.on_hang_up()
    await put_away(hub, "a")
    assert body(found(hub)) == b"x" * 10
    hub.close()


async def test_a_subscriber_that_comes_while_a_long_log_is_packed_is_sent_all_of_it() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    talk = started(hub, "a")
    talk.stream.on_frames([b"x" * 100] * 100_000)
    talk.end()
    await passes(1)
    late, sink = found(hub), MemorySink(blocked=True)
    assert late is talk  # it is still being packed
    subscriber = late.stream.join(chunked=False)
    subscriber.attach(sink)
    await passes(100)
    sink.blocked = False
    subscriber.on_writable()
    await until(lambda: subscriber.ending is not None)
    assert len(sink.body) == 10_000_000
    await put_away(hub, "a")
    assert found(hub).stream.log.bytes == 10_000_000
    hub.close()


async def test_a_stream_that_cannot_be_described_stays_as_it_is_and_keeps_no_other_from_being_put_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    broken = started(hub, "a")
    broken.facts = fail  # type: ignore[method-assign]
    broken.end(size=3)
    started(hub, "b").end(size=4)
    await until(lambda: isinstance(hub.peek("b"), KeptStream))
    assert hub.find("a") is broken
    assert "a stream failed to be put away" in caplog.text
    hub.close()
    assert hub.statistics().kept_bytes == 0


async def test_the_collector_tracks_nothing_of_a_kept_stream() -> None:
    hub = new_hub(FOR_EVER, PLENTY)
    await kept(hub, "warm")
    gc.collect()
    before = len(gc.get_objects())
    for number in range(500):
        started(hub, f"{number}", key=f"{number}").end(size=10)
    await put_away(hub, "499")
    gc.collect()
    assert len(gc.get_objects()) - before < 50  # of 500 streams
    hub.close()
