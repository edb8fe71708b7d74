"""Shell: the simulated provider: a listener, its script and its routes.

In: HTTP/1.1 requests. Out: answers as the script says; the member `simulate` of a request changes its script.
The invariant: nothing that the provider starts outlives `close()`.
"""

import asyncio
import os
import ssl as tls
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Self
from urllib.parse import parse_qs

import orjson

from gateway.errors import ClientError, InvalidParameter, MethodNotAllowed, NotFound
from gateway.simulate.chat import CHAT
from gateway.simulate.completions import COMPLETIONS
from gateway.simulate.connection import ClientConnection, Request, ScriptedAnswer
from gateway.simulate.dialect import SimulatedDialect
from gateway.simulate.dice import settled
from gateway.simulate.embeddings import EMBEDDINGS
from gateway.simulate.feed import feed
from gateway.simulate.likeness import LikeChat, likeness
from gateway.simulate.messages import COUNT_TOKENS, MESSAGES
from gateway.simulate.plan import plan, whole
from gateway.simulate.response_store import ResponseStore
from gateway.simulate.responses import RESPONSES
from gateway.simulate.script import Script
from gateway.simulate.steps import Step
from gateway.simulate.tally import ProviderStatistics, Tally

BACKLOG = 4096  # connections waiting to be accepted: a bench opens all its streams at once
MAX_PADDING_BYTES = 1 << 20  # padding of one event of the feed

# A new dialect is a word here.
DIALECTS: tuple[SimulatedDialect, ...] = (CHAT, RESPONSES, MESSAGES, COUNT_TOKENS, COMPLETIONS, EMBEDDINGS)
_METHODS = {
    "/v1/models": "GET",
    "/v1/events": "GET",
    "/stats": "GET",
    "/script": "PUT",
}
_CONTROL = {path: _METHODS[path] for path in ("/stats", "/script")}  # what a played provider has beside its own paths


