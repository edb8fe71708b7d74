"""Shell: the endpoints of answers that clients ask for again by the ids that upstreams gave them.

An answer that ran through this gateway as a stream, and is kept, is told from its log, whether its upstream keeps
anything or not. Whatever the log cannot tell is the upstream's to answer that made the id, and no other's. The id of
another key's answer does not exist.
"""

from collections.abc import Mapping

from aiohttp import web

from gateway.cluster.directory import Directory, production_at
from gateway.dialects.dialect import AnswerKeeping, Dialect
from gateway.endings import Ending
from gateway.errors import InvalidParameter, NotFound, RivergateError, UpstreamError
from gateway.http.admission import head_of
from gateway.http.errors import json_response
from gateway.http.streamed_reply import ReplyParts
from gateway.http.takeover import events_request, serve
from gateway.stream.answer_ids import KnownAnswer
from gateway.stream.log import StreamLog
from gateway.stream.production import Production
from gateway.upstream.question import ask

SECONDS = 30.0  # how long an upstream is waited for that is asked for an answer it keeps
MAX_BYTES = 67_108_864  # of what it tells
_WINDOW_BYTES = 1 << 20  # of the frames that are read at once to find a number
_MAX_NUMBER_DIGITS = 12


class AnswerEndpoints:
    """The endpoints of one dialect's answers."""

    def __init__(self, parts: ReplyParts, directory: Directory, dialect: Dialect, keeping: AnswerKeeping) -> None:
        self._parts = parts
        self._directory = directory
        self._dialect = dialect
        self._keeping = keeping

    async def get(self, request: web.Request) -> web.StreamResponse:
        """The answer as it is now, or with `stream=true` its events from the start or behind `starting_after`."""
        known, production = await self._find(request)
        if request.query.get("stream") == "true":
            if production is None:
                raise NotFound(f"the events of {_id_of(request)} are not here (any more)", param="id")
            seq = self._start(production.stream.log, request.query)
            subscription = self._parts.subscriptions.to_answer(
                events_request(request, production.id), production, seq
            )
            return await serve(request, subscription, self._parts.subscriptions.capacity.watch)
        if production is not None:
            log = production.stream.log
            if (document := self._keeping.document(_ends_of(log))) is not None:
                return web.Response(body=document, content_type="application/json")
        return await self._ask(request, known, "GET")

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Forget the answer here, and have its upstream forget it."""
        known, production = await self._find(request)
        if production is not None:
            production.stop(Ending.STOPPED)
        try:
            response = await self._ask(request, known, "DELETE")
        except (NotFound, UpstreamError):  # an upstream that keeps nothing has nothing to delete
            response = json_response({"id": _id_of(request), "object": "response", "deleted": True})
        self._parts.opening.answer_ids.forget(head_of(request).owner, _id_of(request))
        return response

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Stop an answer that runs, and its upstream with it."""
        known, production = await self._find(request)
        if production is None:
            return await self._ask(request, known, "POST", "/cancel")
        production.stop(Ending.STOPPED)
        document = self._keeping.document(_ends_of(production.stream.log))
        if document is None:
            return await self._ask(request, known, "POST", "/cancel")
        return web.Response(body=document, content_type="application/json")

    async def list_input(self, request: web.Request) -> web.StreamResponse:
        """What the answer was asked with, as its upstream keeps it."""
        known, _ = await self._find(request)
        return await self._ask(request, known, "GET", "/input_items")

    # --- inside

    async def _find(self, request: web.Request) -> tuple[KnownAnswer, Production | None]:
        """The answer that the request names, and its stream if that is kept. Raises `NotFound`."""
        known = self._parts.opening.answer_ids.find(head_of(request).owner, _id_of(request))
        if known is None:
            raise NotFound(f"there is no response {_id_of(request)!r} (any more)", param="id")
        return known, production_at(await self._directory.where(known.stream_id)) if known.stream_id else None

    def _start(self, log: StreamLog, query: Mapping[str, str]) -> int:
        """The position behind the event that the query names by its number. Raises `InvalidParameter`."""
        text = query.get("starting_after")
        if text is None:
            return log.first_seq
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_NUMBER_DIGITS):
            raise InvalidParameter("starting_after must be the number of an event", param="starting_after")
        wanted = int(text)
        seq = log.first_seq
        while frames := log.read(seq, _WINDOW_BYTES):
            for frame in frames:
                number = self._keeping.number(frame)
                if number is not None and number > wanted:
                    return seq
                seq += 1
                if number == wanted:
                    return seq
        raise InvalidParameter("starting_after is ahead of this answer", param="starting_after")

    async def _ask(
        self, request: web.Request, known: KnownAnswer, method: str, behind: str = ""
    ) -> web.StreamResponse:
        """What the upstream answers that made the id. Raises `NotFound`, `UpstreamError`."""
        candidates = self._parts.in_force.router.catalog.candidates(known.model_id)
        endpoint = next((each.endpoint for each in candidates if each.endpoint.name == known.upstream), None)
        if endpoint is None:
            raise NotFound(f"the upstream of {_id_of(request)!r} is not here any more", param="id")
        path = f"{self._dialect.upstream_path}/{_id_of(request)}{behind}"
        try:
            reply = await ask(endpoint, method, path, SECONDS, MAX_BYTES, request.rel_url.raw_query_string)
        except RivergateError as error:
            endpoint.redact(error)
            raise
        if reply.status in (404, 405, 501):
            raise NotFound(f"the upstream {known.upstream} does not keep {_id_of(request)!r}", param="id")
        if not 200 <= reply.status < 300:
            raise UpstreamError(f"the upstream {known.upstream} answered with status {reply.status}")
        return web.Response(body=bytes(reply.body), content_type="application/json")


def _id_of(request: web.Request) -> str:
    return request.match_info["id"][:300]


def _ends_of(log: StreamLog) -> list[bytes]:
    """The first frame of a log and the last two, which tell what the whole answer is, or how far it has come."""
    first = log.read(log.first_seq, 1) if len(log) else []
    last = log.read(max(log.next_seq - 2, log.first_seq), _WINDOW_BYTES * 64) if len(log) else []
    return first + last
