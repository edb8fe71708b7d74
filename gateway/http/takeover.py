"""Shell: takes the socket of a GET subscription out of the HTTP server, once it holds nothing to be sent.

From then on a subscriber is a cursor and a socket; aiohttp's connection, request and task go. What cannot be taken
over (TLS, HTTP/1.0, other platforms than Linux) stays on its transport behind the same `Sink`.
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
from gateway.http.admission import common_headers, requester_of
from gateway.http.aiohttp_seam import ClientProtocol
from gateway.http.context import CONTEXT
from gateway.http.event_stream import EventStream, FinishedResponse
from gateway.wire import http1


async def serve_events(
    request: web.Request, headers: Mapping[str, str], reader: Subscriber, prelude: bytes, watch: Watch | None
) -> web.StreamResponse:
    """Send the head, the prelude, and from then on what the reader's view makes of the log.

    Returns at once if the socket could be taken over, else when the reader has ended.
    """
    client = cast(ClientProtocol, request.protocol)
    client.watch(reader.on_hang_up)
    common = common_headers(requester_of(request), request.app[CONTEXT].cors)
    # The connection serves nothing else (RFC 9112 section 9.6).
    events = EventStream(common, chunked=request.version >= HttpVersion11, keep_alive=False)
    taken = False
    try:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        sink = await _take(transport, watch) if watch is not None and can_be_taken(request, transport) else None
        first = events.head(headers) + prelude
        request.writer.output_size += len(first)  # so that nobody tells an error any more
        if sink is not None:
            client.unwatch()
            sink.write(first)
            try:
                sink.start(reader)
            except OSError:
                sink.abort()
                sink.close()
                raise ConnectionResetError("the kernel watches no more sockets") from None
            taken = True
            reader.attach(sink)
        else:
            await _serve_on_transport(client, transport, reader, first, events.chunked)
        return FinishedResponse(keep_alive=False)
    finally:
        if not taken:
            client.unwatch()
            reader.end()


def can_be_taken(request: web.Request, transport: asyncio.Transport) -> bool:
    """Whether the bytes on the wire are ours to write, and the platform can watch the socket."""
    return (
        sys.platform == "linux"
        and request.version >= HttpVersion11
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
    )


async def _take(transport: asyncio.Transport, watch: Watch) -> SocketSink | None:
    """The socket as a sink, the transport closed: two descriptors of one socket, of which one stays.

    None when there is no descriptor left for the moment in which there are two.
    """
    while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0)  # the end of an answer to the request before it
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
    client: ClientProtocol, transport: asyncio.Transport, reader: Subscriber, first: bytes, chunked: bool
) -> None:
    sink = TransportSink(transport, body_end=http1.LAST_CHUNK if chunked else b"")
    client.feed_sink(sink, reader.on_writable)
    sink.write(first)
    reader.attach(sink)
    await reader.wait_closed()
    transport.close()  # after what is still unsent
