"""The watchdog gives signs of life while the fan-out moves or rests, but not while a delivery pass is stuck."""

import asyncio
import logging
import socket
from collections.abc import Iterator, Mapping
from enum import Enum

import pytest

from gateway.config import StreamSettings
from gateway.delivery.pieces import Piece
from gateway.delivery.socket_sink import SocketSink
from gateway.delivery.watch import Watch
from gateway.endings import Ending
from gateway.run.supervision import Watchdog
from gateway.stream.stream import Stream
from gateway.stream.view import EventsView

STREAM = "st_1"
NOTHING = None
ALIVE = b"WATCHDOG=1"
READERS = 3


class _Stuck(EventsView):
    """A view that a test can make stuck: it then gives out empty pieces, and its subscribers never move on."""

    stuck = False

    def piece(self, seq: int) -> Piece:
        return (b"", seq, False) if type(self).stuck else super().piece(seq)


class Framings(Enum):
    STUCK = _Stuck


class Producer:
    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def stop(self, ending: Ending) -> None: ...


class Scene:
    """A stream with subscribers on real sockets, a watchdog over it, and the manager's end of the notify socket."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._watch = Watch()
        self._clients: list[socket.socket] = []
        self.stream = Stream(STREAM, "e1", StreamSettings(), Producer())
        environ = {"NOTIFY_SOCKET": "@" + channel.getsockname()[1:].decode()}
        self.watchdog = Watchdog(self._passes, environ)
        for _ in range(READERS):
            self._sit()

    def sign(self) -> bytes | None:
        """The lines that the manager gets at a look."""
        self.watchdog.look()
        try:
            return self._channel.recv(100)
        except BlockingIOError:
            return NOTHING

    async def turn(self) -> None:
        """Let the event loop make more passes than a delivery pass over these few subscribers needs."""
        for _ in range(20):
            await asyncio.sleep(0)

    def close(self) -> None:
        self.stream.close(Ending.COMPLETED, [])
        for client in self._clients:
            client.close()
        self._watch.close()

    def _sit(self) -> None:
        ours, client = socket.socketpair()
        ours.setblocking(False)
        self._clients.append(client)
        subscriber = self.stream.join(chunked=False, framing=Framings.STUCK)  # type: ignore[arg-type]
        sink = SocketSink(ours, self._watch, body_end=b"")
        sink.start(subscriber)
        subscriber.attach(sink)

    def _passes(self) -> Mapping[str, int]:
        sends = self.stream.pass_under_way()
        return {} if sends is None else {STREAM: sends}


@pytest.fixture
def channel() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("")  # an abstract name of the kernel's choice
        channel.setblocking(False)
        yield channel


@pytest.fixture
async def scene(channel: socket.socket) -> Iterator[Scene]:  # type: ignore[misc]
    scene = Scene(channel)
    yield scene
    _Stuck.stuck = False
    await scene.turn()
    scene.close()
    await scene.turn()


async def test_a_pass_that_brings_nothing_to_anybody_ends_the_signs_of_life(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    _Stuck.stuck = True
    scene.stream.on_frames([b"data: 1\n\n"])
    assert scene.stream.pass_under_way() is not None
    with caplog.at_level(logging.ERROR, "rivergate"):
        assert scene.sign() == ALIVE  # at the first look the pass may have begun just now
        assert caplog.records == []
        for _ in range(3):
            await scene.turn()
            assert scene.sign() is NOTHING
    assert [record.message for record in caplog.records] == ["the fan-out does not move"] * 3
    assert [record.__dict__["fields"] for record in caplog.records] == [{"streams": [STREAM]}] * 3


async def test_signs_of_life_come_again_when_the_pass_goes_on(scene: Scene) -> None:
    _Stuck.stuck = True
    scene.stream.on_frames([b"data: 1\n\n"])
    assert [scene.sign(), scene.sign()] == [ALIVE, NOTHING]
    _Stuck.stuck = False
    await scene.turn()
    assert scene.stream.pass_under_way() is None
    assert scene.stream.statistics().deliveries == READERS
    assert [scene.sign(), scene.sign()] == [ALIVE, ALIVE]


async def test_a_fanout_that_has_nothing_to_do_is_no_reason_to_be_silent(scene: Scene) -> None:
    assert [scene.sign() for _ in range(3)] == [ALIVE] * 3
    scene.stream.on_frames([b"data: 1\n\n"])
    await scene.turn()
    sends = scene.stream.statistics().sends
    assert [scene.sign() for _ in range(3)] == [ALIVE] * 3
    assert scene.stream.statistics().sends == sends == READERS


async def test_a_pass_that_moves_between_two_looks_is_not_stuck(channel: socket.socket) -> None:
    sends = iter([7, 8, 9, 9, 10])
    environ = {"NOTIFY_SOCKET": "@" + channel.getsockname()[1:].decode()}
    watchdog = Watchdog(lambda: {STREAM: next(sends)}, environ)
    signs: list[bytes | None] = []
    for _ in range(5):
        watchdog.look()
        try:
            signs.append(channel.recv(100))
        except BlockingIOError:
            signs.append(NOTHING)
    assert signs == [ALIVE, ALIVE, ALIVE, NOTHING, ALIVE]
