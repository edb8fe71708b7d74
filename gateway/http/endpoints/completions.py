"""Shell: `POST /v1/chat/completions` on aiohttp's way: whole answers, and the streams that the fast way leaves."""

import asyncio
import copy
from typing import cast

from aiohttp import HttpVersion11, web

from gateway.dialects.chat.request import parse
from gateway.endings import Ending
from gateway.errors import StreamAborted
from gateway.http.admission import head_of
from gateway.http.answer_plan import AnswerPlan, plan_answer
from gateway.http.body import read_body
from gateway.http.client_connection import ClientProtocol
from gateway.http.event_stream import FinishedResponse
from gateway.http.streamed_reply import ReplyParts, StreamedReply


class CompletionEndpoints:
    """The endpoint of chat completions."""

    def __init__(self, parts: ReplyParts) -> None:
        self._parts = parts

    async def create(self, request: web.Request) -> web.StreamResponse:
        """Read and plan the request, and answer it in the form that it asks for."""
        checked = parse(await read_body(request))
        plan = plan_answer(request.headers, checked, self._parts.in_force.config.stream)
        if plan.streamed:
            return await self._reply_streamed(request, plan)
        return await self._reply_whole(request, plan)

    async def _reply_streamed(self, request: web.Request, plan: AnswerPlan) -> web.StreamResponse:
        ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        reply = StreamedReply(cast(ClientProtocol, request.protocol), lambda outcome: _resolve(ended, outcome))
        chunked = request.version >= HttpVersion11
        reply.start(plan, head_of(request), self._parts, chunked=chunked, keep_alive=bool(request.keep_alive))
        try:
            outcome = await ended
        finally:
            reply.fail(ConnectionResetError("the handler was cancelled"))
            request.writer.output_size += reply.head_bytes  # so that no error is written behind the head
        if outcome is None or isinstance(outcome, ConnectionResetError):
            return FinishedResponse(keep_alive=outcome is None and reply.keep_alive)
        # A copy, since what is raised holds this frame, and this frame holds `outcome`.
        raise copy.copy(outcome).with_traceback(outcome.__traceback__)

    async def _reply_whole(self, request: web.Request, plan: AnswerPlan) -> web.StreamResponse:
        client = cast(ClientProtocol, request.protocol)
        completion = self._parts.opener.open_whole(plan, head_of(request))
        gone = False

        def on_gone() -> None:
            nonlocal gone
            gone = True
            completion.stop_with(StreamAborted("the client is gone"), Ending.ABANDONED)

        client.watch(on_gone)
        try:
            answer = await completion.fetch()
        except StreamAborted:
            if not gone:
                raise
            return FinishedResponse(keep_alive=False)
        finally:
            client.unwatch()
        return web.Response(body=answer.content, content_type="application/json", headers=answer.headers)


def _resolve(ended: asyncio.Future[Exception | None], outcome: Exception | None) -> None:
    if not ended.done():
        ended.set_result(outcome)
