"""The owner of a connection ends its body: with the last piece of its only stream, or behind the last of its streams.

`SharedConnection` is a second owner, beside the sinks of one stream: it carries two streams in one body.
"""

import itertools
import socket
from collections.abc import Iterator

import pytest

from gateway.config import StreamSettings
from gateway.delivery.long_piece import Sendable
from gateway.delivery.socket_sink import SocketSink
from gateway.delivery.subscriber import Subscriber
from gateway.delivery.watch import Watch
from gateway.dialects.choices.frames import DONE
from gateway.endings import Ending
from gateway.stream.stream import Stream
from gateway.stream.view import Framing
from gateway.wire.http1 import LAST_CHUNK, encode_chunk
from tests.delivery.memory import MemorySink, Source, stream_of
from tests.delivery.sockets import unix_pair, until

pytestmark = pytest.mark.usefixtures("whole_passes")

FIRST, SECOND = b"data: first\n\n", b"data: second\n\n"


class Lane(MemorySink):
    """One stream's sink in a connection that carries several streams: it never ends the body."""

    def __init__(self, connection: "SharedConnection") -> None:
        super().__init__(body_end=b"")
        self._connection = connection

    def write(self, data: Sendable) -> None:
        super().write(data)
        self._connection.wire += bytes(data)

    def close(self) -> None:
        super().close()
        self._connection.on_lane_closed()


class SharedConnection:
    """One body for several streams, which ends when the last stream has ended."""

    def __init__(self, count: int) -> None:
        self.wire = b""
        self.lanes = [Lane(self) for _ in range(count)]

    def on_lane_closed(self) -> None:
        if all(lane.closed for lane in self.lanes):
            self.wire += LAST_CHUNK


def bodies(wire: bytes) -> Iterator[bytes]:
    """The chunks of a body. Raises `ValueError` for bytes behind its end, and for a body without an end."""
    while True:
        line, _, rest = wire.partition(b"\r\n")
        size = int(line, 16)
        yield rest[:size]
        if not size:
            if rest != b"\r\n":
                raise ValueError(rest)
            return
        wire = rest[size + 2 :]


def joined(stream: Stream, lane: Lane, framing: Framing) -> Subscriber:
    subscriber = stream.join(chunked=True, framing=framing)
    subscriber.attach(lane)
    return subscriber


@pytest.mark.parametrize("framing", [Framing.COMPLETION, Framing.EVENTS])
@pytest.mark.parametrize("order", list(itertools.permutations(range(2))))
async def test_a_connection_of_two_streams_ends_its_body_once_behind_the_last_of_them(
    framing: Framing, order: tuple[int, int]
) -> None:
    connection, streams = SharedConnection(2), [stream_of(), stream_of()]
    subscribers = [joined(stream, lane, framing) for stream, lane in zip(streams, connection.lanes, strict=True)]
    streams[0].on_frame(FIRST)
    streams[1].on_frame(SECOND)
    streams[0].on_frame(FIRST)
    streams[order[0]].close(Ending.COMPLETED, [])
    assert LAST_CHUNK not in connection.wire
    assert subscribers[order[0]].ending is Ending.COMPLETED
    streams[order[1]].on_frame(b"data: late\n\n")
    streams[order[1]].close(Ending.COMPLETED, [])
    chunks = list(bodies(connection.wire))
    assert len(chunks) == 7
    text = b"".join(chunks)
    counts = [text.count(frame[:-1]) for frame in (FIRST, SECOND, b"data: late\n\n")]  # an id may follow the data
    assert counts == [2, 1, 1]
    assert text.count(DONE) == (2 if framing is Framing.COMPLETION else 0)
    assert text.count(b"event: end\n") == (2 if framing is Framing.EVENTS else 0)


async def test_streams_one_after_the_other_are_one_body() -> None:
    connection, first, second = SharedConnection(2), stream_of(), stream_of()
    joined(first, connection.lanes[0], Framing.COMPLETION)
    first.close(Ending.COMPLETED, [FIRST])
    joined(second, connection.lanes[1], Framing.COMPLETION)
    second.close(Ending.COMPLETED, [SECOND])
    assert list(bodies(connection.wire)) == [FIRST + DONE, SECOND + DONE, b""]


async def test_a_subscriber_that_is_sent_away_from_a_shared_connection_leaves_the_body_open() -> None:
    connection, streams = SharedConnection(2), [stream_of(), stream_of()]
    sent_away, _ = (
        joined(stream, lane, Framing.EVENTS) for stream, lane in zip(streams, connection.lanes, strict=True)
    )
    sent_away.send_away(Ending.EXPIRED)
    assert connection.wire == encode_chunk(b'event: end\ndata: {"ending":"expired"}\n\n')
    streams[1].close(Ending.COMPLETED, [])
    assert list(bodies(connection.wire))[-1] == b""


async def test_subscribers_whose_bodies_end_differently_share_a_view_and_each_gets_its_own_end() -> None:
    stream = stream_of()
    sinks = [MemorySink(body_end=end) for end in (LAST_CHUNK, b"", LAST_CHUNK)]
    for sink in sinks:
        stream.join(chunked=True).attach(sink)
    stream.close(Ending.COMPLETED, [FIRST])
    whole = encode_chunk(FIRST + DONE)
    assert [sink.writes for sink in sinks] == [[whole + LAST_CHUNK], [whole], [whole + LAST_CHUNK]]
    assert sinks[0].writes[0] is sinks[2].writes[0]


async def test_sockets_whose_bodies_end_differently_are_in_step_and_each_gets_its_own_end() -> None:
    stream, watch = stream_of(), Watch()
    clients: list[tuple[socket.socket, bytes]] = []
    for body_end in (LAST_CHUNK, b"") * 3:
        ours, client = unix_pair()
        sink = SocketSink(ours, watch, body_end=body_end)
        subscriber = stream.join(chunked=True)
        sink.start(subscriber)
        subscriber.attach(sink)
        clients.append((client, body_end))
    stream.on_frame(FIRST)
    stream.close(Ending.COMPLETED, [SECOND])
    for client, body_end in clients:
        assert client.recv(1000) == encode_chunk(FIRST) + encode_chunk(SECOND + DONE) + body_end
    watch.close()


@pytest.mark.parametrize("count", [1, 2, 300])
async def test_a_stream_that_ends_without_a_last_word_ends_its_subscribers_too(count: int) -> None:
    stream = Stream("s", "e1", StreamSettings(), Source())
    watch, clients = Watch(), []
    for _ in range(count):
        ours, client = unix_pair()
        sink = SocketSink(ours, watch, body_end=b"")
        subscriber = stream.join(chunked=False)
        sink.start(subscriber)
        subscriber.attach(sink)
        clients.append((subscriber, client))
    stream.on_frame(FIRST)
    stream.close(Ending.COMPLETED, [])
    await until(lambda: all(subscriber.ending is not None for subscriber, _ in clients))
    for subscriber, client in clients:
        assert subscriber.ending is Ending.COMPLETED
        assert client.recv(1000) == FIRST
        assert client.recv(1000) == b""
    watch.close()
