"""Whatever happens in whatever order, a subscriber reads the log from its start, in order, exactly once.

The machine drives a `Stream` and its `EventsView` over in-memory sinks, through every move that clients and the
producer have, and keeps a model: what was appended, and where each client stands. At every step each client's bytes
are the beginning of what the model says; `gap` events account for what was trimmed, to the event.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.config import StreamSettings
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.stream.position import start_of
from gateway.stream.room import SELDOM, Ring
from gateway.stream.stream import Stream
from gateway.stream.view import Framing
from gateway.wire import sse
from tests.delivery.memory import MemorySink, Source

EPOCH = "e1"
RING = 8  # events that the ring keeps: few, so that clients fall out of it


@dataclass
class Client:
    """A subscriber and the events that it was sent, as a client parses them."""

    subscriber: Subscriber
    sink: MemorySink
    start: int
    left: bool = False
    events: list[sse.Event] = field(default_factory=list)
    parsed: int = 0  # writes that have been parsed
    decoder: sse.BlockDecoder = field(default_factory=sse.BlockDecoder)
    checked: int = 0  # events that have been checked
    position: int = 0  # behind the events that have been checked
    at_end: bool = False  # the last checked event was the end

    def __post_init__(self) -> None:
        self.position = self.start

    def look(self) -> None:
        for data in self.sink.writes[self.parsed :]:
            self.events += [sse.decode(block) for block in self.decoder.feed(data)]
        self.parsed = len(self.sink.writes)


class StreamMachine(RuleBasedStateMachine):
    ring: Ring | None = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.source = Source()
        self.model: list[bytes] = []
        self.clients: list[Client] = []
        self.stream: Stream = self.call(self._stream)

    def _stream(self) -> Stream:
        return Stream(
            "s", EPOCH, StreamSettings(max_log_bytes=4096, abort_grace_ms=3_600_000), self.source, ring=self.ring
        )

    def call(self, act: Any, *arguments: Any) -> Any:
        """Call `act` inside the loop, and let everything run that it causes."""

        async def run() -> Any:
            result = act(*arguments)
            for _ in range(3):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(run())

    def teardown(self) -> None:
        for client in self.clients:
            self.call(client.subscriber.end)
        self.call(self.stream.close, Ending.STOPPED, [])
        self.loop.close()

    # --- the producer

    @precondition(lambda self: self.stream.ending is None)
    @rule(sizes=st.lists(st.sampled_from([1, 20, 300, 2000]), min_size=1, max_size=12), at_once=st.booleans())
    def append(self, sizes: list[int], at_once: bool) -> None:
        batch = [sse.frame(b"%d:" % (len(self.model) + n) + b"x" * size) for n, size in enumerate(sizes)]
        self.model += batch
        if at_once:
            self.call(self.stream.on_frames, batch)
        else:
            for frame in batch:
                self.call(self.stream.on_frame, frame)

    @precondition(lambda self: self.stream.ending is None and len(self.model) > 5)
    @rule(ending=st.sampled_from([Ending.COMPLETED, Ending.STOPPED, Ending.UPSTREAM_ERROR]), words=st.booleans())
    def end(self, ending: Ending, words: bool) -> None:
        last = [b"data: last words\n\n"] if words else []
        self.model += last
        self.call(self.stream.close, ending, last)

    # --- clients

    def join_at(self, last_event_id: str | None, *, from_now: bool, room: int | None, blocked: bool) -> Client | None:
        start = start_of(self.stream.log, last_event_id, from_now=from_now, oldest=self.stream.log.first_seq)
        if start is None:
            assert self.stream.ending is not None
            return None
        assert not start.reset

        def act() -> Client:
            subscriber = self.stream.join(chunked=False, framing=Framing.EVENTS, seq=start.seq)
            return Client(subscriber, MemorySink(room=room, blocked=blocked), start.seq)

        client: Client = self.call(act)
        self.clients.append(client)
        return client

    @rule(from_now=st.booleans(), room=st.sampled_from([None, 1, 100, 5000]), blocked=st.booleans())
    def join(self, from_now: bool, room: int | None, blocked: bool) -> None:
        client = self.join_at(None, from_now=from_now, room=room, blocked=blocked)
        assert client is not None
        self.call(client.subscriber.attach, client.sink)

    @rule(from_now=st.booleans())
    def join_without_attaching_yet(self, from_now: bool) -> None:
        self.join_at(None, from_now=from_now, room=None, blocked=False)

    def pick(self, data: st.DataObject, which: list[Client]) -> Client:
        return which[data.draw(st.integers(0, len(which) - 1))]

    def staying(self) -> list[Client]:
        return [client for client in self.clients if client.subscriber.ending is None]

    def waiting(self) -> list[Client]:
        return [client for client in self.staying() if client.subscriber.sink is None]

    def blocked(self) -> list[Client]:
        return [client for client in self.staying() if client.subscriber.sink is not None and client.sink.blocked]

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def attach(self, data: st.DataObject) -> None:
        client = self.pick(data, self.waiting())
        self.call(client.subscriber.attach, client.sink)

    @precondition(lambda self: self.staying())
    @rule(data=st.data(), room=st.sampled_from([1, 50, 1000]))
    def take_so_much_and_block(self, data: st.DataObject, room: int) -> None:
        self.pick(data, self.staying()).sink.room = room

    @precondition(lambda self: self.blocked())
    @rule(data=st.data(), room=st.sampled_from([None, 1, 500]), say_so=st.booleans())
    def have_room_again(self, data: st.DataObject, room: int | None, say_so: bool) -> None:
        client = self.pick(data, self.blocked())
        client.sink.room, client.sink.blocked = room, False
        self.call(client.subscriber.on_writable)
        if say_so:
            self.call(client.subscriber.on_writable)

    @precondition(lambda self: self.staying())
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        client = self.pick(data, self.staying())
        client.left = True
        self.call(client.subscriber.end)

    @precondition(lambda self: any(client.events and client.events[-1].id for client in self.clients))
    @rule(data=st.data(), room=st.sampled_from([None, 200]))
    def come_back_behind_the_last_event_seen(self, data: st.DataObject, room: int | None) -> None:
        before = self.pick(data, [client for client in self.clients if client.events and client.events[-1].id])
        last_id = (before.events[-1].id or b"").decode()
        self.call(before.subscriber.end)
        client = self.join_at(last_id, from_now=False, room=room, blocked=False)
        if client is None:
            assert before.events[-1].name == b"end"
        else:
            assert client.start == int(last_id.partition("-")[2]) + 1
            self.call(client.subscriber.attach, client.sink)

    # --- what always holds

    @invariant()
    def every_subscriber_was_told_the_log_from_its_start_in_order_once(self) -> None:
        for client in self.clients:
            client.look()
            assert client.decoder.finish() == b""
            self.check(client)

    def check(self, client: Client) -> None:
        """Check the events that have come to a client since the last check."""
        for event in client.events[client.checked :]:
            assert not client.at_end
            if event.name == b"gap":
                missed = orjson.loads(event.data or b"")["missed"]
                assert missed > 0
                assert event.id is None
                client.position += missed
                assert client.position <= self.stream.log.first_seq
            elif event.name == b"end":
                client.at_end = True
                assert client.position == len(self.model)
                assert event.id == f"{EPOCH}-{client.position}".encode()
                assert orjson.loads(event.data or b"") == {"ending": self.stream.ending}
                assert client.subscriber.ending is Ending.COMPLETED
            else:
                assert event.id == f"{EPOCH}-{client.position}".encode()
                assert sse.frame(event.data or b"") == self.model[client.position]
                client.position += 1
        client.checked = len(client.events)
        assert client.position == client.subscriber.position

    @invariant()
    def nobody_who_can_take_bytes_is_behind(self) -> None:
        for client in self.staying():
            if client.subscriber.sink is not None and not client.sink.blocked:
                assert client.subscriber.position == len(self.model)
                assert self.stream.ending is None

    @invariant()
    def the_log_is_the_end_of_what_was_appended(self) -> None:
        log = self.stream.log
        assert log.next_seq == len(self.model)
        assert log.bytes == sum(map(len, self.model[log.first_seq :]))
        assert log.read(log.first_seq, 1 << 30) == self.model[log.first_seq :]

    @invariant()
    def the_statistics_say_so_too(self) -> None:
        counts = self.stream.statistics()
        assert counts.events == len(self.model)
        assert counts.bytes == sum(map(len, self.model))
        assert counts.subscribers == len(self.staying())
        assert counts.subscribers_total == len(self.clients)
        assert counts.ending == self.stream.ending
        assert counts.lag_events == max(
            (len(self.model) - client.subscriber.position for client in self.staying()), default=0
        )


class CompletionMachine(StreamMachine):
    """A completion: events that a subscriber has still to read are never forgotten, so that there is no gap."""

    @invariant()
    def nothing_unread_is_forgotten(self) -> None:
        for client in self.staying():
            assert client.subscriber.position >= self.stream.log.first_seq

    @invariant()
    def the_producer_is_paused_only_while_the_log_is_full(self) -> None:
        if self.stream.ending is None and self.source.paused:
            assert self.stream.log.bytes > 4096


class RingMachine(StreamMachine):
    """A feed: the newest events are kept, and a subscriber that falls behind is told how many events it missed."""

    ring = Ring(RING, "skip")

    @invariant()
    def the_ring_is_bounded(self) -> None:
        log = self.stream.log
        if self.stream.ending is None:
            slow = any(client.subscriber.position < log.next_seq for client in self.staying())
            assert slow or len(log) <= RING + SELDOM
            assert log.bytes <= 2 * 4096 or len(log) == 1
            assert self.source.paused is (log.bytes > 4096 and len(log) > 1)


TestCompletion = CompletionMachine.TestCase
TestRing = RingMachine.TestCase
