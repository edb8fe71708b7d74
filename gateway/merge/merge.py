"""Shell: a merge: one log of the events of several channels, shared by all who subscribe to the same channels.

In: the logs of the channels; the merge is a subscriber of each as long as it has subscribers itself. Out: a stream
like any other, with its own epoch. An event comes into it in the very call that appends it to the log of its channel.
The invariant: for every channel, the merged log and what stands before it (`backlog.py`) is the channel's log, in
order, each event once; what is missing is told by a `gap` for this channel.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from gateway.config import StreamSettings
from gateway.delivery.long_piece import Sendable
from gateway.delivery.pieces import View
from gateway.delivery.subscriber import Host, Subscriber
from gateway.endings import Ending
from gateway.merge.backlog import Backlog, Backlogs
from gateway.merge.bell import Bell, BellView
from gateway.merge.channel import Channel
from gateway.merge.event_order import EventOrder
from gateway.merge.merged_view import BacklogView, MergedView
from gateway.stream.audience import Policy
from gateway.stream.room import Ring
from gateway.stream.stream import Stream
from gateway.stream.view import MAX_PIECE_BYTES

_log = logging.getLogger("rivergate.merge")


@dataclass(frozen=True, slots=True)
class Memory:
    """How much a merge remembers."""

    # Frames, which are the very ones of the channels' logs; what the merge has forgotten is read from there.
    frames: int = 1000
    # Events of which the channel is known, at one byte each. Whoever comes back from further behind begins anew.
    events: int = 1 << 18


MEMORY = Memory()
# A merge that has rested takes in what has come to its channels meanwhile, unless it is more than this many events:
# then another one begins behind them. To take them in takes 4 ms.
MAX_CAUGHT_UP = 10_000


class Place(NamedTuple):
    """How far a subscriber has come, by the id of the last event that it has seen."""

    merge: "Merge"
    seq: int | None  # in the merged log; None: within a backlog
    positions: Mapping[str, int]  # by the names of the channels


class Newcomer(Subscriber):
    """A subscriber that is sent a backlog first, and then goes on with the view that all others have."""

    __slots__ = ("_join_seq", "_lasting")

    def __init__(self, host: Host, view: View, backlog: Backlog, lasting: View) -> None:
        super().__init__(host, view, backlog.first_seq)
        self._join_seq = backlog.join_seq
        self._lasting: View | None = lasting  # None once it is the view

    def send(self, data: Sendable, next_seq: int) -> None:
        super().send(data, next_seq)
        if self._lasting is not None and next_seq >= self._join_seq:
            self.view, self._lasting = self._lasting, None


class Merge:
    """The merged stream of some channels, and its producer."""

    def __init__(
        self,
        epoch: str,
        channels: Sequence[Channel],
        limits: StreamSettings,
        retry_ms: Callable[[], int],
        memory: Memory,
    ) -> None:
        """Begin behind all that the channels hold. `retry_ms`: when one that is sent away is to come again."""
        self.epoch = epoch
        self.channels = tuple(channels)
        ring = Ring(memory.frames, "skip", newest_only=True)
        self.stream = Stream(f"merge:{epoch}", epoch, limits, self, Policy(), ring)
        ends = [channel.end_seq for channel in channels]
        are_over = [channel.ending is not None for channel in channels]
        self._order = EventOrder(ends, are_over, memory.events)
        self._retry_ms = retry_ms
        self._joined: list[Subscriber | None] = [None] * len(channels)  # this merge, at each channel
        self._drained: set[int] = set()  # channels that have sent the merge away, because the gateway stops
        self._backlogs = Backlogs()
        self._lasting: dict[bool, MergedView] = {}
        self._newest: dict[bool, tuple[Backlog, BacklogView]] = {}  # for subscribers that come one after the other
        if not self._order.open_channels():
            self.stream.close(Ending.COMPLETED, [])

    @property
    def is_outdated(self) -> bool:
        """Whether nobody new is to join.

        A fault has ended the merge, or a channel goes on behind its end, or the merge has rested for too many events.
        """
        return (
            self.stream.ending is Ending.INTERNAL_ERROR
            or any(channel.has_begun_again for channel in self.channels)
            or (not self.stream.is_read and self._events_behind() > MAX_CAUGHT_UP)
        )

    # --- who subscribes

    def place_at(self, seq: int) -> Place:
        """The place behind the events before `seq`. Raises `LookupError` if it is not known (any more)."""
        return Place(self, seq, self._named(self._order.positions_at(seq)))

    def place_in_backlog(self, number: int, count: int) -> Place:
        """The place behind the first `count` events of this backlog. Raises `LookupError`."""
        return Place(self, None, self._named(self._backlogs.find(number).positions_at(count)))

    def has_sent_all(self, place: Place) -> bool:
        """Whether all channels have ended, and whoever is at this place has been sent all of them."""
        return all(channel.is_sent_at(place.positions.get(channel.name, 0)) for channel in self.channels)

    def join(self, place: Place | None, now: Collection[str], *, chunked: bool) -> Subscriber:
        """A new subscriber that goes on at `place`.

        A channel of which the place says nothing begins at its first event, and those named in `now` at the next one.
        """
        self._catch_up(() if place is not None else now)
        lasting = self._lasting_view(chunked)
        if place is not None and place.merge is self and place.seq is not None:
            return self.stream.join_with(lasting, place.seq)
        seen = {} if place is None else place.positions
        stops = self._order.positions
        starts = [
            min(self._start(channel, seen.get(channel.name), now), stop)
            for channel, stop in zip(self.channels, stops, strict=True)
        ]
        backlog = self._backlogs.between(self._order.next_seq, starts, stops)
        if backlog.count:
            subscriber: Subscriber = Newcomer(self.stream, self._view_of(backlog, chunked), backlog, lasting)
            self.stream.admit(subscriber)
        else:
            subscriber = self.stream.join_with(lasting, backlog.join_seq)
        self._send_away_if_drained()
        return subscriber

    def close(self) -> None:
        """Send all subscribers away, to come again when the gateway has restarted."""
        self.stream.dismiss(self._retry_ms)

    # --- the stream's side (Producer)

    def pause(self) -> None:
        """Nothing: a ring forgets its oldest events and is never full."""

    def resume(self) -> None:
        """Nothing: a ring never pauses its producer."""

    def stop(self, ending: Ending) -> None:
        """Leave the channels: the last subscriber has left. The merge goes on where it was when one comes back."""
        joined, self._joined = self._joined, [None] * len(self.channels)
        for subscriber in joined:
            if subscriber is not None:
                subscriber.end(ending)

    # --- the channels' side

    def _catch_up(self, now: Collection[str] = ()) -> None:
        """Join the channels that have not been joined, and take in what they hold.

        `now`: the names of channels of which nothing is wanted that was before.
        """
        for number in self._order.open_channels():
            if self._joined[number] is None and number not in self._drained:
                self._join_channel(number, from_now=self.channels[number].name in now)
            if not self._order.ended[number]:
                self._pull(number)

    def _join_channel(self, number: int, *, from_now: bool) -> None:
        channel = self.channels[number]
        channel.renew()
        if (log := channel.log) is None or log.ending is not None:
            return
        subscriber = channel.source.join(BellView(log), log.next_seq, from_now=from_now)
        self._joined[number] = subscriber
        subscriber.attach(Bell(partial(self._on_ring, number)))
        subscriber.when_ended(partial(self._on_left, number))

    def _on_ring(self, number: int) -> None:
        """Take in what is new at a channel, in the call that has appended it there.

        A fault here must not reach the channel, which serves others: it ends this merge.
        """
        try:
            if not self._order.ended[number]:
                self._pull(number)
        except Exception:
            _log.exception("a merge failed", extra={"fields": {"stream_id": self.stream.id}})
            self.stream.cut(Ending.INTERNAL_ERROR)
            self.stop(Ending.INTERNAL_ERROR)

    def _pull(self, number: int) -> None:
        channel, order = self.channels[number], self._order
        if (missed := channel.first_seq - order.positions[number]) > 0:
            order.add_gap(number, missed)
            self.stream.on_frame(channel.gap(missed))
        log = channel.log
        while log is not None and (seq := order.positions[number]) < log.next_seq:
            frames = log.read(seq, MAX_PIECE_BYTES)
            order.add(number, len(frames))
            self.stream.on_frames(frames)
        if (ending := channel.ending) is not None:
            self._end(number, ending)

    def _end(self, number: int, ending: Ending) -> None:
        channel = self.channels[number]
        end = channel.end(ending)
        channel.close(ending)
        self._order.add_end(number)
        if self._order.open_channels():
            self.stream.on_frame(end)
            self._send_away_if_drained()
        else:
            self.stream.close(Ending.COMPLETED, [end])

    def _on_left(self, number: int) -> None:
        """A subscriber of this merge has ended at its channel."""
        subscriber, self._joined[number] = self._joined[number], None
        if subscriber is None or self._order.ended[number]:
            return
        if subscriber.ending is Ending.DRAINED:
            self._drained.add(number)
            self._send_away_if_drained()
        else:  # the stream of the channel had a fault, and is about to end
            asyncio.get_running_loop().call_soon(self._come_back)

    def _come_back(self) -> None:
        if self.stream.is_read and self.stream.ending is None:
            self._catch_up()

    def _send_away_if_drained(self) -> None:
        """Send the subscribers away if nothing comes any more but from a gateway that has restarted."""
        if self._drained and self._drained.issuperset(self._order.open_channels()):
            self.close()

    # --- inside

    def _events_behind(self) -> int:
        """How many events of the channels are still there and not merged."""
        order = self._order
        open_channels = [(self.channels[number], order.positions[number]) for number in order.open_channels()]
        return sum(channel.end_seq - max(channel.first_seq, at) for channel, at in open_channels)

    def _start(self, channel: Channel, seen: int | None, now: Collection[str]) -> int:
        """Where a subscriber begins that has seen this channel up to `seen`; None: it has seen nothing."""
        if seen is not None:
            return seen
        if channel.name in now:
            return channel.next_seq
        return channel.begin_seq

    def _named(self, positions: Sequence[int]) -> dict[str, int]:
        return {channel.name: position for channel, position in zip(self.channels, positions, strict=True)}

    def _lasting_view(self, chunked: bool) -> MergedView:
        view = self._lasting.get(chunked)
        if view is None:
            view = self._lasting[chunked] = MergedView(self.stream.log, self._order, self.channels, chunked=chunked)
        return view

    def _view_of(self, backlog: Backlog, chunked: bool) -> BacklogView:
        """The view of a backlog, which subscribers that come at the same position share."""
        made = self._newest.get(chunked)
        if made is not None and made[0] is backlog:
            return made[1]
        view = BacklogView(self.stream.log, self._order, self.channels, backlog, chunked=chunked)
        self._newest[chunked] = backlog, view
        return view
