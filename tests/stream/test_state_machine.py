"""Whatever happens in whatever order, a subscriber reads the log from its start, in order, exactly once.

The machine drives a `Stream` and its `EventsView` over in-memory sinks, through every move that readers and the
producer have, and keeps a model: what was appended, and where each reader stands. At every step each reader's bytes
are the beginning of what the model says; `gap` events account for what was trimmed, to the event.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.config import Stream as Limits
from gateway.errors import Ending
from gateway.stream.resume import start_of
from gateway.stream.stream import Framing, Ring, Stream
from gateway.stream.subscriber import Subscriber
from gateway.wire import sse

from .test_stream import MemorySink, Source

EPOCH = "e1"
RING = 8  # events that the ring keeps: few, so that readers fall out of it


@dataclass
class Reader:
    """A reader and what it was told, as a client would parse it."""

    subscriber: Subscriber
    sink: MemorySink
    start: int
    resumed: int = 0  # times it came back with its last id
    left: bool = False
    told: list[sse.Event] = field(default_factory=list)
    parsed: int = 0  # writes that have been parsed
    decoder: sse.BlockDecoder = field(default_factory=sse.BlockDecoder)

    def look(self) -> None:
        for data in self.sink.writes[self.parsed :]:
            self.told += [sse.decode(block) for block in self.decoder.feed(data)]
        self.parsed = len(self.sink.writes)


class StreamMachine(RuleBasedStateMachine):
    ring: Ring | None = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.source = Source()
        self.model: list[bytes] = []
        self.readers: list[Reader] = []
        self.stream: Stream = self.call(self._stream)

    def _stream(self) -> Stream:
        return Stream("s", EPOCH, Limits(max_log_bytes=4096, abort_grace_ms=3_600_000), self.source, ring=self.ring)

    def call(self, act: Any, *arguments: Any) -> Any:
        """Call inside the loop, and let everything run that follows."""

        async def run() -> Any:
            result = act(*arguments)
            for _ in range(3):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(run())

    def teardown(self) -> None:
        for reader in self.readers:
            self.call(reader.subscriber.end)
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

    # --- readers

    def join_at(self, last_event_id: str | None, *, from_now: bool, room: int | None, blocked: bool) -> Reader | None:
        start = start_of(self.stream.log, last_event_id, from_now=from_now, oldest=self.stream.log.first_seq)
        if start is None:
            assert self.stream.ending is not None
            return None
        assert not start.reset

        def act() -> Reader:
            subscriber = self.stream.join(chunked=False, framing=Framing.EVENTS, seq=start.seq)
            return Reader(subscriber, MemorySink(room=room, blocked=blocked), start.seq)

        reader: Reader = self.call(act)
        self.readers.append(reader)
        return reader

    @rule(from_now=st.booleans(), room=st.sampled_from([None, 1, 100, 5000]), blocked=st.booleans())
    def join(self, from_now: bool, room: int | None, blocked: bool) -> None:
        reader = self.join_at(None, from_now=from_now, room=room, blocked=blocked)
        assert reader is not None
        self.call(reader.subscriber.attach, reader.sink)

    @rule(from_now=st.booleans())
    def join_without_attaching_yet(self, from_now: bool) -> None:
        self.join_at(None, from_now=from_now, room=None, blocked=False)

    def pick(self, data: st.DataObject, which: list[Reader]) -> Reader:
        return which[data.draw(st.integers(0, len(which) - 1))]

    def staying(self) -> list[Reader]:
        return [one for one in self.readers if one.subscriber.ending is None]

    def waiting(self) -> list[Reader]:
        return [one for one in self.staying() if one.subscriber.sink is None]

    def blocked(self) -> list[Reader]:
        return [one for one in self.staying() if one.subscriber.sink is not None and one.sink.blocked]

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def attach(self, data: st.DataObject) -> None:
        reader = self.pick(data, self.waiting())
        self.call(reader.subscriber.attach, reader.sink)

    @precondition(lambda self: self.staying())
    @rule(data=st.data(), room=st.sampled_from([1, 50, 1000]))
    def take_so_much_and_block(self, data: st.DataObject, room: int) -> None:
        self.pick(data, self.staying()).sink.room = room

    @precondition(lambda self: self.blocked())
    @rule(data=st.data(), room=st.sampled_from([None, 1, 500]), say_so=st.booleans())
    def have_room_again(self, data: st.DataObject, room: int | None, say_so: bool) -> None:
        reader = self.pick(data, self.blocked())
        reader.sink.room, reader.sink.blocked = room, False
        self.call(reader.subscriber.on_writable)
        if say_so:
            self.call(reader.subscriber.on_writable)

    @precondition(lambda self: self.staying())
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        reader = self.pick(data, self.staying())
        reader.left = True
        self.call(reader.subscriber.end)

    @precondition(lambda self: any(one.told and one.told[-1].id for one in self.readers))
    @rule(data=st.data(), room=st.sampled_from([None, 200]))
    def come_back_behind_the_last_event_seen(self, data: st.DataObject, room: int | None) -> None:
        before = self.pick(data, [one for one in self.readers if one.told and one.told[-1].id])
        last_id = (before.told[-1].id or b"").decode()
        self.call(before.subscriber.end)
        reader = self.join_at(last_id, from_now=False, room=room, blocked=False)
        if reader is None:
            assert before.told[-1].name == b"end"
        else:
            assert reader.start == int(last_id.partition("-")[2]) + 1
            self.call(reader.subscriber.attach, reader.sink)

    # --- what always holds

    @invariant()
    def every_reader_was_told_the_log_from_its_start_in_order_once(self) -> None:
        for reader in self.readers:
            reader.look()
            assert reader.decoder.finish() == b""
            self.check(reader)

    def check(self, reader: Reader) -> None:
        position = reader.start
        for number, event in enumerate(reader.told):
            if event.name == b"gap":
                missed = orjson.loads(event.data or b"")["missed"]
                assert missed > 0
                assert event.id is None
                position += missed
                assert position <= self.stream.log.first_seq
            elif event.name == b"end":
                assert number == len(reader.told) - 1
                assert position == len(self.model)
                assert event.id == f"{EPOCH}-{position}".encode()
                assert orjson.loads(event.data or b"") == {"ending": self.stream.ending}
                assert reader.subscriber.ending is Ending.COMPLETED
            else:
                assert event.id == f"{EPOCH}-{position}".encode()
                assert sse.frame(event.data or b"") == self.model[position]
                position += 1
        assert position == reader.subscriber.seq

    @invariant()
    def nobody_who_can_take_bytes_is_behind(self) -> None:
        for reader in self.staying():
            if reader.subscriber.sink is not None and not reader.sink.blocked:
                assert reader.subscriber.seq == len(self.model)
                assert self.stream.ending is None

    @invariant()
    def the_log_is_the_end_of_what_was_appended(self) -> None:
        log = self.stream.log
        assert log.next_seq == len(self.model)
        assert log.bytes == sum(map(len, self.model[log.first_seq :]))
        assert log.read(log.first_seq, 1 << 30) == self.model[log.first_seq :]

    @invariant()
    def the_statistics_say_so_too(self) -> None:
        told = self.stream.statistics()
        assert told.events == len(self.model)
        assert told.bytes == sum(map(len, self.model))
        assert told.readers == len(self.staying())
        assert told.readers_total == len(self.readers)
        assert told.ending == self.stream.ending
        assert told.lag_events == max((len(self.model) - one.subscriber.seq for one in self.staying()), default=0)


class CompletionMachine(StreamMachine):
    """A completion: what somebody has still to read is never forgotten, so that there is no gap for who stays."""

    @invariant()
    def nothing_unread_is_forgotten(self) -> None:
        for reader in self.staying():
            assert reader.subscriber.seq >= self.stream.log.first_seq

    @invariant()
    def the_producer_is_paused_only_while_the_log_is_full(self) -> None:
        if self.stream.ending is None and self.source.paused:
            assert self.stream.log.bytes > 4096


class RingMachine(StreamMachine):
    """A feed: the newest events are kept, and who falls behind is told how many are missing."""

    ring = Ring(RING, "skip")

    @invariant()
    def the_ring_is_bounded(self) -> None:
        log = self.stream.log
        if self.stream.ending is None:
            assert log.next_seq - log.first_seq <= RING + RING // 8
            assert log.bytes <= 4096 or log.next_seq - log.first_seq == 1
        assert not self.source.paused


TestCompletion = CompletionMachine.TestCase
TestRing = RingMachine.TestCase
