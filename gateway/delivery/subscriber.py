"""Shell: one subscriber of a log: a cursor, a view, a sink and a mode. It holds no frames of its own.

In: pieces, room, hang-ups. Out: bytes to its sink, and to its host (the stream) what follows from them. The
invariant: the bytes written to the sink are the view's pieces in order, each once, until the subscriber ends with
exactly one `Ending`.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.delivery.modes import Cause, Mode, next_mode
from gateway.delivery.pieces import View
from gateway.delivery.sinks import Sink
from gateway.endings import Ending


class Host(Protocol):
    """The stream that a subscriber receives."""

    def on_ready(self, subscriber: "Subscriber") -> None:
        """The subscriber can take bytes: it has been attached, or has room again."""

    def on_blocked(self, subscriber: "Subscriber") -> None:
        """The subscriber can take nothing more for now."""

    def on_closed(self, subscriber: "Subscriber") -> None:
        """The subscriber has ended."""


class SharedCursor(Protocol):
    """A cursor that is kept outside of the subscriber: those in step share one; the straight way is up to date."""

    def position_of(self, slot: int) -> int:
        """Where the subscriber in this slot is."""

    def leave(self, subscriber: "Subscriber") -> None:
        """Give the subscriber its own cursor back."""


class Subscriber:
    """A client that receives a stream: counted from its creation on, sent bytes from `attach` on."""

    __slots__ = (
        "_at_check",
        "_expiry",
        "_host",
        "_on_end",
        "_stalled_since",
        "_waiter",
        "cursor",
        "ending",
        "first_seq",
        "is_audience",
        "mode",
        "seq",
        "sink",
        "slot",
        "view",
    )

    def __init__(self, host: Host, view: View, seq: int, *, is_audience: bool = True) -> None:
        self._host = host
        self._waiter: asyncio.Future[None] | None = None
        self._stalled_since: float | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._on_end: Callable[[], None] | None = None
        self._at_check = (seq, 0)  # the position and the unsent bytes at the last look for a stall
        self.mode = Mode.DETACHED
        self.is_audience = is_audience  # it is a reason for the stream to go on
        self.view = view
        self.sink: Sink | None = None
        self.first_seq = seq  # where it began
        self.seq = seq  # its own cursor: the next frame to send. While `cursor` is set, that one counts
        self.cursor: SharedCursor | None = None
        self.slot = 0  # its place at the shared cursor
        self.ending: Ending | None = None

    @property
    def position(self) -> int:
        """The next frame that it is to be sent."""
        return self.seq if self.cursor is None else self.cursor.position_of(self.slot)

    @property
    def is_blocked(self) -> bool:
        """Whether the client takes nothing more for now."""
        return self.sink is not None and self.sink.blocked

    # --- the fan-out's side

    def change_mode(self, cause: Cause) -> Mode:
        """The mode from now on. Raises `KeyError` for what never happens (`modes.py`)."""
        self.mode = next_mode(self.mode, cause)
        return self.mode

    def follow(self, cursor: SharedCursor, slot: int = 0) -> None:
        """From now on this cursor says where the subscriber is."""
        self.cursor, self.slot = cursor, slot

    def stand_at(self, seq: int) -> None:
        """From now on the subscriber has a cursor of its own, which is here."""
        self.cursor, self.seq = None, seq

    def send(self, data: bytes, next_seq: int) -> None:
        """Hand over the next piece; the subscriber stands behind it then."""
        self.seq = next_seq
        if data and self.sink is not None:
            self.sink.write(data)

    def finish(self) -> None:
        """The last piece has been sent."""
        self.end(Ending.COMPLETED)

    # --- the connection's side

    def attach(self, sink: Sink) -> None:
        """The head is out: send what is there and, from now on, what comes."""
        if self.ending is not None:
            sink.close()
            return
        self.sink = sink
        self._host.on_ready(self)

    def on_writable(self) -> None:
        """The sink has room again."""
        self._stalled_since = None
        if self.sink is not None:
            self._host.on_ready(self)

    def on_hang_up(self) -> None:
        """The client is gone."""
        self.end(Ending.LEFT)

    def expire_in(self, seconds: float) -> None:
        """Send the subscriber away as expired after so many seconds, if it is still there."""
        self._expiry = asyncio.get_running_loop().call_later(max(seconds, 0.0), self.send_away, Ending.EXPIRED)

    def when_ended(self, call: Callable[[], None] | None) -> None:
        """Call this once, when the subscriber has ended, for whatever reason."""
        self._on_end = call

    async def wait_closed(self) -> Ending:
        """The subscriber's ending, as soon as there is one; for one waiter."""
        if self.ending is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        assert self.ending is not None
        return self.ending

    # --- the stream's side

    def keep_alive(self) -> None:
        """Send a comment, if there is room: the subscriber is between two events and waits for the next."""
        if self.sink is not None and not self.sink.blocked:
            self.sink.write(self.view.keepalive)
            if self.sink.blocked:
                self._host.on_blocked(self)

    def check_stall(self, now: float, limit: float) -> bool:
        """Whether the client has taken no byte for `limit` seconds while some waited for it."""
        if self.sink is None:
            return False
        unsent, before = self.sink.unsent_bytes(), self._at_check
        if unsent:
            unsent += self.sink.kernel_bytes()  # a slow client takes them before there is room for more
        self._at_check = (self.position, unsent)
        if not unsent or self.position != before[0] or unsent < before[1]:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = now
        return self._stalled_since is not None and now - self._stalled_since >= limit

    def send_away(self, ending: Ending, retry_ms: int | None = None) -> None:
        """End the subscriber before its stream ends; tell it so, or when to come again, if there is room.

        Where a view has no word for this the body is left unended: the client sees a break, never a false end.
        """
        if self.sink is not None and not self.sink.blocked and (farewell := self.view.farewell(ending, retry_ms)):
            self.sink.write(farewell + self.sink.body_end)
        self.end(ending)

    def end(self, ending: Ending = Ending.LEFT) -> None:
        """The subscriber is gone, or is given up. Idempotent; the first reason wins."""
        if self.ending is not None:
            return
        self.ending = ending
        if self._expiry is not None:
            self._expiry.cancel()
        sink, self.sink = self.sink, None
        if sink is not None:
            if ending is Ending.LAGGED:
                sink.abort()
            sink.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._host.on_closed(self)
        if self._on_end is not None:
            self._on_end()
