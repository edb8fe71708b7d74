"""Shell: the endpoint `POST /v1/feeds/{name}/events`: clients publish events to a feed.

In: a body of one event or many. Out: the positions of the events, once they are in the log. The invariant: the events
of a body are taken in their order up to the first fault, and the answer says how far.
"""

import asyncio
import math
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gateway import clock
from gateway.access.event_limits import EventLimits
from gateway.errors import ClientError, Draining, InvalidParameter, PermissionDenied, RateLimited, UnsupportedEncoding
from gateway.feeds.feed import Feed
from gateway.feeds.publication import BodyKind, NewEvent, Publication, groups
from gateway.feeds.published import PublishedFeed, Receipt
from gateway.http.admission import CALLER, Admission
from gateway.http.body import read_body
from gateway.http.errors import json_response
from gateway.http.subscriptions import find_feed
from gateway.http.turns import Turns
from gateway.http.waiting import WaitingBody, WaitingBytes
from gateway.upstream.read_work import ReadWork

KINDS: Mapping[str, BodyKind] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "text/event-stream": "sse",
}
# Events that are appended before their subscribers are served: what one send carries.
GROUP_EVENTS = 2000
GROUP_BYTES = 65536
MAX_TURNS = 1000  # of the loop that a group waits for the subscribers before it, each of about a millisecond


class PublishEndpoint:
    """The endpoint by which clients publish."""

    def __init__(self, feeds: Mapping[str, Feed], admission: Admission, turns: Turns, waiting: WaitingBytes) -> None:
        self._feeds = feeds
        self._admission = admission
        self._turns = turns
        self._waiting = waiting
        self._rates: dict[str, EventLimits] = {name: EventLimits() for name in feeds}

    async def create(self, request: web.Request) -> web.Response:
        """Publish the events of the body."""
        caller, name = request[CALLER], request.match_info["name"]
        if not caller.may_publish:
            raise PermissionDenied(
                "this API key may not publish: it takes a key made with `rivergate keys create --publish`"
            )
        feed = self._publishable(name)
        self._admission.check_rate(caller, request.headers)
        self._admission.count_request(caller)
        report = _BodyReport(feed, self._rates[name], caller.id)
        report.check_rate(name)
        kind = _kind_of(request)
        waiting = WaitingBody(self._waiting)
        try:
            content = await read_body(request, self._turns, waiting)
            publication = Publication(kind, content, feed.max_event_bytes)
            work = ReadWork(publication.steps())
            while not await self._turns.run(work.run):
                await report.publish(publication.take())
            await report.publish(publication.take())
        except Draining as error:
            error.add_details(report.as_json())
            raise
        finally:
            waiting.close()
        if publication.fault is not None:
            raise _fault_told(publication.fault, publication.place, report)
        return json_response({"feed": name, **report.as_json()}, status=202)

    def _publishable(self, name: str) -> PublishedFeed:
        """The feed of this name. Raises `NotFound`, and `InvalidParameter` for a feed with a source."""
        feed = find_feed(self._feeds, name)
        if not isinstance(feed, PublishedFeed):
            message = f"the events of the feed {name} have a source; only a feed with publish = true takes others"
            raise InvalidParameter(message, param="name")
        return feed


class _BodyReport:
    """What becomes of the events of one body, as its publisher is told it."""

    def __init__(self, feed: PublishedFeed, rates: EventLimits, owner: str) -> None:
        self._feed = feed
        self._rates = rates
        self._owner = owner
        self._epoch = feed.stream.log.epoch
        self.positions: list[str] = []
        self._duplicates: list[dict[str, Any]] = []

    def check_rate(self, name: str) -> None:
        """Refuse a body of a key that has published too much. Raises `RateLimited`."""
        per_second = self._feed.settings.max_events_per_second
        if per_second and (wait := self._rates.wait(self._owner, per_second, clock.monotonic())):
            message = f"this API key may publish {per_second} events a second to the feed {name}"
            raise RateLimited(message, retry_after=math.ceil(wait))

    async def publish(self, events: list[NewEvent]) -> None:
        """Publish the next events, some at a time, so that subscribers who keep up miss none."""
        feed, per_second = self._feed, self._feed.settings.max_events_per_second
        for group in groups(events, GROUP_EVENTS, GROUP_BYTES):
            if per_second:
                self._rates.charge(self._owner, len(group), per_second, clock.monotonic())
            self._note(group, feed.publish(group, clock.wall_time()))
            for _ in range(MAX_TURNS):
                if feed.stream.pass_under_way() is None:
                    break
                await asyncio.sleep(0)

    def as_json(self) -> dict[str, Any]:
        """The members of the answer."""
        taken = len(self.positions) - len(self._duplicates)
        return {"taken": taken, "duplicates": self._duplicates, "positions": self.positions}

    def _note(self, events: list[NewEvent], receipts: list[Receipt]) -> None:
        for event, receipt in zip(events, receipts, strict=True):
            position = f"{self._epoch}-{receipt.seq}"
            if receipt.came_before:
                self._duplicates.append({"index": len(self.positions), "id": event.id, "position": position})
            self.positions.append(position)


def _kind_of(request: web.Request) -> BodyKind:
    """How the body is to be read; without a content type as JSON. Raises `UnsupportedEncoding`."""
    named = request.headers.get("Content-Type", "application/json")
    kind = KINDS.get(named.partition(";")[0].strip().lower())
    if kind is None or (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise UnsupportedEncoding(
            f"the Content-Type {named[:100]!r} is not understood; these are: application/json for one event, "
            "application/x-ndjson for one a line, text/event-stream",
            param="Content-Type",
            code="unsupported_media_type",
        )
    return kind


def _fault_told(fault: ClientError, place: str, report: _BodyReport) -> ClientError:
    """The fault as the client is told it: where it is, and that what stands before it is taken."""
    reason = fault.reason
    if place:
        count = len(report.positions)
        is_taken = f"what stands before it ({count}) is taken, the rest is not" if count else "nothing of it is taken"
        reason = f"{place} of the body: {reason} ({is_taken})"
    told = type(fault)(reason, param=fault.param, code=fault.code)
    told.add_details(report.as_json())
    return told
