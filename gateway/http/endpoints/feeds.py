"""Shell: the endpoints `/v1/feeds`: the list of feeds, and the events of each for any number of subscribers."""

from collections.abc import Mapping

from aiohttp import web

from gateway.feeds.feed import Feed
from gateway.http.errors import json_response
from gateway.http.subscriptions import Subscriptions
from gateway.http.takeover import events_request, serve


class FeedEndpoints:
    """The endpoints of feeds."""

    def __init__(self, feeds: Mapping[str, Feed], subscriptions: Subscriptions) -> None:
        self._feeds = feeds
        self._subscriptions = subscriptions

    async def list(self, request: web.Request) -> web.Response:
        """The list of all feeds."""
        return json_response({"object": "list", "data": [feed.describe() for feed in self._feeds.values()]})

    async def get_events(self, request: web.Request) -> web.StreamResponse:
        """The newest events of a feed, then each event as it comes; the first subscriber connects the source."""
        subscription = self._subscriptions.to_feed(events_request(request, request.match_info["name"]))
        return await serve(request, subscription, self._subscriptions.capacity.watch)
