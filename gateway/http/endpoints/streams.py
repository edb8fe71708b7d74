"""Shell: `/v1/streams`: detached generations, and any running or kept stream for any number of subscribers."""

import math
import secrets

from aiohttp import HttpVersion11, web

from gateway import clock
from gateway.access.viewer_token import ViewerToken, mint, verify
from gateway.cluster.directory import production_at
from gateway.endings import Ending
from gateway.errors import InvalidParameter, NotFound
from gateway.http.admission import CALLER
from gateway.http.body import read_body
from gateway.http.context import CONTEXT, Context, take_seat
from gateway.http.errors import json_response
from gateway.http.opening import opening_of
from gateway.http.stream_request import token_ttl
from gateway.http.takeover import serve_events
from gateway.stream.hub import Production
from gateway.stream.position import start_of
from gateway.stream.stream import Framing
from gateway.wire import http1, sse

VIEWER_SECONDS = 3600  # of the token in the answer to POST /v1/streams


async def create_stream(request: web.Request) -> web.Response:
    """Start a generation without a reader."""
    context = request.app[CONTEXT]
    opening = await opening_of(request, context, context.dialects[0], detached=True)
    relay = opening.open()
    relay.announce()
    expires_at = math.ceil(clock.wall_time()) + VIEWER_SECONDS
    token = mint(ViewerToken(f"stream:{relay.id}", expires_at), context.signing_keys[0])
    events_url = f"/v1/streams/{relay.id}/events"
    told = {
        "id": relay.id,
        "events_url": events_url,
        "viewer_url": f"{events_url}?token={token}",
        "expires_at": expires_at,
    }
    return json_response(told, status=201, headers={"Location": f"/v1/streams/{relay.id}", "x-stream-id": relay.id})


async def list_streams(request: web.Request) -> web.Response:
    """The caller's streams, newest first."""
    context = request.app[CONTEXT]
    caller = request[CALLER]
    mine = [one.describe() for one in reversed(context.hub.streams()) if caller.may_see(one.owner)]
    return json_response({"object": "list", "data": mine})


async def get_stream(request: web.Request) -> web.Response:
    production, token = await _readable(request, request.app[CONTEXT])
    told = production.describe()
    if token is not None:
        told.pop("cost_usd", None)  # whoever pays knows it, not whoever watches
    return json_response(told)


async def stop_stream(request: web.Request) -> web.Response:
    """End a stream on purpose; one that has ended already stays as it is."""
    production = await _owned(request, request.app[CONTEXT])
    production.stop(Ending.STOPPED)
    return json_response(production.describe())


async def create_token(request: web.Request) -> web.Response:
    """A viewer token for one stream."""
    context = request.app[CONTEXT]
    production = await _owned(request, context)
    expires_at = math.ceil(clock.wall_time()) + token_ttl(await read_body(request))
    token = mint(ViewerToken(f"stream:{production.id}", expires_at), context.signing_keys[0])
    return json_response({"token": token, "expires_at": expires_at}, status=201)


async def stream_events(request: web.Request) -> web.StreamResponse:
    """The log as server-sent events, from the start, from now, or from behind the last event seen."""
    context = request.app[CONTEXT]
    production, token = await _readable(request, context)
    stream = production.stream
    start = start_of(stream.log, *position_of(request), oldest=0)
    if start is None:
        return web.Response(status=204)
    chunked = request.version >= HttpVersion11
    leave = take_seat(context, stream, production.owner)
    reader = stream.join(chunked=chunked, framing=Framing.EVENTS, seq=start.seq)
    reader.when_ended(leave)
    if token is not None:
        reader.expire_in(token.expires_at - clock.wall_time())
    first = prelude(stream.log.epoch if start.reset else None, chunked=chunked)
    told = {"x-stream-id": production.id, **production.headers()}
    return await serve_events(request, told, reader, first, context.watch)


def position_of(request: web.Request) -> tuple[str | None, bool]:
    """The last event that the client has seen, and whether it wants only what comes from now on."""
    wanted = request.query.get("from", "start")
    if wanted not in ("start", "now"):
        raise InvalidParameter("from must be start or now", param="from")
    last_event_id = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
    return last_event_id or None, wanted == "now"


def prelude(reset_to: str | None, *, chunked: bool) -> bytes:
    """The first bytes: a comment, so that no proxy sits on the headers, and when to come again, jittered.

    Ten thousand subscribers of a server that restarts do not all come back in the same moment.
    """
    frames = sse.comment("connected") + b"retry: %d\n\n" % jittered_retry_ms()
    if reset_to is not None:
        frames += sse.control("reset", {"epoch": reset_to})
    return http1.encode_chunk(frames) if chunked else frames


def jittered_retry_ms() -> int:
    return 1000 + secrets.randbelow(2000)


async def _owned(request: web.Request, context: Context) -> Production:
    production = production_at(await context.directory.where(request.match_info["id"]))
    if production is None or not request[CALLER].may_see(production.owner):
        raise _not_found(request)
    return production


async def _readable(request: web.Request, context: Context) -> tuple[Production, ViewerToken | None]:
    """The stream, for its owner or for the bearer of a viewer token."""
    text = request.query.get("token")
    if text is None:
        return await _owned(request, context), None
    stream_id = request.match_info["id"]
    token = verify(text, context.signing_keys, f"stream:{stream_id}", clock.wall_time())
    production = production_at(await context.directory.where(stream_id))
    if production is None:
        raise _not_found(request)
    return production, token


def _not_found(request: web.Request) -> NotFound:
    return NotFound(f"there is no stream {request.match_info['id'][:100]!r} (any more)", param="id")
