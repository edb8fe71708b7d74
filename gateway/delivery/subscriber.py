"""Shell: one subscriber of a log: a cursor, a view, a sink and a mode. It holds no frames of its own.

In: pieces, room, hang-ups. Out: bytes to its sink; to its host (the stream), that it is ready, blocked or closed. The
invariant: the bytes written to the sink are the view's pieces in order, each once, until the subscriber ends with
exactly one `Ending`.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.delivery.long_piece import Sendable
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
    """A cursor that is kept outside of the subscriber: by the subscribers in step, or by the straight way."""

    def position_of(self, slot: int) -> int:
        """Where the subscriber in this slot is."""

    def leave(self, subscriber: "Subscriber") -> None:
        """Give the subscriber its own cursor back."""


class Subscriber:
    """A client that receives a stream: counted from its creation on, sent bytes from `attach` on."""

    __slots__ = (
        "_expiry",
        "_host",
        "_last_look",
        "_on_end",
        "_waiter",
        "cursor",
        "ending",
        "first_seq",
        "mode",
        "seq",
        "sink",
        "slot",
        "view",
    )

    is_audience = True  # it counts as audience, so it is a reason for the stream to go on

    def __init__(self, host: Host, view: View, seq: int) -> None:
        self._host = host
        self._waiter: asyncio.Future[None] | None = None
        # While bytes wait for the client: the position, the unsent bytes, and since when a look found them unchanged.
        self._last_look: tuple[int, int, float | None] | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._on_end: Callable[[], None] | None = None
        self.mode = Mode.DETACHED
        self.view = view
        self.sink: Sink | None = None
        self.first_seq = seq  # where it began
        self.seq = seq  # its own cursor: the next frame to send; out of date while `cursor` is set
        self.cursor: SharedCursor | None = None  # the shared cursor that says where it is
        self.slot = 0  # its slot at the shared cursor
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
        """Go to the next mode and return it. Raises `KeyError` for what never happens (`modes.py`)."""
        self.mode = next_mode(self.mode, cause)
        return self.mode

    def follow(self, cursor: SharedCursor, slot: int = 0) -> None:
        """Let this shared cursor say where the subscriber is, from now on."""
        self.cursor, self.slot = cursor, slot

    def stand_at(self, seq: int) -> None:
        """Give the subscriber a cursor of its own, at `seq`."""
        self.cursor, self.seq = None, seq

    def send(self, data: Sendable, next_seq: int) -> None:
        """Write the next piece to the sink, and move the cursor behind it, to `next_seq`."""
        self.seq = next_seq
        if data and self.sink is not None:
            self.sink.write(data)

    def finish(self) -> None:
        """End the subscriber as completed: its last piece has been sent."""
        self.end(Ending.COMPLETED)

    def finish_when_sent(self) -> None:
        """End the subscriber as completed as soon as its sink holds nothing of its last piece back."""
        if self.sink is not None:
            self.sink.when_sent(self.finish)
        if self.ending is None:
            self._host.on_blocked(self)

    # --- the connection's side

    def attach(self, sink: Sink) -> None:
        """Give the subscriber its sink, once the response head is out: it is sent what is there, then what comes."""
        if self.ending is not None:
            sink.close()
            return
        self.sink = sink
        self._host.on_ready(self)

    def on_writable(self) -> None:
        """The sink has room again."""
        self._last_look = None
        if self.sink is not None:
            self._host.on_ready(self)

    def on_hang_up(self) -> None:
        """End the subscriber, whose client is gone."""
        self.end(Ending.LEFT)

    def expire_in(self, seconds: float) -> None:
        """Send the subscriber away as expired when `seconds` have passed, if it has not ended before."""
        if self.ending is None:
            self._expiry = asyncio.get_running_loop().call_later(max(seconds, 0.0), self.send_away, Ending.EXPIRED)

    def when_ended(self, call: Callable[[], None] | None) -> None:
        """Call this once, when the subscriber has ended, for whatever reason; at once if it has ended before."""
        self._on_end = call
        if self.ending is not None and call is not None:
            call()

    async def wait_closed(self) -> Ending:
        """Wait for the subscriber's ending and return it; only one caller may wait."""
        if self.ending is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        assert self.ending is not None
        return self.ending

    # --- the stream's side

    def keep_alive(self) -> None:
        """Send a comment, if there is room, since the subscriber is between two events and waits for the next."""
        if self.sink is not None and not self.sink.blocked:
            self.sink.write(self.view.keepalive)
            if self.sink.blocked:
                self._host.on_blocked(self)

    def check_stall(self, now: float, limit: float) -> bool:
        """Whether the client has taken no byte for `limit` seconds although bytes waited for it."""
        if self.sink is None:
            return False
        unsent, before = self.sink.unsent_bytes(), self._last_look
        if not unsent:
            self._last_look = None
            return False
        unsent += self.sink.kernel_bytes()  # a slow client takes the kernel's bytes before the sink has room
        position = self.position
        if before is not None and (position != before[0] or unsent < before[1]):
            self._last_look = (position, unsent, None)
            return False
        stalled_since = now if before is None or before[2] is None else before[2]
        self._last_look = (position, unsent, stalled_since)
        return now - stalled_since >= limit

    def send_away(self, ending: Ending, retry_ms: int | None = None) -> None:
        """End the subscriber before its stream ends. If there is room, tell the client so, or when to come again.

        Where a view has no farewell, the body is left unended: the client sees a break, never a false end.
        """
        if self.sink is not None and not self.sink.blocked and (farewell := self.view.farewell(ending, retry_ms)):
            self.sink.write(farewell + self.sink.body_end)
        self.end(ending)

    def end(self, ending: Ending = Ending.LEFT) -> None:
        """End the subscriber, let go of its sink and tell its host. Idempotent; the first ending wins."""
        if self.ending is not None:
            return
        self.ending = ending
        if self._expiry is not None:
            self._expiry.cancel()
        sink, self.sink = self.sink, None
        try:
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
            if sink is not None:
                if ending is Ending.LAGGED:
                    sink.abort()
                sink.close()
        finally:  # whatever fails, its host and its owner hear of the end
            try:
                self._host.on_closed(self)
            finally:
                if self._on_end is not None:
                    self._on_end()


class Onlooker(Subscriber):
    """A subscriber that does not count as audience: the stream does not go on for its sake."""

    __slots__ = ()

    is_audience = False
