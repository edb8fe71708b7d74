"""Shell: the takeover of a GET subscription's socket out of the HTTP server, for both ways.

After it a subscriber is a cursor and a socket; the connection, its transport and its request are gone. On aiohttp's
way the transport first sends the bytes that it still holds. A connection that cannot be taken over (TLS, HTTP/1.0,
platforms other than Linux) stays on its transport, behind a `TransportSink`.
"""

import asyncio
import socket
import sys
from typing import cast

from aiohttp import HttpVersion11, web

from gateway.delivery.sinks import TransportSink
from gateway.delivery.socket_sink import SocketSink
from gateway.delivery.watch import Watch
from gateway.http.admission import head_of
from gateway.http.client_connection import ClientProtocol
from gateway.http.event_stream import FinishedResponse
from gateway.http.subscriptions import EventsRequest, Subscription
from gateway.wire import http1

# --- aiohttp's way


def events_request(request: web.Request, name: str) -> EventsRequest:
    """What an aiohttp request asks for: the events of the stream or the feed of this name."""
    return EventsRequest(name, request.query, head_of(request), request.version >= HttpVersion11)


async def serve(request: web.Request, subscription: Subscription | None, watch: Watch | None) -> web.StreamResponse:
    """Send the beginning of the answer, and then what the subscriber's view makes of the log.

    None: the client has been sent everything, and is told so. Returns at once if the socket could be taken over, else
    when the subscriber has ended.
    """
    if subscription is None:
        return web.Response(status=204)  # after which an `EventSource` does not come again
    subscriber, first = subscription
    client = cast(ClientProtocol, request.protocol)
    client.watch(subscriber.on_hang_up)
    is_taken = False
    try:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        taken = await _take(transport) if watch is not None and _can_be_taken(request, transport) else None
        request.writer.output_size += len(first)  # so that aiohttp writes no error behind the head
        if taken is not None and watch is not None:
            client.unwatch()
            transport.abort()
            is_taken = True
            if not start_taken(taken, watch, subscription):
                raise ConnectionResetError("the kernel watches no more sockets")
        else:
            await _serve_on_transport(client, transport, subscription, chunked=request.version >= HttpVersion11)
        return FinishedResponse(keep_alive=False)
    finally:
        if not is_taken:
            client.unwatch()
            subscriber.end()


def _can_be_taken(request: web.Request, transport: asyncio.Transport) -> bool:
    return request.version >= HttpVersion11 and is_bare(transport)


async def _take(transport: asyncio.Transport) -> socket.socket | None:
    """A duplicate of the transport's socket, when the transport has sent its bytes. None: there is no descriptor."""
    while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0)  # the end of the connection's previous answer is still to be sent
    if transport.is_closing():
        raise ConnectionResetError("the client is gone")
    return duplicate(transport)


async def _serve_on_transport(
    client: ClientProtocol, transport: asyncio.Transport, subscription: Subscription, *, chunked: bool
) -> None:
    subscriber, first = subscription
    sink = TransportSink(transport, client.borrowed, body_end=http1.LAST_CHUNK if chunked else b"")
    client.feed_sink(sink, subscriber.on_writable)
    sink.write(first)
    subscriber.attach(sink)
    await subscriber.wait_closed()
    transport.close()  # closes after the unsent bytes have gone out


# --- both ways


def is_bare(transport: asyncio.Transport) -> bool:
    """Whether the gateway can write to the transport's socket itself, and the platform can watch the socket."""
    return (
        sys.platform == "linux"
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
    )


def duplicate(transport: asyncio.Transport) -> socket.socket | None:
    """A duplicate of the transport's socket; None if the process has no descriptor left."""
    try:
        taken: socket.socket = transport.get_extra_info("socket").dup()
    except OSError:
        return None
    return taken


def start_taken(taken: socket.socket, watch: Watch, subscription: Subscription) -> bool:
    """Send the beginning of the answer to a socket that was taken over, and then what the view makes of the log.

    False: the kernel watches no more sockets, so the subscriber has ended, and the client sees the connection close.
    """
    subscriber, first = subscription
    sink = SocketSink(taken, watch, body_end=http1.LAST_CHUNK)
    sink.write(first)
    try:
        sink.start(subscriber)
    except OSError:
        sink.abort()
        sink.close()
        subscriber.end()
        return False
    subscriber.attach(sink)
    return True
