"""A feed whose source has ended begins again where it was; a closed one sends its subscribers away."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.config import FeedSettings, StreamSettings
from gateway.endings import Ending
from gateway.feeds.source import ENDED_SECONDS, SourceFeed
from gateway.feeds.source_request import Address, SourceRequests
from gateway.tasks import Tasks
from gateway.upstream.dial import Dialer, DialLimits
from tests.delivery.memory import MemorySink
from tests.kit.raw_upstream import RawUpstream
from tests.kit.scripted_upstream import STREAM_HEAD
from tests.kit.waiting import until

NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
GAP = b': rivergate\nevent: gap\ndata: {"missed":null}\nid: e1-%d\n\n'


@asynccontextmanager
async def feed_of(answer: Callable[[bytes], bytes]) -> AsyncIterator[tuple[SourceFeed, RawUpstream]]:
    source = RawUpstream(answer)
    requests = SourceRequests(
        Address.parse(source.base_url), lambda origin: Dialer(origin, DialLimits(5000, 5000), None, None)
    )
    tasks = Tasks()
    settings = FeedSettings(name="t", url=source.base_url, linger_seconds=0)
    feed = SourceFeed(settings, StreamSettings(), requests, epoch="e1", jitter=lambda: 0.5, tasks=tasks)
    try:
        yield feed, source
    finally:
        feed.close(lambda: 1000)
        await tasks.close()
        source.close()


def joined(feed: SourceFeed, seq: int) -> MemorySink:
    sink = MemorySink()
    feed.join(chunked=False, seq=seq).attach(sink)
    return sink


async def test_a_source_that_has_ended_is_asked_again_for_a_new_subscriber_after_a_while() -> None:
    answers = [STREAM_HEAD + b"retry: 10\n\nid: 1\ndata: 1\n\n", NO_CONTENT, STREAM_HEAD + b"id: 2\ndata: 2\n\n"]
    async with feed_of(lambda request: answers.pop(0) if len(answers) > 1 else answers[0]) as (feed, source):
        first = joined(feed, 0)
        await until(lambda: feed.stream.ending is Ending.COMPLETED)
        end = b'event: end\ndata: {"ending":"completed"}\nid: e1-1\n\n'
        assert first.body == b"source-id: 1\ndata: 1\nid: e1-0\n\n" + end
        feed.reopen()
        feed.reopen(time.time() + ENDED_SECONDS - 5)
        assert feed.describe()["state"] == "ended"
        assert joined(feed, 0).body == first.body
        feed.reopen(time.time() + ENDED_SECONDS + 1)
        assert (feed.describe()["state"], feed.stream.ending) == ("idle", None)
        again = joined(feed, 0)  # a client that has seen the end goes on behind the gap, and misses nothing
        await until(lambda: b"data: 2" in again.body)
        last = b"source-id: 2\ndata: 2\nid: e1-2\n\n"
        assert again.body == b"source-id: 1\ndata: 1\nid: e1-0\n\n" + GAP % 1 + last
        assert b"Last-Event-ID: 1\r\n" in source.requests[2]


async def test_what_is_saved_of_a_feed_names_no_id_that_no_request_can_carry() -> None:
    async with feed_of(lambda _: STREAM_HEAD + b"id: \x01\ndata: 1\n\n") as (feed, _):
        sink = joined(feed, 0)
        await until(lambda: sink.body)
        state = feed.state_of_ring()
    assert (state.last_id, state.frames[:1]) == (b"", [b"source-id: \x01\ndata: 1\n\n"])


async def test_a_feed_that_is_closed_sends_its_subscribers_away_and_takes_none() -> None:
    async with feed_of(lambda _: STREAM_HEAD + b"data: 1\n\n") as (feed, _):
        sink = joined(feed, 0)
        await until(lambda: sink.body)
        feed.close(lambda: 1234)
        assert sink.body.endswith(b"retry: 1234\n")
        late = feed.join(chunked=False, seq=0)
        assert (late.ending, feed.describe()["state"]) == (Ending.DRAINED, "closed")
