"""Shell: one reader of a log: a cursor, a view and a sink. It holds no frames of its own.

The invariant: the bytes written to the sink are the view's pieces in order, each once, until the reader ends with
exactly one `Ending`.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.delivery.sinks import Sink
from gateway.delivery.source import View
from gateway.endings import Ending


class Host(Protocol):
    """The stream that is read."""

    def on_ready(self, reader: "Subscriber") -> None:
        """The reader can take bytes: it has been attached, or has room again."""

    def on_blocked(self, reader: "Subscriber") -> None:
        """The reader can take nothing more for now."""

    def on_closed(self, reader: "Subscriber") -> None:
        """The reader has ended."""


class SharedCursor(Protocol):
    """Readers that share one cursor."""

    def position_of(self, slot: int) -> int:
        """What the one in this slot has read."""


class Subscriber:
    """A reader. It counts as audience from its creation, and is sent bytes from `attach` on."""

    __slots__ = (
        "_at_check",
        "_expiry",
        "_host",
        "_on_end",
        "_stalled_since",
        "_waiter",
        "cohort",
        "ending",
        "first_seq",
        "seq",
        "sink",
        "slot",
        "view",
    )

    def __init__(self, host: Host, view: View, seq: int) -> None:
        self._host = host
        self._waiter: asyncio.Future[None] | None = None
        self._stalled_since: float | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._on_end: Callable[[], None] | None = None
        self._at_check = (seq, 0)  # the cursor and the unsent bytes at the last look
        self.view = view
        self.sink: Sink | None = None
        self.first_seq = seq  # where it began
        self.seq = seq  # the cursor: the next frame to send; while in a cohort, that one's counts
        self.cohort: SharedCursor | None = None
        self.slot = 0  # its place there
        self.ending: Ending | None = None

    @property
    def position(self) -> int:
        """The next frame that it is to be sent."""
        return self.seq if self.cohort is None else self.cohort.position_of(self.slot)

    @property
    def is_blocked(self) -> bool:
        """Whether the client takes nothing more for now."""
        return self.sink is not None and self.sink.blocked

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
        if self.ending is None:
            self._host.on_ready(self)

    def on_hang_up(self) -> None:
        """The client is gone."""
        self.end(Ending.LEFT)

    def keep_alive(self) -> None:
        """Send a comment, if there is room: the reader is between two events and waits for the next."""
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

    def expire_in(self, seconds: float) -> None:
        """Send the reader away as expired then, if it is still there."""
        self._expiry = asyncio.get_running_loop().call_later(max(seconds, 0.0), self.send_away, Ending.EXPIRED)

    def when_ended(self, call: Callable[[], None] | None) -> None:
        """Call this when the reader has ended, for whatever reason; once."""
        self._on_end = call

    def finish(self) -> None:
        """The last piece has been written."""
        self.end(Ending.COMPLETED)

    def send_away(self, ending: Ending, retry_ms: int | None = None) -> None:
        """End the reader before its stream ends, and tell it so if there is room, or when to come again."""
        if self.sink is not None and not self.sink.blocked:
            self.sink.write(self.view.farewell(ending, retry_ms))
        self.end(ending)

    def end(self, ending: Ending = Ending.LEFT) -> None:
        """The reader is gone, or is given up. Idempotent; the first reason wins."""
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

    async def wait_closed(self) -> Ending:
        """The reader's ending, as soon as there is one; for one waiter."""
        if self.ending is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        assert self.ending is not None
        return self.ending
