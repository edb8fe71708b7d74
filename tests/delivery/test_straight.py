"""The only subscriber is sent each frame in the call that brings it, past its sink, and is up to date at any time."""

import socket
import sys
from collections.abc import Callable

import pytest

from gateway.delivery.fanout import Fanout
from gateway.delivery.long_piece import Sendable
from gateway.delivery.modes import Cause, Mode
from gateway.delivery.pieces import Piece
from gateway.delivery.sinks import send_nowait
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.stream.log import StreamLog
from gateway.stream.view import CompletionView, EventsView
from gateway.wire.http1 import LAST_CHUNK, encode_chunk
from tests.delivery.sockets import SMALL, unix_pair

FRAME = b"data: a\n\n"
CHUNK = b"09\r\ndata: a\n\n\r\n"  # an upstream's chunk, with a size line that the gateway itself would not write

pytestmark = pytest.mark.usefixtures("whole_passes")


class DirectSink:
    """A sink with a socket; counts the pieces that were handed to it instead of being sent past it."""

    body_end = LAST_CHUNK
    steady = True

    def __init__(self, direct: socket.socket) -> None:
        self.direct: socket.socket | None = direct
        self.blocked = False
        self.writes = 0
        self.rest = b""
        self.is_gone = False
        self.is_closed = False

    def write(self, data: Sendable) -> None:
        assert self.direct is not None
        self.writes += 1
        if (sent := send_nowait(self.direct, data)) != len(data):
            self.on_short_write(data, sent)

    def on_short_write(self, data: Sendable, sent: int) -> None:
        self.blocked = True
        self.is_gone = sent < 0
        self.rest = bytes(data)[max(sent, 0) :]

    def when_sent(self, call: Callable[[], None]) -> None:
        call()

    def unsent_bytes(self) -> int:
        return len(self.rest)

    def kernel_bytes(self) -> int:
        return 0

    def abort(self) -> None:
        self.rest = b""

    def close(self) -> None:
        self.is_closed = True


class Scene:
    """A log, its fan-out, and the host of its subscribers."""

    def __init__(
        self, max_log_bytes: int = 1 << 20, view: type[CompletionView | EventsView] = CompletionView
    ) -> None:
        self.log = StreamLog("e1", terminal=b"data: bye\n\n")
        self.progress = 0
        self.fanout = Fanout(self.log, self.on_progress, max_log_bytes)
        self.view = view(self.log, chunked=True)

    def on_progress(self) -> None:
        self.progress += 1

    def join(self, buffer: int | None = None) -> tuple[Subscriber, DirectSink, socket.socket]:
        ours, client = unix_pair(buffer)
        subscriber, sink = Subscriber(self, self.view, self.log.next_seq), DirectSink(ours)
        subscriber.attach(sink)
        return subscriber, sink, client

    def on_ready(self, subscriber: Subscriber) -> None:
        self.fanout.add(subscriber)

    def on_blocked(self, subscriber: Subscriber) -> None:
        """Nobody sends comments here."""

    def on_closed(self, subscriber: Subscriber) -> None:
        self.fanout.remove(subscriber, Cause.ENDED)


async def test_a_chunk_goes_to_the_socket_as_it_came_and_past_the_sink() -> None:
    scene = Scene()
    subscriber, sink, client = scene.join()
    assert subscriber.mode is Mode.STRAIGHT
    for number in range(1, 4):
        scene.fanout.publish(FRAME, CHUNK)
        assert client.recv(100) == CHUNK
        assert (subscriber.position, scene.fanout.sends, sink.writes) == (number, number, 0)
    assert scene.log.frames() == [FRAME] * 3


