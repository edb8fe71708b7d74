"""Shell: the endpoints of answers that clients ask for again by the ids that upstreams gave them.

An answer that ran through this gateway as a stream, and is kept, is told from its log, whether its upstream keeps
anything or not. Whatever the log cannot tell is the upstream's to answer that made the id, and no other's. The id of
another key's answer does not exist.
"""

from bisect import bisect_right
from collections.abc import Generator, Iterator, Mapping
from typing import TypeVar

from aiohttp import web

from gateway.cluster.directory import Directory, production_at
from gateway.dialects.dialect import AnswerKeeping, Dialect
from gateway.endings import Ending
from gateway.errors import InvalidParameter, NotFound, RivergateError, UpstreamError
from gateway.http.admission import head_of
from gateway.http.errors import json_response
from gateway.http.json_response import response_of
from gateway.http.streamed_reply import ReplyParts
from gateway.http.takeover import events_request, serve
from gateway.stream.answer_ids import KnownAnswer
from gateway.stream.log import StreamLog
from gateway.stream.production import Production
from gateway.upstream.blame import ErrorAnswer, blame
from gateway.upstream.error_body import MAX_ERROR_BYTES, told_message
from gateway.upstream.question import ask
from gateway.upstream.read_work import ReadWork

SECONDS = 30.0  # how long an upstream is waited for that is asked for an answer it keeps
MAX_BYTES = 67_108_864  # of what it tells
_MAX_NUMBER_DIGITS = 12

_Result = TypeVar("_Result")


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
                raise NotFound(
                    f"the events of {_id_of(request)} are not here: it was not streamed, or is kept no more",
                    param="id",
                )
            seq = self._start(production.stream.log, request.query)
            subscription = self._parts.subscriptions.to_answer(
                events_request(request, production.id), production, seq
            )
            return await serve(request, subscription, self._parts.subscriptions.capacity.watch)
        if production is not None and (told := await self._retold(production.stream.log)) is not None:
            return told
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
        told = await self._retold(production.stream.log)
        return told or await self._ask(request, known, "POST", "/cancel")

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
            self._check_gap(log, -1)
            return log.first_seq
        if not (text.isascii() and text.isdigit() and len(text) <= _MAX_NUMBER_DIGITS):
            raise InvalidParameter("starting_after must be the number of an event", param="starting_after")
        wanted = int(text)
        seq = bisect_right(range(log.next_seq), wanted, log.first_seq, key=lambda seq: self._number_at(log, seq))
        if seq == log.next_seq and self._number_at(log, seq - 1) != wanted:
            raise InvalidParameter("starting_after is ahead of this answer", param="starting_after")
        if seq == log.first_seq:
            self._check_gap(log, wanted)
        return seq

    def _check_gap(self, log: StreamLog, number: int) -> None:
        """Refuse to go on behind the event with this number if events behind it were forgotten. Raises `NotFound`."""
        if log.first_seq and self._number_at(log, log.first_seq) != number + 1:
            raise NotFound(f"the events behind {number} are not here any more", param="starting_after")

    def _number_at(self, log: StreamLog, seq: int) -> int:
        """The number of the event at this position of a log, or -1."""
        number = self._keeping.number(log.read(seq, 1)[0]) if log.first_seq <= seq < log.next_seq else None
        return -1 if number is None else number

    async def _retold(self, log: StreamLog) -> web.Response | None:
        """The answer as far as its log tells it; None: it does not."""
        told = await self._worked_out(self._keeping.retold(_telling(log)))
        return None if told is None else response_of(told, {})

    async def _worked_out(self, reading: Generator[None, None, _Result]) -> _Result:
        """What these steps result in, done in turns."""
        found: list[_Result] = []

        def steps() -> Iterator[None]:
            found.append((yield from reading))

        work = ReadWork(steps())
        is_done = work.run()
        while not is_done:
            is_done = await self._parts.turns.run(work.run)
        return found[0]

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
            if reply.status in (404, 405, 501):
                raise NotFound(f"the upstream {known.upstream} does not keep {_id_of(request)!r}", param="id")
            if not 200 <= reply.status < 300:
                words = told_message(reply.body[:MAX_ERROR_BYTES], self._dialect)
                raise blame(ErrorAnswer(reply.status, words, None))
            told = await self._worked_out(self._keeping.told_by_upstream(reply.body, endpoint.redact))
        except RivergateError as error:
            endpoint.redact(error)
            raise
        return response_of(told, {})


def _id_of(request: web.Request) -> str:
    return request.match_info["id"][:300]


def _telling(log: StreamLog) -> list[bytes]:
    """The frames that tell the answer: the first and the last one if it is over, else all."""
    if log.ending is None or not len(log):
        return log.frames()
    return log.read(log.first_seq, 1) + log.read(log.next_seq - 1, 1)
