"""Subscribers on real sockets, each with a client that checks all it receives against the log."""

import socket
import time
from collections.abc import Callable
from enum import Enum
from typing import Any

import orjson

from gateway.config import StreamSettings
from gateway.delivery.in_step import STEP
from gateway.delivery.pieces import Piece
from gateway.delivery.slices import SLICE_SECONDS
from gateway.delivery.socket_sink import SocketSink
from gateway.delivery.subscriber import Subscriber
from gateway.delivery.watch import Watch
from gateway.dialects.choices.frames import DONE
from gateway.endings import Ending
from gateway.stream.room import Ring
from gateway.stream.stream import Stream
from gateway.stream.view import SOURCE_ID, CompletionView, EventsView, SourceEventsView
from gateway.wire import sse
from gateway.wire.http1 import LAST_CHUNK
from tests.delivery.memory import Source
from tests.delivery.sockets import passes, unix_pair, until

SPIN = 1.2 * SLICE_SECONDS  # a view that takes this long uses up the slice in which it is asked for a piece
COMMENT = b": keepalive\n"
BIG = b"data: " + b"x" * 50_000 + b"\n\n"  # more than a small socket takes

MANY = 2 * STEP + 2  # a pass over this many subscribers that is cut has served some and not others

Pair = tuple[socket.socket, socket.socket]


class _Spin:
    """Takes the time of a slice while `costly` is set, as a view of thousands of frames does: this cuts the pass."""

    costly = False

    def spin(self) -> None:
        until = time.perf_counter() + SPIN
        while self.costly and time.perf_counter() < until:
            pass


class _CostlyCompletion(_Spin, CompletionView):
    def piece(self, seq: int) -> Piece:
        self.spin()
        return super().piece(seq)


class _CostlyEvents(_Spin, EventsView):
    def piece(self, seq: int) -> Piece:
        self.spin()
        return super().piece(seq)


class _CostlySourceEvents(_Spin, SourceEventsView):
    def piece(self, seq: int) -> Piece:
        self.spin()
        return super().piece(seq)


class Costly(Enum):
    """The framings, each by a view that can cut the pass."""

    COMPLETION = _CostlyCompletion
    EVENTS = _CostlyEvents
    SOURCE_EVENTS = _CostlySourceEvents


KINDS = [(framing, chunked) for framing in Costly for chunked in (False, True)]


class Client:
    """A subscriber, its sink and its client.

    The client stands at `at`: each event that it takes has to be the next of the log, or to say how many are missed.
    """

    def __init__(
        self, subscriber: Subscriber, pair: Pair, watch: Watch, log: list[bytes], *, chunked: bool = False
    ) -> None:
        ours, self.socket = pair
        self.subscriber = subscriber
        self.sink = SocketSink(ours, watch, body_end=LAST_CHUNK if chunked else b"")
        self.start = self.at = subscriber.seq
        self.missed = 0  # how many events `gap` events have told to be gone
        self.comments = 0
        self.ended = False  # whether the client was told the end, or to come again
        self.eof = False  # whether the connection is at its end
        self._log = log
        self._chunked = chunked
        self._wire = b""
        self._text = b""
        self._body_over = False  # whether the last chunk has come
        self.sink.start(subscriber)

    def take(self) -> int:
        """Read and check what has come; returns the client's position."""
        try:
            while data := self.socket.recv(1 << 18):
                self._wire += data
            self.eof = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            self.eof = True
        if self._chunked:
            self._unchunk()
        else:
            self._text, self._wire = self._text + self._wire, b""
        *blocks, self._text = self._text.split(b"\n\n")
        for block in blocks:
            self._check(self._without_comments(block + b"\n\n"))
        self._text = self._without_comments(self._text)
        if self._text.startswith(b"retry: ") and self._text.endswith(b"\n"):
            self._text, self.ended = b"", True
        assert self.ended or not self._body_over, "the body ends before the stream"
        return self.at

    def has_all(self) -> bool:
        """Whether the client has all of the log that was published so far."""
        return self.take() == len(self._log)

    def cut_off(self) -> bool:
        """Whether the client has received a part of an event or of a chunk only."""
        return bool(self._text or self._wire)

    def _unchunk(self) -> None:
        while True:
            line, found, rest = self._wire.partition(b"\r\n")
            size = int(line, 16) if found else 0
            if not found or len(rest) < size + 2:
                return
            assert rest[size : size + 2] == b"\r\n"
            assert size or not rest[2:], "something after the end of the body"
            self._body_over |= not size
            self._text, self._wire = self._text + rest[:size], rest[size + 2 :]
            assert not self._text or self._text.endswith(b"\n"), "a line is split over two chunks"

    def _without_comments(self, block: bytes) -> bytes:
        """A block without the comments before its event. After a completion's comment a blank line stands, too."""
        while block.startswith(COMMENT):
            self.comments += 1
            block = block.removeprefix(COMMENT).removeprefix(b"\n")
        return block

    def _check(self, block: bytes) -> None:
        assert not self.ended, f"after the end: {block!r}"
        if not block:
            return  # there was only a comment
        if block.startswith(b"event: gap\n"):
            count = orjson.loads(sse.decode(block).data or b"")["missed"]
            assert count > 0
            self.missed += count
            self.at += count
        elif self.at == len(self._log):
            assert block in (DONE, self._framed(sse.control("end", {"ending": "completed"})))
            self.ended = True
        else:
            assert block == self._framed(self._log[self.at])
            self.at += 1

    def _framed(self, frame: bytes) -> bytes:
        view = self.subscriber.view
        if isinstance(view, CompletionView):
            return frame
        if isinstance(view, SourceEventsView) and frame.startswith(SOURCE_ID):
            name, _, event = frame.removeprefix(SOURCE_ID).partition(b"\n")
            return b"%bid: e1-%d/%b\n\n" % (event[:-1], self.at, name)
        return b"%bid: e1-%d\n\n" % (frame[:-1], self.at)


