"""Whatever subscribers on real sockets do, each gets the log from its start, in order, once, and nobody else's bytes.

Scripts of random moves are played on a stream whose passes are cut between two steps of subscribers in step and
between two groups of them. After every move the state of the stream is compared with what the clients have received.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.delivery.in_step import STEP
from gateway.endings import Ending
from gateway.stream.room import Ring
from gateway.wire import sse
from tests.delivery.kit import BIG, KINDS, Client, Costly, Scene
from tests.delivery.sockets import SMALL, close_all, passes, reset, tcp_pair, unix_pair, until

RING = 8  # events that the ring keeps: few, so that subscribers fall out of it
HOUR_MS = 3_600_000

Loop = Callable[[], asyncio.AbstractEventLoop]
Move = tuple[Any, ...]

PAIRS = [unix_pair, lambda: unix_pair(SMALL), lambda: tcp_pair(SMALL)]
CROWDS = [0, 2, 3, STEP, STEP + 1, STEP + 20, 2 * STEP + 1]
ANYONE = st.integers(0, 1000)  # a subscriber, modulo their number: a move depends on no outcome of earlier moves

joins = st.tuples(st.just("come"), st.sampled_from(KINDS), st.sampled_from([0, 0, 1, 2]), ANYONE)
leaves = st.tuples(st.just("leave"), ANYONE, st.sampled_from(["end", "end", "fin", "half", "rst"]))
stampedes = st.tuples(st.just("all_leave_but"), st.integers(0, 3), ANYONE)
publishes = st.tuples(
    st.just("tell"), st.lists(st.sampled_from([1, 50, 3000]), min_size=1, max_size=4), st.booleans(), st.booleans()
)
big_ones = st.tuples(st.just("tell"), st.just([70_000]), st.booleans(), st.booleans())
comments = st.tuples(st.just("keep_alive"), ANYONE, st.integers(1, 40))
reads = st.tuples(st.just("read"), ANYONE)
turns = st.tuples(st.just("turn"), st.integers(1, 3))
settlings = st.tuples(st.just("settle"))
moves = st.lists(
    st.one_of(joins, leaves, leaves, publishes, publishes, big_ones, comments, reads, turns, settlings, stampedes),
    min_size=10,  # most shorter scripts end before anything happens
    max_size=40,
)


class World(Scene):
    """A scene in which subscribers make random moves, with a model of what must hold."""

    def __init__(self, max_log_bytes: int, ring: Ring | None) -> None:
        super().__init__(ring=ring, max_log_bytes=max_log_bytes, abort_grace_ms=HOUR_MS)
        self.ring = ring
        self.gone: dict[Client, str] = {}  # clients that have left and how, even if the stream does not know it yet
        self.roomy: set[Client] = set()  # clients whose sockets take all new bytes between two moves
        self.strangers: list[socket.socket] = []  # sockets that were given the descriptors of clients that left

    async def play(self, script: list[Move]) -> None:
        for name, *arguments in script:
            await getattr(self, name)(*arguments)
            self.check()

    # --- moves

    async def crowd(self, count: int, kind: tuple[Costly, bool]) -> None:
        self.roomy |= set(self.join(count, framing=kind[0], chunked=kind[1]))

    async def come(self, kind: tuple[Costly, bool], pair: int, at: int) -> None:
        oldest, newest = self.stream.log.first_seq, self.stream.log.next_seq
        seq = oldest + at % (newest - oldest + 1)
        new = self.join(pair=PAIRS[pair], framing=kind[0], chunked=kind[1], seq=seq)
        self.roomy |= set(new if PAIRS[pair] is unix_pair else [])

    async def tell(self, sizes: list[int], at_once: bool, cut: bool) -> None:
        if self.stream.ending is not None:
            return
        number = len(self.log)
        batch = [sse.frame(b"%d:" % (number + n) + b"x" * size) for n, size in enumerate(sizes)]
        batch[0] = (b"source-id: s%d\n" % number if number % 2 else b"") + batch[0]
        self.publish(*batch, cut=cut, at_once=at_once)

    async def leave(self, who: int, way: str) -> None:
        if (leaving := self._pick(who)) is None:
            return
        if way == "end":
            leaving.subscriber.end()
        elif way == "half":
            leaving.socket.shutdown(socket.SHUT_WR)
        elif way == "rst":
            reset(leaving.socket)
        else:
            leaving.socket.close()
        self.gone[leaving] = way
        if way != "half":
            self.strangers += unix_pair()

    async def all_leave_but(self, count: int, who: int) -> None:
        staying = self.here()
        for number, leaving in enumerate(staying):
            if (number - who) % len(staying) >= count:
                leaving.subscriber.end()
                self.gone[leaving] = "end"
                self.strangers += unix_pair()

    async def keep_alive(self, who: int, times: int) -> None:
        waiting = self._pick(who)
        for _ in range(times):
            if waiting is None:
                return
            if waiting.subscriber.position >= self.stream.log.next_seq:
                waiting.subscriber.keep_alive()

    async def read(self, who: int) -> None:
        if (reading := self._pick(who)) is not None:
            reading.take()

    async def turn(self, count: int) -> None:
        await passes(count)

    async def end(self, cut: bool, words: bool) -> None:
        self.close(*[BIG] * words, cut=cut)

    async def settle(self) -> None:
        await until(lambda: all(client.subscriber.ending for client in self.gone))
        await self.all_have_read()

    # --- what always holds

    def check(self) -> None:
        for client in self.here():
            # A client that has much to catch up on has no room left, however large its socket is.
            if client in self.roomy and not client.sink.unsent_bytes():
                assert client.take() == client.subscriber.position
                assert not client.cut_off()
        subscribers = [client.subscriber for client in self.clients]
        positions = [subscriber.position for subscriber in subscribers if subscriber.ending is None]
        oldest = min(positions, default=len(self.log))
        counts = self.stream.statistics()
        assert counts.subscribers == len(positions)
        assert counts.lag_events == len(self.log) - oldest
        assert counts.lag_bytes == sum(map(len, self.log[max(oldest, self.stream.log.first_seq) :]))
        assert counts.deliveries == sum(subscriber.position - subscriber.first_seq for subscriber in subscribers)
        assert counts.events == self.stream.log.next_seq == len(self.log)
        if self.ring is None:
            assert all(position >= self.stream.log.first_seq for position in positions)
            assert not any(client.missed for client in self.clients)

    async def finish(self) -> None:
        """End the stream, and check what every client has received."""
        await self.settle()
        self.check()
        self.close(cut=len(self.log) % 2 == 0)
        await self.all_have_ended()
        for client in self.clients:
            if client not in self.gone and client.subscriber.ending is Ending.COMPLETED:
                assert (client.at, client.ended) == (len(self.log), True)
            elif client not in self.gone:
                assert client.subscriber.ending is Ending.LAGGED
            elif self.gone[client] == "end" and client.subscriber.ending is Ending.LEFT:
                assert client.at == client.subscriber.position
            else:  # the client was cut off in mid-piece, for example as lagged when the others left
                assert client.at <= client.subscriber.position
        for stranger in self.strangers:
            with pytest.raises(BlockingIOError):
                stranger.recv(1)
        assert len(self.watch) == 0

    def here(self) -> list[Client]:
        """The subscribers that stay and whose clients have not left."""
        return [client for client in self.staying() if client not in self.gone]

    def _pick(self, who: int) -> Client | None:
        staying = self.here()
        return staying[who % len(staying)] if staying else None


async def whole(world: World, crowd: int, kind: tuple[Costly, bool], script: list[Move]) -> None:
    try:
        await world.play([("crowd", crowd, kind), *script])
        await world.finish()
    finally:
        world.watch.close()


def run(loop: Loop, main: Callable[[], Any]) -> None:
    """Run `main` to its end on a loop of this kind; an exception in a callback is a failure, too."""
    failures: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: failures.append(context))
        try:
            runner.run(main())
        finally:
            close_all()
    assert failures == []


on_both_loops = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
half = settings(max_examples=settings().max_examples // 2)  # each script is long


@on_both_loops
@half
@given(st.sampled_from(CROWDS), st.sampled_from(KINDS), moves, st.sampled_from([4096, 1 << 24]))
def test_every_subscriber_gets_the_log_from_its_start_in_order_once(
    loop: Loop, crowd: int, kind: tuple[Costly, bool], script: list[Move], max_log_bytes: int
) -> None:
    async def main() -> None:
        await whole(World(max_log_bytes, None), crowd, kind, script)

    run(loop, main)


@on_both_loops
@half
@given(st.sampled_from(CROWDS), st.sampled_from(KINDS), moves, st.sampled_from(["skip", "close"]), st.booleans())
def test_a_subscriber_of_a_ring_misses_what_it_is_told_to_miss_and_nothing_else(
    loop: Loop, crowd: int, kind: tuple[Costly, bool], script: list[Move], lag: Any, newest_only: bool
) -> None:
    async def main() -> None:
        await whole(World(1 << 16, Ring(RING, lag, newest_only)), crowd, kind, script)

    run(loop, main)


@on_both_loops
@half
@given(st.sampled_from(CROWDS), st.sampled_from(KINDS), moves, moves, st.booleans(), st.booleans())
def test_the_end_may_come_at_any_moment(
    loop: Loop,
    crowd: int,
    kind: tuple[Costly, bool],
    before: list[Move],
    after: list[Move],
    cut: bool,
    words: bool,
) -> None:
    async def main() -> None:
        world = World(1 << 24, None)
        await whole(world, crowd, kind, [*before, ("end", cut, words), *after])

    run(loop, main)