class Provider:
    """A provider on one port. `script` may be set at any time, for the requests that follow."""

    def __init__(
        self, script: Script, name: str, dialects: Sequence[SimulatedDialect] = DIALECTS, like: str = ""
    ) -> None:
        self.script = script
        self.name = name
        self._usual = usual_script(like)
        self._like = LikeChat(likeness(like)) if like else None
        self._base = likeness(like).base.replace("*", "sim") if like else "/v1"
        self._dialects = {} if like else {dialect.path: dialect for dialect in dialects}
        self._methods = _CONTROL if like else _METHODS
        self._tally = Tally()
        self._salt = os.urandom(8)  # no two providers give an answer the same id
        self._kept = ResponseStore()
        self._connections: set[ClientConnection] = set()
        self._closed = False
        self._all_lost = asyncio.Event()
        self._server: asyncio.Server
        self._address: tuple[str, int]
        self._scheme = "http"

    @classmethod
    async def start(
        cls,
        host: str = "127.0.0.1",
        port: int = 0,
        script: Script | None = None,
        name: str = "sim",
        ssl: tls.SSLContext | None = None,
        dialects: Sequence[SimulatedDialect] = DIALECTS,
        like: str = "",
    ) -> Self:
        """Start a provider that listens; port 0 takes a free port. `like`: the real provider that it plays.

        Raises `OSError` if the address is in use, and `ValueError` if no provider has the name in `like`.
        """
        provider = cls(script or usual_script(like), name, dialects, like)
        loop = asyncio.get_running_loop()
        provider._server = await loop.create_server(provider._accept, host, port, ssl=ssl, backlog=BACKLOG)
        provider._address = (host, provider._server.sockets[0].getsockname()[1])
        provider._scheme = "https" if ssl else "http"
        return provider

    @property
    def port(self) -> int:
        return self._address[1]

    @property
    def base_url(self) -> str:
        return self.origin + self._base

    @property
    def origin(self) -> str:
        """The scheme, the host and the port of the provider."""
        host = f"[{self._address[0]}]" if ":" in self._address[0] else self._address[0]
        return f"{self._scheme}://{host}:{self.port}"

    def statistics(self) -> ProviderStatistics:
        return self._tally.statistics()

    async def close(self) -> None:
        """Stop listening and close every connection at once; return when the last connection is gone."""
        self._closed = True
        self._server.close()
        for connection in tuple(self._connections):
            connection.drop()
        if self._connections:
            await self._all_lost.wait()
        await self._server.wait_closed()

    def _accept(self) -> ClientConnection:
        return ClientConnection(self._serve, self._tally, self._on_made, self._on_lost)

    def _on_made(self, connection: ClientConnection) -> None:
        self._connections.add(connection)
        if self._closed:  # the connection was accepted in the very turn of the event loop that closed the listener
            connection.drop()

    def _on_lost(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        if not self._connections and self._closed:
            self._all_lost.set()

    # routes

    def _serve(self, request: Request) -> ScriptedAnswer:
        try:
            return self._route(request)
        except ClientError as error:
            body = orjson.dumps(error.envelope())
            return ScriptedAnswer(whole(error.status, body, keep_alive=request.keep_alive))

    def _route(self, request: Request) -> ScriptedAnswer:
        path, _, query = request.target.partition("?")
        dialect = self._dialects.get(path)
        method = "POST" if dialect is not None else self._methods.get(path)
        if method is None:
            return self._play(request, path, query)
        if request.method != method:
            raise MethodNotAllowed(f"{path} wants {method}, not {request.method}.")
        if dialect is not None:
            return self._answer(request, dialect)
        match path:
            case "/v1/events":
                return self._feed(request, query)
            case "/v1/models":
                answer = self._models()
            case "/stats":
                answer = orjson.dumps(self.statistics())
            case _:
                answer = self._change_script(request)
        return ScriptedAnswer(whole(200, answer, keep_alive=request.keep_alive))

    def _play(self, request: Request, path: str, query: str) -> ScriptedAnswer:
        """The answer at any other path: a kept response, or that of the real provider. Raises `NotFound`."""
        like = self._like
        if like is None:
            if RESPONSES.path in self._dialects and (kept := self._kept.answer(request.method, path)) is not None:
                return ScriptedAnswer(whole(200, kept, keep_alive=request.keep_alive))
            raise NotFound(f"The simulated provider has no {path}.")
        refusal = like.refusal(request.method, path, query, request.headers, request.body)
        if refusal is not None:
            number = self._tally.on_request(request.headers, None)
            steps = whole(refusal.status, refusal.encode(), keep_alive=request.keep_alive, kind=refusal.kind)
            return ScriptedAnswer(steps, number)
        if request.method == "GET":
            return ScriptedAnswer(whole(200, like.models(), keep_alive=request.keep_alive))
        return self._answer(request, like)

    def _answer(self, request: Request, dialect: SimulatedDialect) -> ScriptedAnswer:
        body = _json(request.body)
        if not isinstance(body, dict):
            raise InvalidParameter("The body must be a JSON object.")
        script = self.script
        if "simulate" in body:
            script = _laid_over(script, body["simulate"], param="simulate")
        number = self._tally.on_request(request.headers, body)
        facts = dialect.facts(body, keep_alive=request.keep_alive, chunked=request.chunked)
        facts = replace(facts, salt=b"%b%d" % (self._salt, number))
        if dialect is RESPONSES and body.get("store") is not False:
            self._kept.add(script, facts)
        steps: Iterator[Step] = plan(settled(script, number), facts, dialect)
        return ScriptedAnswer(steps, number)

    def _feed(self, request: Request, query: str) -> ScriptedAnswer:
        values = parse_qs(query)
        count, gap_ms, padding = (_number(values, name) for name in ("count", "gap_ms", "padding_bytes"))
        last_event_id = request.headers.get("last-event-id", "")
        padding_bytes = min(int(padding), MAX_PADDING_BYTES)
        steps = feed(int(count), gap_ms / 1000, last_event_id, request.keep_alive, padding_bytes)
        return ScriptedAnswer(steps, self._tally.on_request(request.headers, None))

    def _models(self) -> bytes:
        model = {"id": "sim", "object": "model", "created": 0, "owned_by": self.name}
        return orjson.dumps({"object": "list", "data": [model]})

    def _change_script(self, request: Request) -> bytes:
        self.script = _laid_over(self._usual, _json(request.body), param=None)
        return orjson.dumps(self.script)


def usual_script(like: str) -> Script:
    """The script of a provider that was given none. Raises `ValueError` if no provider has the name in `like`."""
    return Script.parse(likeness(like).script if like else {})


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ClientError(f"The body is not JSON: {error}") from error


def _laid_over(script: Script, changes: object, param: str | None) -> Script:
    try:
        return script.replace(changes)
    except ValueError as error:
        raise InvalidParameter(str(error), param=param) from error


def _number(values: dict[str, list[str]], name: str) -> float:
    """A number in the query; 0 if the query does not have it. Raises `InvalidParameter`."""
    value = values.get(name, ["0"])[-1]
    if not value.replace(".", "", 1).isdigit() or not value.isascii():
        raise InvalidParameter(f"{name}: must be a number, 0 or more, got {value!r}", param=name)
    return float(value)
