"""Shell: the `POST` endpoint of a dialect on aiohttp's way: whole answers, and streams that the fast way declines."""

import asyncio
import copy
from typing import cast

from aiohttp import HttpVersion11, web

from gateway.dialects.dialect import Dialect
from gateway.endings import Ending
from gateway.errors import RivergateError, StreamAborted
from gateway.http.client_connection import ClientProtocol
from gateway.http.errors import render
from gateway.http.event_stream import FinishedResponse
from gateway.http.json_response import response_of
from gateway.http.opening import Opening
from gateway.http.reception import receive
from gateway.http.request_id import request_id_of
from gateway.http.streamed_reply import ReplyParts, StreamedReply


class CompletionEndpoints:
    """The endpoint of one dialect's completions."""

    def __init__(self, parts: ReplyParts, dialect: Dialect) -> None:
        self._parts = parts
        self._dialect = dialect

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Answer a request, streamed or whole as it asks; an error is rendered in the dialect's envelope."""
        try:
            return await self._create(request)
        except RivergateError as error:
            return render(error, {}, dialect=self._dialect, request_id=request_id_of(request)).response()

    async def _create(self, request: web.Request) -> web.StreamResponse:
        opening = await receive(request, self._parts, self._dialect)
        if opening.plan.streamed:
            return await self._reply_streamed(request, opening)
        return await self._reply_whole(request, opening)

    async def _reply_streamed(self, request: web.Request, opening: Opening) -> web.StreamResponse:
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        reply = StreamedReply(cast(ClientProtocol, request.protocol), lambda outcome: _resolve(ended, outcome))
        chunked = request.version >= HttpVersion11
        reply.start(opening, self._parts, chunked=chunked, keep_alive=bool(request.keep_alive))
        try:
            outcome = await ended
        finally:
            reply.fail(ConnectionResetError("the handler was cancelled"))
            request.writer.output_size += reply.head_bytes  # so that aiohttp writes no error behind the head
        if outcome is None or isinstance(outcome, ConnectionResetError):
            return FinishedResponse(keep_alive=outcome is None and reply.keep_alive)
        # A copy is raised, since a raised error holds this stack frame, and this stack frame holds `outcome`.
        raise copy.copy(outcome).with_traceback(outcome.__traceback__)

    async def _reply_whole(self, request: web.Request, opening: Opening) -> web.StreamResponse:
        client = cast(ClientProtocol, request.protocol)
        completion = opening.open_whole()
        gone = False

        def on_gone() -> None:
            nonlocal gone
            gone = True
            completion.stop_with(StreamAborted("the client is gone"), Ending.ABANDONED)

        client.watch(on_gone)
        try:
            answer = await completion.wait_answer()
        except StreamAborted:
            if not gone:
                raise
            return FinishedResponse(keep_alive=False)
        finally:
            client.unwatch()
            opening.let_go()
        content = answer.content
        if self._dialect.keeping is not None:
            first = content if isinstance(content, bytes) else next(content.parts())
            opening.on_whole(first, completion)
        return response_of(content, answer.headers)


def _resolve(ended: asyncio.Future[Exception | None], outcome: Exception | None) -> None:
    if not ended.done():
        ended.set_result(outcome)
