"""Readers on real sockets, each with a client that checks all it receives against the log."""

import socket
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, cast

import orjson

from gateway.config import Stream as Limits
from gateway.errors import Ending
from gateway.stream.fanout import SLICE_SECONDS
from gateway.stream.socket_sink import SocketSink
from gateway.stream.stream import Framing, Ring, Stream
from gateway.stream.subscriber import Subscriber
from gateway.stream.view import SOURCE_ID, CompletionView, EventsView, Piece, SourceEventsView
from gateway.stream.watch import Watch
from gateway.wire import sse

from .sockets import passes, unix_pair, until
from .test_stream import Source

SPIN = 1.2 * SLICE_SECONDS  # a slice that such a view is asked in is over after the next step
BIG = b"data: " + b"x" * 50_000 + b"\n\n"  # more than a small socket takes

Pair = tuple[socket.socket, socket.socket]


class _Costly:
    """A view that takes its time when told so, as it does for thousands of frames: the pass is cut after a step."""

    costly = False

    def piece(self, seq: int) -> Piece:
        over = time.perf_counter() + SPIN
        while self.costly and time.perf_counter() < over:
            pass
        found: Piece = super().piece(seq)  # type: ignore[misc]  # of the view that it is mixed into
        return found


class _CostlyCompletion(_Costly, CompletionView):
    pass


class _CostlyEvents(_Costly, EventsView):
    pass


class _CostlySourceEvents(_Costly, SourceEventsView):
    pass


class Costly(Enum):
    """The framings, by views that can be told to cut the pass."""

    COMPLETION = _CostlyCompletion
    EVENTS = _CostlyEvents
    SOURCE_EVENTS = _CostlySourceEvents


class Seat:
    """A reader, its sink and its client.

    The client stands at `at`: each event that it takes has to be the next of the log, or to say how many are missed.
    """

    def __init__(
        self, reader: Subscriber, pair: Pair, watch: Watch, log: list[bytes], *, chunked: bool = False
    ) -> None:
        ours, self.client = pair
        self.reader = reader
        self.sink = SocketSink(ours, watch)
        self.start = self.at = reader.seq
        self.missed = 0  # events that it was told to be gone
        self.comments = 0
        self.ended = False  # it was told the end, or to come again
        self.eof = False  # its connection is at its end
        self._log = log
        self._chunked = chunked
        self._wire = b""
        self._text = b""
        self._body_over = False  # the last chunk came
        self.sink.start(reader)

    def take(self) -> int:
        """Read and check what has come; where the client stands then."""
        try:
            while data := self.client.recv(1 << 18):
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
            self._check(block + b"\n\n")
        assert self.ended or not self._body_over, "the body ends before the stream"
        return self.at

    def cut_off(self) -> bool:
        """Whether what the client has is not the whole of something."""
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
            assert not self._text or self._text.endswith(b"\n\n"), "an event is split over two chunks"

    def _check(self, block: bytes) -> None:
        assert not self.ended, f"after the end: {block!r}"
        if block == sse.KEEPALIVE:
            self.comments += 1
        elif block.startswith(b"event: gap\n"):
            count = orjson.loads(sse.decode(block).data or b"")["missed"]
            assert count > 0
            self.missed += count
            self.at += count
        elif block.startswith(b"retry: "):
            self.ended = True
        elif self.at == len(self._log):
            assert block in (sse.DONE, self._framed(sse.control("end", {"ending": "completed"})))
            self.ended = True
        else:
            assert block == self._framed(self._log[self.at])
            self.at += 1

    def _framed(self, frame: bytes) -> bytes:
        view = self.reader.view
        if isinstance(view, CompletionView):
            return frame
        if isinstance(view, SourceEventsView) and frame.startswith(SOURCE_ID):
            name, _, event = frame.removeprefix(SOURCE_ID).partition(b"\n")
            return b"id: e1-%d/%b\n%b" % (self.at, name, event)
        return b"id: e1-%d\n%b" % (self.at, frame)


class Scene:
    """A stream, the readers on it, and what was published."""

    def __init__(self, *, source: Source | None = None, ring: Ring | None = None, **limits: Any) -> None:
        self.watch = Watch()
        self.stream = Stream("s", "e1", Limits(**limits), source or Source(), ring=ring)
        self.log: list[bytes] = []
        self.seats: list[Seat] = []

    def sit(
        self,
        count: int = 1,
        *,
        pair: Callable[[], Pair] = unix_pair,
        framing: Costly = Costly.EVENTS,
        chunked: bool = False,
        seq: int = 0,
    ) -> list[Seat]:
        """So many readers more, each attached to a socket of its own."""
        new = []
        for _ in range(count):
            reader = self.stream.join(chunked=chunked, framing=cast(Framing, framing), seq=seq)
            new.append(Seat(reader, pair(), self.watch, self.log, chunked=chunked))
            reader.attach(new[-1].sink)
        self.seats += new
        return new

    def publish(self, *frames: bytes, cut: bool = False, at_once: bool = False) -> None:
        """`cut`: when it returns, each cohort of more than a step has been served in part at most."""
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
        for one in self.seats:
            view = one.reader.view
            assert isinstance(view, _Costly)
            view.costly = cut

    def staying(self) -> list[Seat]:
        return [one for one in self.seats if one.reader.ending is None]

    async def all_have_read(self) -> None:
        """Return when who stays has got the whole log, and no pass is under way."""

        def have_read() -> bool:
            return not [one for one in self.staying() if one.take() < len(self.log) or one.sink.blocked]

        await until(have_read)
        await passes(20)

    async def all_have_ended(self) -> None:
        """Return when nobody stays, and every client has read up to the end of its connection."""

        def have_ended() -> bool:
            for one in self.seats:
                if one.client.fileno() >= 0 and not one.eof:
                    one.take()
            return not self.staying() and all(one.eof or one.client.fileno() < 0 for one in self.seats)

        await until(have_ended)
