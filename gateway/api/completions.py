"""Shell: `POST /v1/chat/completions`, streamed and whole."""

import secrets
from collections.abc import Mapping
from typing import Any, cast

from aiohttp import HttpVersion11, web

from gateway import clock
from gateway.api.body import read_body
from gateway.api.chat_request import ChatRequest, parse
from gateway.api.context import CONTEXT, Context
from gateway.api.envelope import request_id_of
from gateway.api.protocol import ClientProtocol
from gateway.errors import Ending, InvalidParameter, StreamAborted
from gateway.relay.relay import Relay, UsageEvent
from gateway.relay.whole import WholeRelay
from gateway.routing.catalog import Candidate
from gateway.routing.dispatcher import Call
from gateway.stream.sink import TransportSink
from gateway.stream.subscriber import Subscriber

_STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
_USAGE_EVENTS = ("auto", "event", "finish", "none")


async def create_completion(request: web.Request) -> web.StreamResponse:
    """Validate, find the upstreams, relay."""
    context = request.app[CONTEXT]
    chat, body = parse(await read_body(request))
    candidates = [one for model_id in chat.model_ids() for one in context.catalog.candidates(model_id)]
    usage_event = _usage_event(request, chat, context.config.stream.usage_event)
    call = Call(
        request_id=request_id_of(request),
        model_id=chat.model_ids()[0],
        body=body,
        streamed=bool(chat.stream),
        created=int(clock.wall_time()),
        hold_finish=usage_event == "finish",
        warnings=_warnings(chat.routing_options()),
    )
    if call.streamed:
        return await _stream(request, context, call, candidates, usage_event)
    return await _whole(request, context, call, candidates)


class _EventStream(web.StreamResponse):
    """A response whose body is written by a sink, its end included."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write: `[DONE]` and the last chunk went out in one piece."""


async def _stream(
    request: web.Request, context: Context, call: Call, candidates: list[Candidate], usage_event: UsageEvent
) -> web.StreamResponse:
    client = cast(ClientProtocol, request.protocol)
    limits = context.config.stream
    relay = Relay(
        call,
        candidates,
        stream_id=f"st_{secrets.token_urlsafe(18)}",
        limits=limits,
        usage_event=usage_event,
        settle=context.settle,
        tasks=context.tasks,
    )
    chunked = request.version >= HttpVersion11
    reader = relay.stream.join(chunked=chunked)
    client.watch(reader.leave)
    context.hub.add(relay.stream)
    try:
        relay.start()
        committed = await relay.wait_committed(limits.commit_after_ms / 1000)
        response = _EventStream(headers={**_STREAM_HEADERS, "x-stream-id": relay.stream.id, **relay.answer.headers()})
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
        reader.leave()


def _attach(client: ClientProtocol, reader: Subscriber, request: web.Request) -> None:
    if request.transport is None or request.transport.is_closing():
        raise ConnectionResetError("the client is gone")
    sink = TransportSink(request.transport)
    client.feed_sink(sink, reader.on_writable)
    reader.attach(sink)


async def _whole(
    request: web.Request, context: Context, call: Call, candidates: list[Candidate]
) -> web.StreamResponse:
    client = cast(ClientProtocol, request.protocol)
    relay = WholeRelay(call, candidates, settle=context.settle, tasks=context.tasks)
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


def _usage_event(request: web.Request, chat: ChatRequest, default: str) -> UsageEvent:
    """The usage policy of DESIGN.md section 5, `auto` resolved for this client."""
    policy = request.headers.get("X-Usage-Event", default)
    if policy not in _USAGE_EVENTS:
        raise InvalidParameter(
            f"X-Usage-Event must be one of {', '.join(_USAGE_EVENTS)}, not {policy[:50]!r}", param="X-Usage-Event"
        )
    if policy != "auto":
        return cast(UsageEvent, policy)
    auriko = request.headers.get("User-Agent", "").lower().startswith("auriko")
    return "event" if chat.wants_usage() or chat.routing_options() or auriko else "none"


def _warnings(options: Mapping[str, Any]) -> tuple[Mapping[str, str], ...]:
    """What the client asked of the routing and does not get: told, never silently ignored (CONTRACT.md 4.7)."""
    return tuple(
        {
            "type": "unsupported_feature",
            "code": "routing_option_ignored",
            "message": f"the routing option {name[:60]!r} is accepted but not acted on",
        }
        for name in options
    )
