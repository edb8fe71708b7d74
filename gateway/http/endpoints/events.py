"""Shell: the endpoints `/v1/events`: several streams and feeds over one connection, and viewer tokens for them."""

import math

from aiohttp import web

from gateway import clock
from gateway.access.viewer_token import ViewerToken, mint
from gateway.http.admission import head_of
from gateway.http.body import SMALL_BODY_BYTES, read_body
from gateway.http.channel_request import ChannelRequest, audience_of, channels_in_body, token_in_body
from gateway.http.errors import json_response
from gateway.http.streamed_reply import ReplyParts
from gateway.http.takeover import events_request, serve


class EventEndpoints:
    """The endpoints of subscriptions to several channels."""

    def __init__(self, parts: ReplyParts) -> None:
        self._parts = parts

    async def get_events(self, request: web.Request) -> web.StreamResponse:
        """The events of all channels that the query names, as server-sent events."""
        channels, watch = self._parts.channels, self._parts.subscriptions.capacity.watch
        return await serve(request, channels.open(events_request(request, "")), watch)

    async def create(self, request: web.Request) -> web.Response:
        """The URL of the events of a list of channels."""
        wanted = channels_in_body(await self._body(request))
        return json_response({"events_url": f"/v1/events?{wanted.query()}"}, status=201)

    async def create_token(self, request: web.Request) -> web.Response:
        """A viewer token for a list of channels, all of which the caller may read."""
        names, ttl_seconds = token_in_body(await self._body(request))
        selection = self._parts.channels.select(ChannelRequest(names, frozenset()), None, head_of(request))
        for error in selection.refused.values():
            raise error
        expires_at = math.ceil(clock.wall_time()) + ttl_seconds
        token = ViewerToken(" ".join(map(audience_of, names)), expires_at)
        text = mint(token, self._parts.in_force.signing_keys[0])
        return json_response({"token": text, "expires_at": expires_at}, status=201)

    async def _body(self, request: web.Request) -> bytes:
        return bytes(await read_body(request, self._parts.turns, limit=SMALL_BODY_BYTES))
