"""Shell: the subscriptions to streams and feeds, which both ways (the fast way and aiohttp's) open alike.

In: who asks, for whose events, and from where on. Out: a subscriber that counts from then on, with the beginning of
its answer; the caller gives it a sink, or ends it. The invariant: whoever is refused has taken no place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gateway import clock
from gateway.access.viewer_token import Viewer, check_audience
from gateway.delivery.subscriber import Subscriber
from gateway.errors import InvalidParameter, NotFound
from gateway.feeds.feed import Feed
from gateway.http.admission import Admission, RequestHead
from gateway.http.capacity import Capacity
from gateway.http.event_stream import encode_events_head
from gateway.http.in_force import InForce
from gateway.http.places import Leave, Places
from gateway.http.viewing import position_of, prelude, token_text, viewer
from gateway.stream.position import StartPoint, start_of
from gateway.stream.production import Production
from gateway.stream.stream import Stream
from gateway.stream.view import Framing


class EventsRequest(NamedTuple):
    """A request for the events of a stream or a feed, whichever way it takes."""

    name: str  # the id of the stream, or the name of the feed
    query: Mapping[str, str]  # the one of a request for several channels may have a name twice
    head: RequestHead
    chunked: bool  # HTTP/1.1


class Subscription(NamedTuple):
    """A subscriber that has no sink yet, and the beginning of its answer."""

    subscriber: Subscriber
    first: bytes  # the head, and the first bytes of the body


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """Opens subscriptions. `capacity` holds the watch over sockets that are taken over."""

    feeds: Mapping[str, Feed]
    places: Places
    admission: Admission
    in_force: InForce
    capacity: Capacity

    def token_in(self, query: Mapping[str, str], headers: Mapping[str, str]) -> Viewer | None:
        """The bearer of the token in a request, if there is one, whatever it is for.

        Raises `AuthenticationFailed`, `PermissionDenied`.
        """
        text = token_text(query, headers, self.in_force)
        return None if text is None else viewer(text, self.in_force)

    def token_for(self, audience: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Viewer | None:
        """The bearer of the token in a request, if it may read this stream or feed. Raises what `token_in` raises."""
        token = self.token_in(query, headers)
        if token is not None:
            check_audience(token, audience)
        return token

    def to_stream(self, asked: EventsRequest, production: Production, token: Viewer | None) -> Subscription | None:
        """A subscription to a stream that the caller may read; None if it has been sent everything, the end included.

        Raises `InvalidParameter`, `ServiceUnavailable`, `RateLimited`.
        """
        stream = production.stream
        start = start_of(stream.log, *position_of(asked.head.headers, asked.query), oldest=0)
        if start is None:
            return None
        is_audience = _counts_as_audience(asked.query)
        first = self._first(asked, start, stream, {"x-stream-id": production.id, **production.headers()})
        leave = self.places.take(stream, production.owner)
        subscriber = stream.join(
            chunked=asked.chunked, framing=Framing.EVENTS, seq=start.seq, is_audience=is_audience
        )
        return begun(subscriber, leave, token, first)

    def to_answer(self, asked: EventsRequest, production: Production, seq: int) -> Subscription:
        """A subscription to a stream from this position on, in the framing of its `POST` request.

        Raises `RateLimited`, `ServiceUnavailable`.
        """
        headers = {"x-stream-id": production.id, **production.headers()}
        first = encode_events_head({**self.admission.answer_headers(asked.head), **headers}, chunked=asked.chunked)
        leave = self.places.take(production.stream, production.owner)
        return begun(production.stream.join(chunked=asked.chunked, seq=seq), leave, None, first)

    def to_feed(self, asked: EventsRequest) -> Subscription | None:
        """A subscription to a feed: the newest events, then each as it comes; the first one connects the source.

        None if the client has been sent everything. Raises `NotFound`, and what `token_for` and `to_stream` raise.
        """
        token = self.token_for(
            f"feed:{asked.name}", asked.query, asked.head.headers
        )  # first: a refusal of its bearer names no feed
        feed = find_feed(self.feeds, asked.name, tells_names=token is None)
        source_ids = _wants_source_ids(asked.query)
        last_id, from_now = position_of(asked.head.headers, asked.query)
        if feed.stream.log.ending is not None and last_id is None:
            feed.reopen()
        stream = feed.stream
        start = start_of(stream.log, last_id, from_now, oldest=stream.oldest_seq)
        if start is None:
            return None
        first = self._first(asked, start, stream, {})
        leave = self.places.take(stream, asked.head.owner if token is None else "")
        only_new = from_now and last_id is None
        subscriber = feed.join(chunked=asked.chunked, seq=start.seq, source_ids=source_ids, from_now=only_new)
        return begun(subscriber, leave, token, first)

    def _first(self, asked: EventsRequest, start: StartPoint, stream: Stream, headers: Mapping[str, str]) -> bytes:
        """The head and the prelude."""
        answer_headers = self.admission.answer_headers(asked.head)
        answer_headers.update(headers)
        head = encode_events_head(answer_headers, chunked=asked.chunked)
        return head + prelude(stream.log, reset=start.reset, chunked=asked.chunked)


def find_feed(feeds: Mapping[str, Feed], name: str, *, tells_names: bool = True) -> Feed:
    """The feed of this name. Raises `NotFound`.

    `tells_names`: the error names the feeds that there are, of which the bearer of a token may read a few only.
    """
    feed = feeds.get(name)
    if feed is None:
        known = f"; known feeds: {(', '.join(feeds) or 'none')[:300]}" if tells_names else ""
        raise NotFound(f"there is no feed {name[:100]!r}{known}", param="name")
    return feed


def readable(production: Production | None, token: Viewer | None, head: RequestHead, stream_id: str) -> Production:
    """The stream, if it is there and its owner or the bearer of a viewer token asks for it. Raises `NotFound`."""
    caller = head.caller
    if production is not None and (token is not None or (caller is not None and caller.may_see(production.owner))):
        return production
    raise NotFound(f"there is no stream {stream_id[:100]!r} (any more)", param="id")


def begun(subscriber: Subscriber, leave: Leave | None, token: Viewer | None, first: bytes) -> Subscription:
    """The subscription of a subscriber that has joined; its place is given back when it ends."""
    subscriber.when_ended(leave)
    if token is not None:
        subscriber.expire_in(token.expires_at - clock.wall_time())
    return Subscription(subscriber, first)


def _wants_source_ids(query: Mapping[str, str]) -> bool:
    """Whether the query has `ids=source`: the source's ids follow the gateway's, for clients that read only `id`."""
    wanted = query.get("ids", "position")
    if wanted not in ("position", "source"):
        raise InvalidParameter("ids must be position or source", param="ids")
    return wanted == "source"


def _counts_as_audience(query: Mapping[str, str]) -> bool:
    """Whether the subscriber is a reason for its stream to go on; with `audience=no` it only looks on."""
    counts = query.get("audience", "yes")
    if counts not in ("yes", "no"):
        raise InvalidParameter("audience must be yes or no", param="audience")
    return counts == "yes"
