"""A subscriber of a built-in feed gets the newest event and then the next events, but never an older event."""

import asyncio
import socket
from collections.abc import AsyncIterator

import orjson
import pytest

from gateway.config import StreamSettings
from gateway.delivery.socket_sink import SocketSink
from gateway.delivery.subscriber import Subscriber
from gateway.delivery.watch import Watch
from gateway.feeds.built_in import BuiltInFeed
from gateway.wire import sse

SECONDS = 0.002  # the pause between two events
PATIENCE = 10.0


class FeedClient:
    """A subscriber of the feed on a socket of its own, and its client."""

    def __init__(self, subscriber: Subscriber, watch: Watch) -> None:
        ours, self._client = socket.socketpair()
        ours.setblocking(False)
        self._client.setblocking(False)
        self._text = b""
        self._subscriber = subscriber
        sink = SocketSink(ours, watch, body_end=b"")
        sink.start(subscriber)
        subscriber.attach(sink)

    async def events(self, count: int) -> list[int]:
        """The numbers of the next `count` events, which are also their positions."""
        async with asyncio.timeout(PATIENCE):
            while self._text.count(b"\n\n") < count:
                self._text += await asyncio.get_running_loop().sock_recv(self._client, 1 << 16)
        *blocks, self._text = self._text.split(b"\n\n")
        self._text = b"".join(block + b"\n\n" for block in blocks[count:]) + self._text
        lines = [dict(line.split(b": ", 1) for line in block.split(b"\n")) for block in blocks[:count]]
        numbers = [orjson.loads(fields[b"data"])["n"] for fields in lines]
        assert [fields[b"id"] for fields in lines] == [b"e1-%d" % number for number in numbers]
        return numbers

    def leave(self) -> None:
        self._subscriber.end()
        self._client.close()


class Scene:
    """A feed whose events are numbers that count up, and its subscribers."""

    def __init__(self) -> None:
        self.made = 0
        self._watch = Watch()
        self.feed = BuiltInFeed("numbers", self._frame, SECONDS, StreamSettings(), epoch="e1")
        self._clients: list[FeedClient] = []

    def come(self, seq: int = 0) -> FeedClient:
        client = FeedClient(self.feed.join(chunked=False, seq=seq), self._watch)
        self._clients.append(client)
        return client

    async def come_late(self) -> FeedClient:
        """The first client, after it has read five events: the feed has made more events than it keeps."""
        client = self.come()
        await client.events(5)
        return client

    def close(self) -> None:
        self.feed.close(lambda: 1000)
        for client in self._clients:
            client.leave()
        self._watch.close()

    def _frame(self) -> bytes:
        self.made += 1
        return sse.frame(b'{"n":%d}' % (self.made - 1))


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


async def test_the_first_client_gets_an_event_at_once(scene: Scene) -> None:
    client = scene.come()
    assert scene.made == 1
    assert await client.events(3) == [0, 1, 2]


async def test_a_newcomer_gets_the_newest_event_and_then_each_that_comes(scene: Scene) -> None:
    await scene.come_late()
    newest = scene.made - 1
    newcomer = scene.come(seq=scene.feed.stream.log.first_seq)
    assert await newcomer.events(4) == list(range(newest, newest + 4))


async def test_a_client_that_wants_only_new_events_gets_no_older_event(scene: Scene) -> None:
    await scene.come_late()
    made = scene.made
    assert await scene.come(seq=scene.feed.stream.log.next_seq).events(2) == [made, made + 1]


@pytest.mark.parametrize("behind", [1, 2, 4])
async def test_a_client_that_comes_again_gets_the_newest_event_without_the_events_between(
    scene: Scene, behind: int
) -> None:
    await scene.come_late()
    newest = scene.made - 1
    assert await scene.come(seq=scene.made - behind).events(2) == [newest, newest + 1]


async def test_after_an_idle_time_the_first_event_is_a_new_one(scene: Scene) -> None:
    (await scene.come_late()).leave()
    assert scene.feed.describe()["state"] == "idle"
    made = scene.made
    client = scene.come(seq=scene.feed.stream.log.first_seq)
    assert scene.made == made + 1
    assert await client.events(2) == [made, made + 1]
