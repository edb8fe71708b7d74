"""Channels whose producers are the test, and viewers of several of them that check what they receive."""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import orjson

from gateway.config import StreamSettings
from gateway.delivery.pieces import View
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.merge.channel import Channel
from gateway.merge.merge import MEMORY, Memory
from gateway.merge.merges import Merges
from gateway.stream.audience import Policy
from gateway.stream.hub import Hub
from gateway.stream.log import StreamLog
from gateway.stream.room import Ring
from gateway.stream.stream import Stream
from gateway.wire import sse
from tests.delivery.memory import MemorySink, Source
from tests.stream.talk import Talk

OWNER = "me"
LIMITS = StreamSettings(keepalive_seconds=3600, subscriber_stall_seconds=3600)
_EVENT = re.compile(rb"event: (\S+)\ndata: (.*)\n(?:id: (\S+)\n)?\n")


class TalkSource:
    """A stream of the hub as the source of a channel (`ChannelSource`)."""

    def __init__(self, hub: Hub, name: str) -> None:
        self._hub = hub
        self._name = name

    def log(self) -> StreamLog | None:
        found = self._hub.find(self._name)
        return None if found is None else found.stream.log

    def first_seq(self) -> int:
        return 0

    def join(self, view: View, seq: int, *, from_now: bool) -> Subscriber:
        found = self._hub.find(self._name)
        assert found is not None
        return found.stream.join_with(view, seq)


class RingSource:
    """A ring of the newest events as the source of a channel, as a feed has it (`ChannelSource`)."""

    def __init__(self, name: str, events: int) -> None:
        self.stream = Stream(f"feed:{name}", "f1", LIMITS, Source(), Policy(), Ring(events, "skip"))

    def log(self) -> StreamLog:
        return self.stream.log

    def first_seq(self) -> int:
        return self.stream.log.first_seq

    def join(self, view: View, seq: int, *, from_now: bool) -> Subscriber:
        return self.stream.join_with(view, seq)


class World:
    """A hub with streams and rings, and the merges of them."""

    def __init__(self, streams: Sequence[str], rings: Sequence[str] = (), memory: Memory = MEMORY) -> None:
        self.hub = Hub(LIMITS)
        self.merges = Merges(self.hub, lambda: LIMITS, lambda: 1000, memory)
        self.talks: dict[str, Talk] = {}
        for name in streams:
            self.talks[name] = Talk(self.hub, name, on_last_reader="drain", keepalive_seconds=3600)
            self.hub.add_stream(self.talks[name])
        self.rings = {f"feed:{name}": RingSource(name, 8) for name in rings}
        self.written: dict[str, int] = dict.fromkeys([*streams, *self.rings], 0)  # events, the end included
        self.ended: set[str] = set()

    @property
    def names(self) -> list[str]:
        """All channels."""
        return list(self.written)

    def append(self, name: str, count: int = 1) -> None:
        """Append events to a channel, whose data are their numbers."""
        stream = self.rings[name].stream if name in self.rings else self.talks[name].stream
        first = self.written[name]
        frames = [sse.frame(b"%d" % number) for number in range(first, first + count)]
        self.written[name] += count
        if count == 1:
            stream.on_frame(frames[0])
        else:
            stream.on_frames(frames)

    def end(self, name: str) -> None:
        """End the stream of a channel; the end counts as an event."""
        self.talks[name].end()
        self.ended.add(name)
        self.written[name] += 1

    def channels(self, names: Collection[str]) -> list[Channel]:
        """New channels of these names, as each request makes them."""
        found = []
        for name in names:
            source = self.rings[name] if name in self.rings else TalkSource(self.hub, name)
            log = source.log()
            assert log is not None
            found.append(Channel(name, OWNER, log, source))
        return found

    def open(
        self, names: Collection[str], last_event_id: str | None = None, now: Collection[str] = (), room: int = 1 << 30
    ) -> tuple[Subscriber, MemorySink] | None:
        """Subscribe as the endpoint does; None: everything has been sent."""
        place = None if last_event_id is None else self.merges.place_of(last_event_id)
        merge = self.merges.merge_of(self.channels(names))
        if place is not None and merge.has_sent_all(place):
            return None
        subscriber, sink = merge.join(place, now, chunked=False), MemorySink(room=room)
        subscriber.attach(sink)
        return subscriber, sink


