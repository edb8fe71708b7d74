"""A feed that clients publish to: what it does by itself, without HTTP."""

import pytest

from gateway.config import FeedSettings, StreamSettings
from gateway.endings import Ending
from gateway.errors import Draining
from gateway.feeds.publication import NewEvent
from gateway.feeds.published import PublishedFeed
from gateway.feeds.rings import FeedState


def feed(state: FeedState | None = None, **settings: object) -> PublishedFeed:
    config = FeedSettings.model_validate({"name": "orders", "publish": True, **settings})
    return PublishedFeed(config, StreamSettings(), epoch="e1", state=state)


def event(text: str, known: str | None = None) -> NewEvent:
    return NewEvent(f"data: {text}\n\n".encode(), known)


async def test_events_are_kept_without_a_subscriber_and_each_id_once() -> None:
    orders = feed()
    receipts = orders.publish([event("1", "a"), event("2"), event("3", "a"), event("4", "b")], 1000.5)
    assert receipts == [(0, False), (1, False), (0, True), (2, False)]
    assert orders.publish([event("again", "b")], 1001.0) == [(2, True)]
    assert orders.stream.log.frames() == [event(text).frame for text in "124"]
    assert (orders.taken, orders.duplicates) == (3, 2)
    told = orders.describe()
    assert (told["state"], told["published"], told["events"], told["last_published_at"]) == ("open", True, 3, 1000.5)


async def test_the_next_process_goes_on_with_the_ring_the_ids_and_the_time() -> None:
    orders = feed()
    orders.publish([event("1", "a"), event("2", "b")], 1000.0)
    then = feed(orders.state_of_ring())
    assert then.stream.log.epoch == "e1"
    assert then.publish([event("2", "b"), event("3", "c")], 2000.0) == [(1, True), (2, False)]
    fewer = feed(orders.state_of_ring(), remember_ids=1)
    assert fewer.publish([event("1", "a")], 2000.0) == [(2, False)]


async def test_a_feed_that_is_closed_takes_nothing_and_sends_subscribers_to_the_next_process() -> None:
    orders = feed()
    orders.close(lambda: 1000)
    with pytest.raises(Draining):
        orders.publish([event("1", "a")], 1000.0)
    assert orders.state_of_ring().ids == {}
    assert orders.describe()["state"] == "closed"
    assert orders.join(chunked=True, seq=0).ending is Ending.DRAINED


async def test_an_event_is_at_most_two_mebibytes_whatever_the_settings_of_sources_allow() -> None:
    assert feed().max_event_bytes == 2 << 20
    assert feed(max_event_bytes=5000).max_event_bytes == 5000
