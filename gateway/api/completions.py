"""Shell: `POST /v1/chat/completions`, streamed and whole."""

from functools import partial
from typing import cast

from aiohttp import web

from gateway.api.context import CONTEXT, Context, take_seat
from gateway.api.event_stream import EventStream
from gateway.api.opening import Opening, opening_of
from gateway.api.protocol import ClientProtocol
from gateway.errors import Ending, StreamAborted
from gateway.relay.relay import Relay
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
    relay = opening.open()
    leave = take_seat(context, relay.stream, relay.owner) if opening.joins else None
    events = EventStream(request, keep_alive=True)
    reader = relay.stream.join(chunked=events.chunked)
    reader.when_ended(leave)
    sink = TransportSink(client.transport) if client.transport is not None else None
    client.watch(partial(_on_gone, reader, sink))
    begin = partial(_begin, request, events, relay, reader, sink)
    try:
        relay.when_committed(begin)
        if not await relay.wait_committed(context.config.stream.commit_after_ms / 1000):
            begin()
            reader.keep_alive()
        if await reader.wait_closed() is not Ending.COMPLETED:
            raise ConnectionResetError("the reader is gone")
        return events.written()
    except StreamAborted:
        if reader.ending is None:
            raise
        raise ConnectionResetError("the client is gone") from None
    finally:
        client.unwatch()
        reader.end()
        if sink is not None:
            sink.close()


def _on_gone(reader: Subscriber, sink: TransportSink | None) -> None:
    """The client has hung up: its socket is let go of now, however long its stream still has others to wait for."""
    reader.on_hang_up()
    if sink is not None:
        sink.close()


def _begin(
    request: web.Request, events: EventStream, relay: Relay, reader: Subscriber, sink: TransportSink | None
) -> None:
    """The head, and what there is, to the client: in the very call that brought the first content, or before it."""
    if reader.sink is not None:
        return  # it has begun, since the content was long in coming
    relay.announced = True
    if sink is None or request.transport is None or request.transport.is_closing():
        reader.end()
        return
    sink.begin_with(events.head({"x-stream-id": relay.id, **relay.headers()}))
    cast(ClientProtocol, request.protocol).feed_sink(sink, reader.on_writable)
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
