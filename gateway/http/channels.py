"""Shell: the subscriptions to several streams and feeds over one connection, which both ways open alike.

In: who asks, and for which channels. Out: a subscriber of their merge, as `subscriptions.py` opens one of a stream.
The invariant: a client is sent nothing that it may not read. A channel that there is not, or that the client may not
read, keeps it from none of the others: its end is told at once, with the error that a subscription to it alone has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.access.viewer_token import Viewer, ViewerToken, check_audience
from gateway.cluster.directory import Directory
from gateway.delivery.pieces import View
from gateway.delivery.subscriber import Subscriber
from gateway.errors import InvalidParameter, RivergateError
from gateway.feeds.feed import Feed
from gateway.http.admission import RequestHead
from gateway.http.channel_request import FEED, ChannelRequest, audience_of, channels_in_query
from gateway.http.event_stream import encode_events_head
from gateway.http.subscriptions import (
    EventsRequest,
    Subscription,
    Subscriptions,
    begun,
    find_feed,
    readable,
)
from gateway.http.viewing import last_event_id_of, prelude
from gateway.merge.channel import Channel
from gateway.merge.merge import Merge, Place
from gateway.merge.merges import Merges
from gateway.stream.log import StreamLog
from gateway.wire import http1, sse


@dataclass(frozen=True, slots=True)
class StreamSource:
    """A stream as the source of a channel (`ChannelSource`)."""

    directory: Directory
    id: str

    def log(self) -> StreamLog | None:
        production = self.directory.here(self.id)
        return None if production is None else production.stream.log

    def first_seq(self) -> int:
        """The first event, so that a subscriber is told how much was forgotten before it came."""
        return 0

    def join(self, view: View, seq: int, *, from_now: bool) -> Subscriber:
        production = self.directory.here(self.id)
        assert production is not None  # its log has not ended, so it runs here
        return production.stream.join_with(view, seq)


@dataclass(frozen=True, slots=True)
class FeedSource:
    """A feed as the source of a channel (`ChannelSource`)."""

    feed: Feed

    def log(self) -> StreamLog:
        return self.feed.stream.log

    def first_seq(self) -> int:
        return self.feed.begin_seq

    def join(self, view: View, seq: int, *, from_now: bool) -> Subscriber:
        return self.feed.join_with(view, seq, from_now=from_now)


@dataclass(frozen=True, slots=True)
class Selection:
    """The channels of a request: those that the client is sent, and for each of the others why it is not."""

    channels: Sequence[Channel]
    refused: Mapping[str, RivergateError]


@dataclass(frozen=True, slots=True)
class ChannelSubscriptions:
    """Opens subscriptions to several channels, and finds out who may read them."""

    subscriptions: Subscriptions
    merges: Merges
    directory: Directory

    def open(self, asked: EventsRequest) -> Subscription | None:
        """A subscription to the channels that the query names; None if the client has been sent everything.

        Raises `InvalidParameter`, `NotFound`, `PermissionDenied`, `ServiceUnavailable`, `RateLimited`.
        """
        token = self.subscriptions.token_in(asked.query, asked.head.headers)
        listed = token.audience.split(" ") if isinstance(token, ViewerToken) else ()
        wanted = channels_in_query(asked.query.items(), listed)
        if asked.query.get("ids", "position") != "position":
            raise InvalidParameter("with several channels, ids can only be position", param="ids")
        last_event_id = last_event_id_of(asked.head.headers, asked.query)
        place = None if last_event_id is None else self.merges.place_of(last_event_id)
        selection = self.select(wanted, token, asked.head, place)
        merge = self.merges.merge_of(selection.channels)
        if place is not None and merge.has_sent_all(place):
            return None
        is_lost = last_event_id is not None and place is None
        first = self._first(asked, merge, selection, is_lost=is_lost)
        owner = min((channel.owner for channel in selection.channels if channel.owner), default=asked.head.owner)
        leave = self.subscriptions.places.take(merge.stream, owner)
        now = frozenset[str]() if is_lost else wanted.now
        subscriber = merge.join(place, now, chunked=asked.chunked)
        return begun(subscriber, leave, token, first)

    def select(
        self, wanted: ChannelRequest, token: Viewer | None, head: RequestHead, place: Place | None = None
    ) -> Selection:
        """The channels that the client may read, of those that it wants; raises the first error if there are none.

        A stream of the client's `place` that has been forgotten since is still a channel, so that the client goes on
        in the same merge.
        """
        known = {} if place is None else {channel.name: channel for channel in place.merge.channels}
        channels: list[Channel] = []
        refused: dict[str, RivergateError] = {}
        for name in wanted.names:
            try:
                channels.append(self._channel(name, token, head, known.get(name)))
            except RivergateError as error:
                refused[name] = error
        if not channels:
            raise next(iter(refused.values()))
        return Selection(channels, refused)

    def _channel(self, name: str, token: Viewer | None, head: RequestHead, known: Channel | None) -> Channel:
        """The channel of this name, if the client may read it. Raises `NotFound`, `PermissionDenied`."""
        if token is not None:
            check_audience(token, audience_of(name))
        if name.startswith(FEED):
            feed = find_feed(self.subscriptions.feeds, name.removeprefix(FEED), tells_names=token is None)
            if known is None:
                feed.reopen()
            return Channel(name, "", feed.stream.log, FeedSource(feed))
        production = self.directory.here(name)
        if production is None and known is not None and _may_read(known, token, head):
            return known
        stream = readable(production, token, head, name)
        return Channel(name, stream.owner, stream.stream.log, StreamSource(self.directory, name))

    def _first(self, asked: EventsRequest, merge: Merge, selection: Selection, *, is_lost: bool) -> bytes:
        """The head, the prelude, and what is told of each channel before its events.

        `is_lost`: the client has a position that is not known, so that all channels begin anew.
        """
        told = b""
        if is_lost:
            told = b"".join(
                sse.control("reset", {"channel": channel.name, "epoch": merge.epoch}) for channel in merge.channels
            )
        for name, error in selection.refused.items():
            told += sse.control("end", {"channel": name, "ending": error.ending, **error.envelope()})
        headers = self.subscriptions.admission.answer_headers(asked.head)
        first = encode_events_head(headers, chunked=asked.chunked)
        first += prelude(merge.stream.log, reset=False, chunked=asked.chunked)
        return first + (http1.encode_chunk(told) if asked.chunked and told else told)


def _may_read(channel: Channel, token: Viewer | None, head: RequestHead) -> bool:
    return token is not None or (head.caller is not None and head.caller.may_see(channel.owner))
