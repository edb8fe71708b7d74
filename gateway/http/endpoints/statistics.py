"""Shell: the endpoints `/v1/statistics`: what the gateway keeps of the last minutes and hours, for pages that open.

The numbers are for the holders of API keys and of a viewer token for `feed:statistics`; what one key has done and
cost is for operators only.
"""

from typing import Any, Protocol

from aiohttp import web

from gateway.access.callers import is_operator
from gateway.errors import InvalidParameter, PermissionDenied
from gateway.http.admission import CALLER
from gateway.http.errors import json_response
from gateway.http.stream_search import StreamQuery, StreamSearch
from gateway.http.subscriptions import Subscriptions

AUDIENCE = "feed:statistics"  # of the viewer tokens that open these endpoints


class StatisticsReports(Protocol):
    """What the endpoints tell; each call gives a new object of JSON."""

    def history(self) -> dict[str, Any]:
        """The timeline, and the changes of breakers."""

    def failures(self, after: int, *, with_keys: bool) -> dict[str, Any]:
        """The failed requests with a number above `after`. `with_keys`: also whose they were."""

    def hourly(self) -> dict[str, Any]:
        """Requests, tokens and cost by hour, model and key."""


class StatisticsEndpoints:
    """The endpoints of statistics."""

    def __init__(self, reports: StatisticsReports, search: StreamSearch, subscriptions: Subscriptions) -> None:
        self._reports = reports
        self._search = search
        self._subscriptions = subscriptions

    async def get_history(self, request: web.Request) -> web.Response:
        """The timeline; `sees`: whose streams the caller may read: of everybody, its own, or of nobody."""
        self._check_token(request)
        caller = request.get(CALLER)
        sees = "nobody's" if caller is None else "everybody's" if is_operator(caller) else "its own"
        return json_response({"sees": sees, **self._reports.history()})

    async def get_failures(self, request: web.Request) -> web.Response:
        """The last requests that failed, the newest first."""
        self._check_token(request)
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) <= 15):
            raise InvalidParameter("after must be a whole number", param="after")
        return json_response(self._reports.failures(int(after), with_keys=is_operator(request.get(CALLER))))

    async def get_streams(self, request: web.Request) -> web.Response:
        """One page of the streams of all keys, sorted and filtered."""
        self._check_token(request)
        return json_response(await self._search.find(StreamQuery.parse(request.query)))

    async def get_hourly(self, request: web.Request) -> web.Response:
        """Requests, tokens and cost of the last hours, by model and key, for operators."""
        if not is_operator(request.get(CALLER)):
            raise PermissionDenied("what keys have used is for the holder of an admin key")
        return json_response(self._reports.hourly())

    def _check_token(self, request: web.Request) -> None:
        """Refuse a viewer token for something else. Raises `AuthenticationFailed`, `PermissionDenied`."""
        self._subscriptions.token_for(AUDIENCE, request.query, request.headers)
