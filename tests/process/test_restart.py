"""A restart under load, the socket in the hands of the manager: nobody is refused, nothing is lost or repeated."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.async_http import read_chunks, read_head
from tests.kit.completions import ENDLESS, MODEL, QUICK, body, text
from tests.kit.configuration import KEYS, configuration, feed
from tests.kit.event_source import Audience, EventSource
from tests.kit.http_client import Answer, RawClient
from tests.kit.service_manager import Unit
from tests.kit.sse_client import Subscriber
from tests.kit.upstreams import Upstream, Upstreams

pytestmark = pytest.mark.deep

SUBSCRIBERS = 500
COMPLETIONS = 50
TOKENS = 100
SLOW = {"ttft_ms": 5, "gap_ms": 50, "tokens": TOKENS}  # the first completion still runs when the last has begun
DRAIN_SECONDS = 60
TICKER = "/v1/feeds/ticker/events"


@pytest.fixture(scope="module")
def source() -> Iterator[Upstream]:
    providers = Upstreams()
    yield providers.start("source")
    providers.close()


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "rivergate.db"


@pytest.fixture
def unit(tmp_path: Path, storage: Path, source: Upstream) -> Iterator[Unit]:
    sections = f'[server]\nlisten = "127.0.0.1:0"\ndrain_seconds = {DRAIN_SECONDS}\n[storage]\npath = "{storage}"\n'
    unit = Unit(tmp_path, configuration([(source, [MODEL])], sections) + feed("ticker", source, "gap_ms=100"), KEYS)
    yield unit
    unit.close()


def numbers(subscriber: EventSource) -> list[int]:
    return [event.json["n"] for event in subscriber.events if event.name == "tick"]


def newest(subscriber: EventSource) -> int:
    return next((event.json["n"] for event in reversed(subscriber.events) if event.name == "tick"), 0)


async def completion(port: int, simulate: dict[str, Any], started: asyncio.Event | None = None) -> Answer:
    """A whole streamed completion; sets `started` when its head has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        content = json.dumps(body(simulate, stream=True)).encode()
        fields = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        writer.write(f"POST /v1/chat/completions HTTP/1.1\r\n{fields}\r\n".encode() + content)
        status, _ = await read_head(reader)
        if started is not None:
            started.set()
        chunks = await read_chunks(reader) if status == 200 else []
        return Answer(status, {}, b"".join(chunks))
    finally:
        writer.close()


async def restart(unit: Unit) -> None:
    """Wait until the process has ended, and then start the next process, as a manager does."""
    status = await asyncio.to_thread(unit.process.process.wait, DRAIN_SECONDS)
    assert status == 0, unit.process.errors()
    await asyncio.to_thread(unit.start)


@pytest.mark.timeout(300)
async def test_over_a_restart_every_subscriber_sees_every_event_once_and_every_completion_is_whole(
    unit: Unit, storage: Path
) -> None:
    old = unit.process
    async with Audience(unit.port, TICKER, SUBSCRIBERS) as audience:
        await audience.wait_until(lambda subscriber: newest(subscriber) >= 5, "live events")
        heads = [asyncio.Event() for _ in range(COMPLETIONS)]
        running = [asyncio.create_task(completion(unit.port, SLOW, head)) for head in heads]
        await asyncio.gather(*(head.wait() for head in heads))
        old.process.send_signal(signal.SIGTERM)
        draining = await asyncio.to_thread(old.wait_for_event, "draining")
        assert draining["streams"] == COMPLETIONS
        waiting = [asyncio.create_task(completion(unit.port, QUICK)) for _ in range(COMPLETIONS)]
        await restart(unit)
        answers = await asyncio.gather(*running)
        later = await asyncio.gather(*waiting)
        seen = max(newest(one) for one in audience.members)
        await audience.wait_until(lambda subscriber: newest(subscriber) >= seen + 10, "events of the next process")
        assert not storage.with_name(storage.name + ".feeds").exists()

    assert {(answer.status, answer.text()) for answer in answers} == {(200, text(TOKENS))}
    assert {(answer.status, answer.text()) for answer in later} == {(200, text(8))}
    assert {answer.events()[-1] for answer in (*answers, *later)} == {"[DONE]"}
    for subscriber in audience.members:
        assert (subscriber.connections, subscriber.refused) == (2, 0)
        assert {event.name for event in subscriber.events} == {"tick"}
        assert numbers(subscriber) == list(range(1, newest(subscriber) + 1))
        assert [event.seq for event in subscriber.events] == list(range(len(subscriber.events)))
    assert len({event.epoch for one in audience.members for event in one.events}) == 1
    endings = [line["ending"] for line in old.lines() if line["event"] == "completion ended"]
    assert endings == ["completed"] * COMPLETIONS