class Scene:
    """A stream, the subscribers on it, and what was published."""

    def __init__(self, *, source: Source | None = None, ring: Ring | None = None, **limits: Any) -> None:
        self.watch = Watch()
        self.stream = Stream("s", "e1", StreamSettings(**limits), source or Source(), ring=ring, terminal=DONE)
        self.log: list[bytes] = []
        self.clients: list[Client] = []

    def join(
        self,
        count: int = 1,
        *,
        pair: Callable[[], Pair] = unix_pair,
        framing: Costly = Costly.EVENTS,
        chunked: bool = False,
        seq: int = 0,
    ) -> list[Client]:
        """`count` more subscribers, each attached to a socket of its own."""
        new = []
        for _ in range(count):
            # `Costly` has the members of `Framing`; an Enum with members cannot be extended.
            subscriber = self.stream.join(chunked=chunked, framing=framing, seq=seq)  # type: ignore[arg-type]
            new.append(Client(subscriber, pair(), self.watch, self.log, chunked=chunked))
            subscriber.attach(new[-1].sink)
        self.clients += new
        return new

    def publish(self, *frames: bytes, cut: bool = False, at_once: bool = False) -> None:
        """Append frames. `cut`: on return every group in step of more than one step is served in part at most."""
        self.log += frames
        self.cut(cut)
        if at_once:
            self.stream.on_frames(list(frames))
        else:
            for frame in frames:
                self.stream.on_frame(frame)
        self.cut(False)

    def close(self, *frames: bytes, cut: bool = False) -> None:
        self.log += frames
        self.cut(cut)
        self.stream.close(Ending.COMPLETED, list(frames))
        self.cut(False)

    def cut(self, cut: bool) -> None:
        for client in self.clients:
            assert isinstance(client.subscriber.view, _Spin)
            client.subscriber.view.costly = cut

    def staying(self) -> list[Client]:
        return [client for client in self.clients if client.subscriber.ending is None]

    async def all_have_read(self) -> None:
        """Return when every subscriber that stays has the whole log, and no pass is under way."""

        def have_read() -> bool:
            return not [client for client in self.staying() if client.take() < len(self.log) or client.sink.blocked]

        await until(have_read)
        await passes(20)

    async def all_have_ended(self) -> None:
        """Return when all subscribers have ended and every client has read up to the end of its connection."""

        def have_ended() -> bool:
            for client in self.clients:
                if client.socket.fileno() >= 0 and not client.eof:
                    client.take()
            return not self.staying() and all(client.eof or client.socket.fileno() < 0 for client in self.clients)

        await until(have_ended)


async def in_step(scene: Scene, count: int = MANY) -> list[Client]:
    """`count` more subscribers: all are up to date with a first event, and move together from then on."""
    new = scene.join(count)
    scene.publish(b"data: first\n\n")
    await scene.all_have_read()
    return new


def descriptor(client: Client) -> int:
    assert client.sink.direct is not None
    return client.sink.direct.fileno()


def by_border(clients: list[Client], step: int = STEP) -> tuple[list[Client], list[Client]]:
    """The clients that have the second event in mid-pass, and the clients that have not."""
    served = [client for client in clients if client.subscriber.position == 2]
    unserved = [client for client in clients if client.subscriber.position == 1]
    assert len(served) == step
    assert len(unserved) == len(clients) - step
    return served, unserved