class Told(NamedTuple):
    """One event as a viewer sees it."""

    id: str | None
    name: str
    data: bytes

    @property
    def channel(self) -> str:
        """The channel of a control event."""
        return str(orjson.loads(self.data)["channel"])


def told_in(body: bytes) -> list[Told]:
    """The events in these bytes, which are nothing else."""
    assert _EVENT.sub(b"", body) == b"", body[:200]
    return [
        Told(event_id.decode() if event_id else None, name.decode(), data)
        for name, data, event_id in _EVENT.findall(body)
    ]


class Viewer:
    """A page that subscribes to some channels, is cut off, comes back, and checks each event that it gets.

    `seen` holds the position of each channel: what the viewer has seen, or was told to be missing.
    """

    def __init__(self, world: World, names: Collection[str], now: Collection[str] = ()) -> None:
        self._world = world
        self.names = set(names)
        self._now = now
        self._known: dict[str, int | None] = {}  # what it had seen of each channel when the last event came
        self.seen = {name: self._begin(name) for name in names}
        self.missed = 0  # events of streams that it was told to be missing
        self.resets = 0  # how often it had to begin anew
        self.last_id: str | None = None
        self._subscription: tuple[Subscriber, MemorySink] | None = None
        self.is_done = False  # it was told that everything has been sent
        self.arrive()

    @property
    def is_up_to_date(self) -> bool:
        """Whether it has seen all that was written, or was told that it is missing."""
        return all(seen in (None, self._world.written[name]) for name, seen in self.seen.items())

    def arrive(self, room: int = 1 << 30) -> None:
        """Subscribe, behind the last event that was seen."""
        if self.last_id is not None and self._world.merges.place_of(self.last_id) is None:
            self.resets += 1
            self._known.clear()
            self.seen = {name: self._begin(name) for name in self.names}
            self.last_id = None
        self._subscription = self._world.open(self.names, self.last_id, self._now, room)
        self.is_done = self._subscription is None

    def change(self, names: Collection[str]) -> None:
        """Leave, and come back for other channels."""
        self.leave()
        self.names = set(names)
        self.seen = {name: self.seen[name] if name in self.seen else self._begin(name) for name in names}
        self.arrive()

    def leave(self) -> None:
        """Hang up, with all that was received read."""
        self.read()
        if self._subscription is not None:
            self._subscription[0].end(Ending.LEFT)
            self._subscription = None

    def drop(self, events: int) -> None:
        """Hang up when only this many of the events on the way have arrived."""
        self.read(events)
        if self._subscription is not None:
            self._subscription[1].writes.clear()
        self.leave()

    def make_room(self, room: int) -> None:
        """Take this many bytes more, if the sink was blocked."""
        if self._subscription is not None:
            subscriber, sink = self._subscription
            sink.room = room
            if sink.blocked and subscriber.ending is None:
                sink.blocked = False
                subscriber.on_writable()

    def read(self, events: int | None = None) -> None:
        """Read the events that have come, or the first few, and check them."""
        if self._subscription is None:
            return
        _, sink = self._subscription
        told = told_in(sink.body)[:events]
        sink.writes.clear()
        for event in told:
            self._take(event)
            if event.id:
                self.last_id = event.id
                self._known = dict(self.seen)

    def _begin(self, name: str) -> int | None:
        """Where a channel begins, if that is known before its first event comes."""
        if name in self._known:
            return self._known[name]  # it was one of the channels when the last event came
        return None if name in self._world.rings or name in self._now else 0

    def _take(self, event: Told) -> None:
        if event.name == "gap":
            missed = orjson.loads(event.data)["missed"]
            assert missed is None or missed > 0
            if event.channel not in self._world.rings:
                self.missed += missed or 1
            before = self.seen[event.channel]
            self.seen[event.channel] = None if before is None or missed is None else before + missed
        elif event.name == "end":
            self._see(event.channel, self._world.written[event.channel] - 1)
        else:
            self._see(event.name, int(event.data))

    def _see(self, name: str, number: int) -> None:
        before = self.seen[name]
        assert before is None or number == before, f"{name}: {number} in place of {before}"
        self.seen[name] = number + 1