async def test_positions_stay_good_over_several_restarts(unit: Unit) -> None:
    async with Audience(unit.port, TICKER, 5) as audience:
        for _ in range(2):
            seen = max(newest(one) for one in audience.members)
            await audience.wait_until(lambda subscriber, seen=seen: newest(subscriber) >= seen + 3, "live events")  # type: ignore[misc]
            unit.process.process.send_signal(signal.SIGTERM)
            await restart(unit)
        seen = max(newest(one) for one in audience.members)
        await audience.wait_until(lambda subscriber: newest(subscriber) >= seen + 3, "events of the last process")
    for subscriber in audience.members:
        assert numbers(subscriber) == list(range(1, newest(subscriber) + 1))


async def test_after_a_crash_subscribers_are_told_that_it_begins_anew(unit: Unit, storage: Path) -> None:
    async with Audience(unit.port, TICKER, 50) as audience:
        await audience.wait_until(lambda subscriber: newest(subscriber) >= 5, "live events")
        unit.process.process.kill()
        await asyncio.to_thread(unit.process.process.wait)
        assert not storage.with_name(storage.name + ".feeds").exists()
        await asyncio.to_thread(unit.start)
        anew = {"reset", "tick"}
        await audience.wait_until(lambda subscriber: {event.name for event in subscriber.events} == anew, "a reset")
        await audience.wait_until(lambda subscriber: subscriber.events[-1].name == "tick", "events after the reset")
    for subscriber in audience.members:
        names = [event.name for event in subscriber.events]
        at = names.index("reset")
        assert names.count("reset") == 1
        before, after = subscriber.events[:at], subscriber.events[at + 1 :]
        assert {event.epoch for event in before}.isdisjoint(event.epoch for event in after)
        assert subscriber.events[at].json["epoch"] == after[0].epoch
        assert [event.seq for event in after] == list(range(after[0].seq, after[0].seq + len(after)))
        assert subscriber.refused == 0


def test_a_feed_that_is_asked_for_while_draining_sends_its_subscribers_to_the_next_process(
    unit: Unit, source: Upstream
) -> None:
    """The request comes on a connection from before the stop: rings that were saved by then must not change."""
    with Subscriber(unit.port, TICKER) as subscriber, RawClient(unit.port) as running, RawClient(unit.port) as kept:
        kept.request("GET", "/readyz")
        assert kept.answer().status == 200
        subscriber.events(3)
        running.post(body(ENDLESS, stream=True))
        running.head()
        unit.process.process.send_signal(signal.SIGTERM)
        assert {event.name for event in subscriber.all_events()} <= {"tick"}
        feeds = source.statistics().requests
        kept.request("GET", TICKER, Accept="text/event-stream")
        assert kept.head().status == 200
        assert b"retry: " in kept.rest()
        assert source.statistics().requests == feeds
        running.hang_up("rst")
    assert unit.process.wait() == 0


def test_a_start_that_fails_leaves_the_rings_to_the_next_one(unit: Unit, storage: Path) -> None:
    with Subscriber(unit.port, TICKER) as subscriber:
        last = subscriber.events(3)[-1]
        unit.process.process.send_signal(signal.SIGTERM)
        last = (subscriber.all_events() or [last])[-1]
    assert unit.process.wait() == 0
    kept = storage.with_name(storage.name + ".feeds").read_bytes()
    good = unit.file.read_text()
    unit.file.write_text(
        good.replace("[server]", '[server]\ntls_cert_file = "unit.toml"\ntls_key_file = "unit.toml"')
    )
    with pytest.raises(AssertionError, match="ended with"):
        unit.start()
    assert storage.with_name(storage.name + ".feeds").read_bytes() == kept
    unit.file.write_text(good)
    unit.start()
    with Subscriber(unit.port, TICKER, Last_Event_ID=last.id or "") as back:
        event = back.events(1)[0]
    assert (event.epoch, event.seq) == (last.epoch, last.seq + 1)
