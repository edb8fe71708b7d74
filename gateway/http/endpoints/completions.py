"""Shell: a dialect's `POST` by the framework: whole answers, and the streams that the fast path leaves to it."""

import asyncio
import copy
from typing import cast

from aiohttp import HttpVersion11, web

from gateway.completion.whole import WholeCompletion
from gateway.dialects.dialect import Dialect
from gateway.endings import Ending
from gateway.errors import StreamAborted
from gateway.http.aiohttp_seam import ClientProtocol
from gateway.http.context import CONTEXT, Context
from gateway.http.event_stream import FinishedResponse
from gateway.http.opening import Opening, opening_of
from gateway.http.streamed_reply import StreamedReply


async def create_completion(request: web.Request, dialect: Dialect) -> web.StreamResponse:
    """Validate, find the upstreams, relay."""
    context = request.app[CONTEXT]
    opening = await opening_of(request, context, dialect)
    if opening.streamed:
        return await _stream(request, context, opening)
    return await _whole(request, context, opening)


async def _stream(request: web.Request, context: Context, opening: Opening) -> web.StreamResponse:
    ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
    exchange = StreamedReply(cast(ClientProtocol, request.protocol), lambda outcome: _resolve(ended, outcome))
    chunked = request.version >= HttpVersion11
    exchange.start(opening, context, chunked=chunked, keep_alive=bool(request.keep_alive))
    try:
        outcome = await ended
    finally:
        exchange.fail(ConnectionResetError("the handler was cancelled"))
        request.writer.output_size += exchange.head_bytes  # so that nobody tells an error behind them
    if outcome is None or isinstance(outcome, ConnectionResetError):
        return FinishedResponse(keep_alive=outcome is None and exchange.keep_alive)
    raise copy.copy(outcome)  # what is raised holds on to its frames, and they to the request


def _resolve(ended: asyncio.Future[Exception | None], outcome: Exception | None) -> None:
    if not ended.done():
        ended.set_result(outcome)


async def _whole(request: web.Request, context: Context, opening: Opening) -> web.StreamResponse:
    client = cast(ClientProtocol, request.protocol)
    settle = opening.settled()
    relay = WholeCompletion(opening.call, opening.route, settle=settle, tasks=context.tasks, lease=opening.lease)
    gone = False

    def on_gone() -> None:
        nonlocal gone
        gone = True
        relay.stop_with(StreamAborted("the client is gone"), Ending.ABANDONED)

    client.watch(on_gone)
    context.hub.add(relay)
    try:
        answer = await relay.fetch()
    except StreamAborted:
        if not gone:
            raise
        return FinishedResponse(keep_alive=False)
    finally:
        client.unwatch()
    return web.Response(body=answer.content, content_type="application/json", headers=answer.headers)
