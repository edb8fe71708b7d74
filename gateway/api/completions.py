"""Shell: `POST /v1/chat/completions`, streamed and whole."""

from typing import cast

from aiohttp import HttpVersion11, web

from gateway.api.context import CONTEXT, Context
from gateway.api.opening import Opening, opening_of
from gateway.api.protocol import ClientProtocol
from gateway.api.takeover import STREAM_HEADERS, EventStream
from gateway.errors import Ending, StreamAborted
from gateway.relay.whole import WholeRelay
from gateway.stream.sink import TransportSink
from gateway.stream.subscriber import Subscriber


async def create_completion(request: web.Request) -> web.StreamResponse:
    """Validate, find the upstreams, relay."""
    context = request.app[CONTEXT]
    opening = await opening_of(request, context)
    if opening.streamed:
        return await _stream(request, context, opening)
    return await _whole(request, context, opening)


async def _stream(request: web.Request, context: Context, opening: Opening) -> web.StreamResponse:
    client = cast(ClientProtocol, request.protocol)
    chunked = request.version >= HttpVersion11
    relay = opening.open()
    reader = relay.stream.join(chunked=chunked)
    client.watch(reader.on_hang_up)
    try:
        committed = await relay.wait_committed(context.config.stream.commit_after_ms / 1000)
        relay.announced = True
        response = EventStream(headers={**STREAM_HEADERS, "x-stream-id": relay.id, **relay.answer.headers()})
        if not chunked:
            response.force_close()  # only the end of the connection tells an HTTP/1.0 client the end of the body
        await response.prepare(request)
        _attach(client, reader, request)
        if not committed:
            reader.keep_alive()
        if await reader.wait_closed() is not Ending.COMPLETED:
            raise ConnectionResetError("the reader is gone")
        return response
    except StreamAborted:
        if reader.ending is None:
            raise
        raise ConnectionResetError("the client is gone") from None
    finally:
        client.unwatch()
        reader.end()


def _attach(client: ClientProtocol, reader: Subscriber, request: web.Request) -> None:
    if request.transport is None or request.transport.is_closing():
        raise ConnectionResetError("the client is gone")
    sink = TransportSink(request.transport)
    client.feed_sink(sink, reader.on_writable)
    reader.attach(sink)


async def _whole(request: web.Request, context: Context, opening: Opening) -> web.StreamResponse:
    client = cast(ClientProtocol, request.protocol)
    lease = opening.lease()
    settle = opening.settled(lease)
    relay = WholeRelay(opening.call, opening.route, settle=settle, tasks=context.tasks, lease=lease)
    gone = StreamAborted("the client is gone")
    client.watch(lambda: relay.stop_with(gone, Ending.ABANDONED))
    context.hub.add(relay)
    try:
        answer = await relay.fetch()
    except StreamAborted as error:
        if error is not gone:
            raise
        raise ConnectionResetError("the client is gone") from None
    finally:
        client.unwatch()
    return web.Response(body=answer.content, content_type="application/json", headers=answer.headers)
