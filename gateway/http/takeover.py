"""Shell: the takeover of a GET subscription's socket out of aiohttp, as soon as its transport has sent all its bytes.

After it a subscriber is a cursor and a socket; aiohttp's connection, request and task are gone. A connection that
cannot be taken over (TLS, HTTP/1.0, platforms other than Linux) stays on its transport, behind a `TransportSink`.
"""

import asyncio
import sys
from collections.abc import Mapping
from typing import cast

from aiohttp import HttpVersion11, web

from gateway.delivery.sinks import TransportSink
from gateway.delivery.socket_sink import SocketSink
from gateway.delivery.subscriber import Subscriber
from gateway.delivery.watch import Watch
from gateway.http.client_connection import ClientProtocol
from gateway.http.event_stream import EventStreamHead, FinishedResponse
from gateway.wire import http1


async def serve_events(
    request: web.Request, headers: Mapping[str, str], subscriber: Subscriber, prelude: bytes, watch: Watch | None
) -> web.StreamResponse:
    """Send the head with these headers, the prelude, and then what the subscriber's view makes of the log.

    Returns at once if the socket could be taken over, else when the subscriber has ended.
    """
    client = cast(ClientProtocol, request.protocol)
    client.watch(subscriber.on_hang_up)
    # The connection serves no other request (RFC 9112 section 9.6).
    head = EventStreamHead(headers, chunked=request.version >= HttpVersion11, keep_alive=False)
    taken = False
    try:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        sink = await _take(transport, watch) if watch is not None and can_be_taken(request, transport) else None
        first = head.encode({}) + prelude
        request.writer.output_size += len(first)  # so that aiohttp writes no error behind the head
        if sink is not None:
            client.unwatch()
            sink.write(first)
            try:
                sink.start(subscriber)
            except OSError:
                sink.abort()
                sink.close()
                raise ConnectionResetError("the kernel watches no more sockets") from None
            taken = True
            subscriber.attach(sink)
        else:
            await _serve_on_transport(client, transport, subscriber, first, head.chunked)
        return FinishedResponse(keep_alive=False)
    finally:
        if not taken:
            client.unwatch()
            subscriber.end()


def can_be_taken(request: web.Request, transport: asyncio.Transport) -> bool:
    """Whether the gateway can write to the socket itself, and the platform can watch the socket."""
    return (
        sys.platform == "linux"
        and request.version >= HttpVersion11
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
    )


async def _take(transport: asyncio.Transport, watch: Watch) -> SocketSink | None:
    """Close the transport, and return a sink to a duplicate of its socket.

    For a moment the socket has two descriptors; None if the process has no descriptor left.
    """
    while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0)  # the end of the connection's previous answer is still to be sent
    if transport.is_closing():
        raise ConnectionResetError("the client is gone")
    try:
        taken = transport.get_extra_info("socket").dup()
    except OSError:
        return None
    sink = SocketSink(taken, watch, body_end=http1.LAST_CHUNK)
    transport.abort()
    return sink


async def _serve_on_transport(
    client: ClientProtocol, transport: asyncio.Transport, subscriber: Subscriber, first: bytes, chunked: bool
) -> None:
    sink = TransportSink(transport, client.borrowed, body_end=http1.LAST_CHUNK if chunked else b"")
    client.feed_sink(sink, subscriber.on_writable)
    sink.write(first)
    subscriber.attach(sink)
    await subscriber.wait_closed()
    transport.close()  # closes after the unsent bytes have gone out