async def test_no_bytes_are_kept_for_the_only_subscriber() -> None:
    made: list[Sendable] = []

    class Noting(CompletionView):
        def piece(self, seq: int) -> Piece:
            piece = super().piece(seq)
            made.append(piece[0])
            return piece

    scene = Scene(view=Noting)
    scene.fanout.publish(FRAME)
    subscriber = Subscriber(scene, scene.view, 0)
    subscriber.attach(DirectSink(unix_pair()[0]))
    assert (subscriber.mode, len(made)) == (Mode.STRAIGHT, 1)
    references = sys.getrefcount(made[0])
    assert references == 2  # the list in this test, and the argument of getrefcount


async def test_a_token_takes_two_calls_of_python_code() -> None:
    scene = Scene()
    scene.join()
    scene.fanout.publish(FRAME, CHUNK)
    calls: list[str] = []
    sys.setprofile(lambda frame, kind, _: calls.append(frame.f_code.co_name) if kind == "call" else None)
    scene.fanout.publish(FRAME, CHUNK)
    sys.setprofile(None)
    assert calls == ["publish", "append"]


async def test_a_frame_without_a_chunk_is_framed_by_the_view() -> None:
    scene = Scene()
    subscriber, _, client = scene.join()
    scene.fanout.publish(FRAME)
    assert client.recv(100) == encode_chunk(FRAME)
    assert (subscriber.mode, subscriber.position, scene.fanout.sends) == (Mode.STRAIGHT, 1, 1)


async def test_a_view_that_adds_something_is_never_sent_the_bare_chunk() -> None:
    scene = Scene(view=EventsView)
    subscriber, _, client = scene.join()
    scene.fanout.publish(FRAME, CHUNK)
    assert client.recv(100) == encode_chunk(FRAME[:-1] + b"id: e1-0\n\n")
    assert (subscriber.mode, subscriber.position) == (Mode.STRAIGHT, 1)


async def test_a_second_subscriber_ends_the_straight_way_and_its_leaving_begins_it_anew() -> None:
    scene = Scene()
    first, _, one_client = scene.join()
    scene.fanout.publish(FRAME, CHUNK)
    second, _, other_client = scene.join()
    scene.fanout.publish(FRAME, CHUNK)
    assert (first.mode, second.mode) == (Mode.IN_STEP, Mode.IN_STEP)
    assert (one_client.recv(100), other_client.recv(100)) == (CHUNK + encode_chunk(FRAME), encode_chunk(FRAME))
    second.end()
    scene.fanout.publish(FRAME, CHUNK)
    assert first.mode is Mode.STRAIGHT
    scene.fanout.publish(FRAME, CHUNK)
    assert one_client.recv(100) == encode_chunk(FRAME) + CHUNK
    assert (first.position, second.position, scene.fanout.sends) == (4, 2, 5)


async def test_the_rest_of_a_frame_that_fills_a_socket_is_the_sinks_and_the_frame_counts_as_sent() -> None:
    scene = Scene()
    subscriber, sink, client = scene.join(SMALL)
    chunk = encode_chunk(b"x" * 100_000)
    scene.fanout.publish(b"x" * 100_000, chunk)
    assert (subscriber.mode, subscriber.position, scene.fanout.sends) == (Mode.BLOCKED, 1, 1)
    assert client.recv(1 << 20) + sink.rest == chunk
    scene.fanout.publish(FRAME, CHUNK)
    assert (subscriber.position, scene.fanout.sends, sink.writes) == (1, 1, 0)
    sink.blocked = False
    subscriber.on_writable()
    assert (subscriber.mode, subscriber.position, scene.fanout.sends) == (Mode.STRAIGHT, 2, 2)
    assert client.recv(100) == encode_chunk(FRAME)


async def test_a_client_that_is_gone_blocks_and_raises_nothing() -> None:
    scene = Scene()
    subscriber, sink, client = scene.join()
    client.close()
    scene.fanout.publish(FRAME, CHUNK)
    assert (subscriber.mode, sink.is_gone) == (Mode.BLOCKED, True)


