"""Shell: `GET /v1/feeds/{name}/events`: a configured feed for any number of subscribers."""

from aiohttp import HttpVersion11, web

from gateway import clock
from gateway.access.viewer_token import verify
from gateway.errors import InvalidParameter, NotFound
from gateway.feeds.built_in import BuiltInFeed
from gateway.feeds.source import SourceFeed
from gateway.http.admission import CALLER
from gateway.http.context import CONTEXT, take_seat
from gateway.http.endpoints.streams import position_of, prelude
from gateway.http.errors import json_response
from gateway.http.takeover import serve_events
from gateway.stream.position import start_of


async def list_feeds(request: web.Request) -> web.Response:
    feeds = request.app[CONTEXT].feeds.values()
    return json_response({"object": "list", "data": [feed.describe() for feed in feeds]})


async def feed_events(request: web.Request) -> web.StreamResponse:
    """The newest events and then what comes; the first subscriber connects the source."""
    context = request.app[CONTEXT]
    feed = _feed(request)
    text = request.query.get("token")
    token = verify(text, context.signing_keys, feed.id, clock.wall_time()) if text is not None else None
    source_ids = _wants_source_ids(request)
    log = feed.stream.log
    start = start_of(log, *position_of(request), oldest=log.first_seq)
    if start is None:
        return web.Response(status=204)
    chunked = request.version >= HttpVersion11
    leave = take_seat(context, feed.stream, request[CALLER].id if token is None else "")
    reader = feed.join(chunked=chunked, seq=start.seq, source_ids=source_ids)
    reader.when_ended(leave)
    if token is not None:
        reader.expire_in(token.expires_at - clock.wall_time())
    first = prelude(log.epoch if start.reset else None, chunked=chunked)
    return await serve_events(request, {}, reader, first, context.watch)


def _wants_source_ids(request: web.Request) -> bool:
    """`?ids=source`: the ids of the source behind ours, for clients that can read no field but `id`."""
    wanted = request.query.get("ids", "position")
    if wanted not in ("position", "source"):
        raise InvalidParameter("ids must be position or source", param="ids")
    return wanted == "source"


def _feed(request: web.Request) -> SourceFeed | BuiltInFeed:
    context = request.app[CONTEXT]
    name = request.match_info["name"]
    feed = context.feeds.get(name)
    if feed is None:
        known = ", ".join(context.feeds) or "none"
        raise NotFound(f"there is no feed {name[:100]!r}; known feeds: {known[:300]}", param="name")
    return feed
