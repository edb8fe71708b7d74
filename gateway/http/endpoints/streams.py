"""Shell: the endpoints `/v1/streams`: start an answer without a client, and read any stream, running or kept."""

import math
from collections.abc import Mapping, Sequence

from aiohttp import web

from gateway import clock
from gateway.access.viewer_token import Viewer, ViewerToken, mint
from gateway.cluster.directory import Directory, production_at
from gateway.dialects.dialect import Dialect
from gateway.endings import Ending
from gateway.errors import InvalidParameter
from gateway.http.admission import CALLER, head_of
from gateway.http.body import SMALL_BODY_BYTES, read_body
from gateway.http.errors import json_response
from gateway.http.reception import receive
from gateway.http.stream_pages import page_of, read_page
from gateway.http.stream_request import token_ttl
from gateway.http.streamed_reply import ReplyParts
from gateway.http.subscriptions import readable
from gateway.http.takeover import events_request, serve
from gateway.stream.hub import Hub
from gateway.stream.production import Production

VIEWER_SECONDS = 3600  # how long the viewer token in the answer of `POST /v1/streams` is valid


class StreamEndpoints:
    """The endpoints of streams."""

    def __init__(self, parts: ReplyParts, hub: Hub, directory: Directory, dialects: Sequence[Dialect]) -> None:
        """Serve the streams of this hub. `dialects`: those of the answers that can be started, the default first."""
        self._parts = parts
        self._directory = directory
        self._dialects = {dialect.name: dialect for dialect in dialects if dialect.streams}
        self._default = dialects[0].name
        self._in_force = parts.in_force
        self._hub = hub

    async def create(self, request: web.Request) -> web.Response:
        """Start an answer without a subscriber, in the dialect that the query names."""
        opening = await receive(request, self._parts, self._dialect_of(request.query), detached=True)
        completion = opening.open()
        completion.announce()
        token, expires_at = self._mint(completion.id, VIEWER_SECONDS)
        path = f"/v1/streams/{completion.id}"
        body = {
            "id": completion.id,
            "events_url": f"{path}/events",
            "viewer_url": f"{path}/events?token={token}",
            "expires_at": expires_at,
        }
        return json_response(body, status=201, headers={"Location": path, "x-stream-id": completion.id})

    async def list(self, request: web.Request) -> web.Response:
        """A page of the caller's streams, newest first."""
        limit, after = page_of(request.query)
        page = await read_page(self._hub, request[CALLER].may_see, limit, after, self._parts.turns)
        return json_response({"object": "list", **page})

    async def get(self, request: web.Request) -> web.Response:
        """The description of one stream; only its owner sees the cost, not the bearer of a viewer token."""
        production, token = await self._readable(request)
        description = production.describe()
        if token is not None:
            description.pop("cost_usd", None)
        return json_response(description)

    async def stop(self, request: web.Request) -> web.Response:
        """End a stream on purpose; a stream that has ended already stays as it is."""
        production = await self._owned(request)
        production.stop(Ending.STOPPED)
        return json_response(production.describe())

    async def create_token(self, request: web.Request) -> web.Response:
        """A viewer token for one stream."""
        production = await self._owned(request)
        token, expires_at = self._mint(
            production.id, token_ttl(await read_body(request, self._parts.turns, limit=SMALL_BODY_BYTES))
        )
        return json_response({"token": token, "expires_at": expires_at}, status=201)

    async def get_events(self, request: web.Request) -> web.StreamResponse:
        """The log as server-sent events: from the start, from now on, or after the last event that was seen."""
        production, token = await self._readable(request)
        subscriptions = self._parts.subscriptions
        asked = events_request(request, production.id)
        return await serve(request, subscriptions.to_stream(asked, production, token), subscriptions.capacity.watch)

    def _dialect_of(self, query: Mapping[str, str]) -> Dialect:
        name = query.get("dialect", self._default)
        if (dialect := self._dialects.get(name)) is None:
            known = ", ".join(self._dialects)
            raise InvalidParameter(f"dialect must be one of {known}, not {name[:50]!r}", param="dialect")
        return dialect

    def _mint(self, stream_id: str, ttl_seconds: int) -> tuple[str, int]:
        """A viewer token, and the Unix second at which it expires."""
        expires_at = math.ceil(clock.wall_time()) + ttl_seconds
        return mint(ViewerToken(f"stream:{stream_id}", expires_at), self._in_force.signing_keys[0]), expires_at

    async def _owned(self, request: web.Request) -> Production:
        """The stream that the request names, if the caller owns it. Raises `NotFound`."""
        return await self._find(request, None)

    async def _readable(self, request: web.Request) -> tuple[Production, Viewer | None]:
        """The stream that the request names, for its owner or for the bearer of a viewer token. Raises `NotFound`."""
        audience = f"stream:{request.match_info['id']}"
        token = self._parts.subscriptions.token_for(audience, request.query, request.headers)
        return await self._find(request, token), token

    async def _find(self, request: web.Request, token: Viewer | None) -> Production:
        stream_id = request.match_info["id"]
        production = production_at(await self._directory.where(stream_id))
        return readable(production, token, head_of(request), stream_id)