async def test_a_sink_that_its_transport_has_blocked_meanwhile_is_sent_nothing() -> None:
    scene = Scene()
    subscriber, sink, client = scene.join()
    sink.direct, direct = None, sink.direct
    sink.blocked = True
    scene.fanout.publish(FRAME, CHUNK)
    assert (subscriber.mode, subscriber.position, scene.fanout.sends) == (Mode.BLOCKED, 0, 0)
    sink.direct, sink.blocked = direct, False
    subscriber.on_writable()
    assert client.recv(100) == encode_chunk(FRAME)
    assert (subscriber.mode, subscriber.position, scene.fanout.sends) == (Mode.STRAIGHT, 1, 1)


async def test_frames_that_come_together_go_straight_in_one_piece() -> None:
    scene = Scene()
    subscriber, sink, client = scene.join()
    scene.fanout.publish(FRAME, CHUNK)
    scene.fanout.publish_all([FRAME] * 3)
    assert client.recv(1000) == CHUNK + encode_chunk(FRAME * 3)
    assert (subscriber.mode, subscriber.position, scene.fanout.sends, sink.writes) == (Mode.STRAIGHT, 4, 2, 1)
    scene.fanout.publish(FRAME, CHUNK)
    assert client.recv(100) == CHUNK
    assert (subscriber.mode, subscriber.position, scene.fanout.sends, sink.writes) == (Mode.STRAIGHT, 5, 3, 1)


async def test_frames_that_are_more_than_one_piece_come_in_order_and_the_way_is_straight_again() -> None:
    scene = Scene()
    subscriber, sink, client = scene.join(1 << 20)
    large = b"data: " + b"x" * 40_000 + b"\n\n"
    scene.fanout.publish(FRAME, CHUNK)
    scene.fanout.publish_all([large, FRAME, large])
    expected = CHUNK + encode_chunk(large + FRAME) + encode_chunk(large)
    assert client.recv(1 << 20, socket.MSG_WAITALL | socket.MSG_DONTWAIT) == expected
    assert (subscriber.mode, subscriber.position, scene.fanout.sends, sink.writes) == (Mode.STRAIGHT, 4, 3, 2)


async def test_frames_that_come_together_wait_for_a_sink_that_its_transport_has_blocked() -> None:
    scene = Scene()
    subscriber, sink, client = scene.join()
    sink.blocked = True
    scene.fanout.publish_all([FRAME, FRAME])
    assert (subscriber.position, scene.fanout.sends, sink.writes) == (0, 0, 0)
    sink.blocked = False
    subscriber.on_writable()
    assert client.recv(100) == encode_chunk(FRAME * 2)
    assert (subscriber.mode, subscriber.position, scene.fanout.sends) == (Mode.STRAIGHT, 2, 1)


async def test_the_end_comes_in_one_send_with_the_last_frames_and_nothing_can_follow() -> None:
    scene = Scene()
    subscriber, sink, client = scene.join()
    scene.fanout.publish(FRAME, CHUNK)
    scene.fanout.end(Ending.COMPLETED, [FRAME])
    assert client.recv(1000) == CHUNK + encode_chunk(FRAME + b"data: bye\n\n") + LAST_CHUNK
    assert (subscriber.mode, subscriber.position, sink.is_closed, sink.writes) == (Mode.ENDED, 2, True, 1)
    with pytest.raises(ValueError, match="closed"):
        scene.fanout.publish(FRAME, CHUNK)


async def test_a_log_over_its_limit_is_told_with_every_frame_until_the_end() -> None:
    scene = Scene(max_log_bytes=2 * len(FRAME))
    scene.join()
    for expected in (0, 0, 1, 2):
        scene.fanout.publish(FRAME, CHUNK)
        assert scene.progress == expected
    scene.fanout.publish_all([FRAME, FRAME])
    assert scene.progress == 3
    scene.fanout.end(Ending.COMPLETED, [FRAME])
    assert scene.progress == 3
