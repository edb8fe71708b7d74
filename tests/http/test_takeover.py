"""A subscription's socket is taken out of aiohttp behind its head; what cannot be taken stays on its transport."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from gateway.config import StreamSettings
from gateway.delivery.subscriber import Subscriber
from gateway.delivery.watch import Watch
from gateway.endings import Ending
from gateway.http.capacity import ConnectionCount
from gateway.http.client_connection import ClientProtocol
from gateway.http.event_stream import EventStreamHead
from gateway.http.request_parser import PlainRequest, Unparsed
from gateway.http.subscriptions import Subscription
from gateway.http.takeover import serve
from gateway.stream.stream import Stream
from gateway.stream.view import Framing
from gateway.turn_share import TurnShare
from gateway.wire import http1

from .loopback import Peer, connected, until

LARGE = b"x" * (4 << 20)  # more than a socket pair holds
PRELUDE = b": connected\n"


class NoFastWay:
    """Leaves every request to aiohttp."""

    def parse(self, data: bytes) -> PlainRequest | Unparsed:
        return Unparsed.NOT_PLAIN

    def answer(self, client: ClientProtocol, request: PlainRequest) -> bool:
        return False


class Silent:
    """A producer that does nothing: the test itself appends the frames."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def stop(self, ending: Ending) -> None: ...


class Served:
    """A stream, and the connection of one client that subscribes to it."""

    def __init__(self, *, takes_over: bool = True) -> None:
        self.stream = Stream("s", "e", StreamSettings(), Silent())
        self.count = ConnectionCount()
        self.watch = Watch() if takes_over else None
        self.subscribers: list[Subscriber] = []

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Peer, ClientProtocol]]:
        loop = asyncio.get_running_loop()

        def build(server: web.Server) -> ClientProtocol:
            return ClientProtocol(server, self.count, NoFastWay(), TurnShare(), loop=loop, access_log=None)

        try:
            async with connected(build, self._answer) as opened:
                yield opened
        finally:
            if self.stream.ending is None:
                self.stream.close(Ending.STOPPED, [])
            if self.watch is not None:
                self.watch.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/large":
            return web.Response(body=LARGE)
        assert isinstance(request, web.BaseRequest)
        chunked = request.version >= (1, 1)
        subscriber = self.stream.join(chunked=chunked, framing=Framing.EVENTS)
        self.subscribers.append(subscriber)
        first = http1.encode_chunk(PRELUDE) if chunked else PRELUDE
        head = EventStreamHead({"x-stream-id": "s"}, chunked=chunked, keep_alive=False).encode({})
        return await serve(request, Subscription(subscriber, head + first), self.watch)  # type: ignore[arg-type]


def subscription(version: str = "1.1") -> bytes:
    return f"GET /events HTTP/{version}\r\nHost: a\r\n\r\n".encode()


def frame(number: int) -> bytes:
    return b"data: %d\n\n" % number


@pytest.mark.parametrize("takes_over", [True, False], ids=["taken over", "on its transport"])
async def test_a_subscriber_gets_the_head_the_prelude_and_every_frame_in_order(takes_over: bool) -> None:
    served = Served(takes_over=takes_over)
    served.stream.on_frames([frame(0)])
    async with served.open() as (peer, _):
        await peer.send(subscription())
        received = await peer.until(b"data: 0")
        assert received.startswith(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
        assert b"x-stream-id: s\r\n" in received
        assert received.index(PRELUDE) < received.index(b"data: 0")
        for number in range(1, 20):
            served.stream.on_frames([frame(number)])
            assert b"data: %d\n" % number in await peer.until(b"data: %d\n" % number)
        served.stream.close(Ending.COMPLETED, [])
        assert (await peer.rest()).endswith(http1.LAST_CHUNK)
        assert served.subscribers[0].ending is Ending.COMPLETED


async def test_a_connection_that_was_taken_over_is_aiohttps_no_more() -> None:
    served = Served()
    async with served.open() as (peer, protocol):
        await peer.send(subscription())
        await peer.until(PRELUDE)
        await until(lambda: served.count.total == 0)
        assert protocol.transport is None
        assert served.watch is not None
        assert len(served.watch) == 1
        served.stream.on_frames([frame(1)])
        await peer.until(b"data: 1")


async def test_a_connection_that_stays_counts_until_its_subscriber_ends() -> None:
    served = Served(takes_over=False)
    async with served.open() as (peer, _):
        await peer.send(subscription())
        await peer.until(PRELUDE)
        assert served.count.total == 1
        served.stream.close(Ending.COMPLETED, [])
        await peer.rest()
        await until(lambda: served.count.total == 0)


async def test_a_body_without_chunks_ends_with_its_connection() -> None:
    served = Served()
    async with served.open() as (peer, _):
        await peer.send(subscription("1.0"))
        received = await peer.until(PRELUDE)
        assert received.startswith(b"HTTP/1.0 200 OK\r\n")
        assert b"chunked" not in received
        assert served.count.total == 1
        served.stream.on_frames([frame(1)])
        served.stream.close(Ending.COMPLETED, [])
        rest = await peer.rest()
        assert rest.startswith(b"data: 1\nid: e-0\n\n")
        assert http1.LAST_CHUNK not in rest


async def test_the_answer_before_a_subscription_goes_out_whole_in_front_of_its_head() -> None:
    served = Served()
    async with served.open() as (peer, _):
        await peer.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n" + subscription())
        received = await peer.until(PRELUDE)
        first, _, rest = received.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % len(LARGE) in first
        assert rest.startswith(LARGE + b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("takes_over", [True, False], ids=["taken over", "on its transport"])
async def test_a_client_that_hangs_up_is_a_subscriber_that_left(takes_over: bool) -> None:
    served = Served(takes_over=takes_over)
    async with served.open() as (peer, _):
        await peer.send(subscription())
        await peer.until(PRELUDE)
        peer.socket.close()
        await until(lambda: served.subscribers[0].ending is Ending.LEFT)
