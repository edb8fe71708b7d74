"""Shell: the endpoints `/v1/feeds`: the list of feeds, and the events of each for any number of subscribers."""

from collections.abc import Mapping

from aiohttp import HttpVersion11, web

from gateway import clock
from gateway.access.viewer_token import verify
from gateway.errors import InvalidParameter, NotFound
from gateway.feeds.built_in import BuiltInFeed
from gateway.feeds.source import SourceFeed
from gateway.http.admission import CALLER, Admission, head_of
from gateway.http.capacity import Capacity
from gateway.http.errors import json_response
from gateway.http.in_force import InForce
from gateway.http.places import Places
from gateway.http.takeover import serve_events
from gateway.http.viewing import position_of, prelude
from gateway.stream.position import start_of


class FeedEndpoints:
    """The endpoints of feeds."""

    def __init__(
        self,
        feeds: Mapping[str, SourceFeed | BuiltInFeed],
        in_force: InForce,
        admission: Admission,
        places: Places,
        capacity: Capacity,
    ) -> None:
        self._feeds = feeds
        self._in_force = in_force
        self._admission = admission
        self._places = places
        self._capacity = capacity  # holds the watch over sockets that are taken over

    async def list(self, request: web.Request) -> web.Response:
        """The list of all feeds."""
        return json_response({"object": "list", "data": [feed.describe() for feed in self._feeds.values()]})

    async def get_events(self, request: web.Request) -> web.StreamResponse:
        """The newest events of a feed, then each event as it comes; the first subscriber connects the source."""
        feed = self._find(request)
        text = request.query.get("token")
        signing_keys, now = self._in_force.signing_keys, clock.wall_time()
        token = verify(text, signing_keys, feed.id, now) if text is not None else None
        source_ids = _wants_source_ids(request)
        log = feed.stream.log
        start = start_of(log, *position_of(request), oldest=log.first_seq)
        if start is None:
            return web.Response(status=204)
        chunked = request.version >= HttpVersion11
        leave = self._places.take(feed.stream, request[CALLER].id if token is None else "")
        subscriber = feed.join(chunked=chunked, seq=start.seq, source_ids=source_ids)
        subscriber.when_ended(leave)
        if token is not None:
            subscriber.expire_in(token.expires_at - clock.wall_time())
        first = prelude(log.epoch if start.reset else None, chunked=chunked)
        headers = self._admission.answer_headers(head_of(request))
        return await serve_events(request, headers, subscriber, first, self._capacity.watch)

    def _find(self, request: web.Request) -> SourceFeed | BuiltInFeed:
        name = request.match_info["name"]
        feed = self._feeds.get(name)
        if feed is None:
            known = ", ".join(self._feeds) or "none"
            raise NotFound(f"there is no feed {name[:100]!r}; known feeds: {known[:300]}", param="name")
        return feed


def _wants_source_ids(request: web.Request) -> bool:
    """Whether the query has `ids=source`: the source's ids follow the gateway's, for clients that read only `id`."""
    wanted = request.query.get("ids", "position")
    if wanted not in ("position", "source"):
        raise InvalidParameter("ids must be position or source", param="ids")
    return wanted == "source"
