"""Shell: plays the steps of one plan on a transport, each when it is due.

In: steps, and the transport's calls to pause and resume. Out: bytes, and one call of `on_end`.
The invariant: a player has at most one handle of the event loop, and writes nothing while the transport is paused.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from enum import Enum

from gateway.simulate.steps import Close, End, Reset, Send, Stall, Step

MAX_SENDS_PER_TURN = 64  # writes in one turn of the event loop: a script without gaps must not starve other players
TOLERANCE = 0.0005  # seconds that a step may be early: uvloop's timers and clock count whole milliseconds
_RST_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER with no time: a close sends an RST


class Outcome(Enum):
    """The way in which a play ended."""

    KEPT = "kept"  # complete; the connection serves the next request
    CLOSED = "closed"  # complete; the connection closes
    BROKEN = "broken"  # broken off, as the script says


class Player:
    """Plays one plan. `tokens`: how many tokens were written so far."""

    __slots__ = (
        "_handle",
        "_loop",
        "_on_end",
        "_origin",
        "_paused",
        "_step",
        "_steps",
        "_transport",
        "tokens",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        steps: Iterator[Step],
        on_end: Callable[[Outcome], None],
    ) -> None:
        self.tokens = 0
        self._loop = loop
        self._transport = transport
        self._steps = steps
        self._on_end = on_end
        self._origin = 0.0
        self._paused = False
        self._step: Step = Stall(0.0)
        self._handle: asyncio.Handle | None = None

    def start(self, paused: bool = False) -> None:
        """Count time from now, and play the steps that are due at once, unless the transport is paused."""
        self._origin = self._loop.time()
        self._paused = paused
        self._step = next(self._steps)
        if not paused:
            self._turn()

    def pause(self) -> None:
        """Write nothing until `resume`, since the transport's buffer is full."""
        self._paused = True
        self._cancel_handle()

    def resume(self) -> None:
        """Go on with the steps that became due during the pause."""
        if self._paused:
            self._paused = False
            self._handle = self._loop.call_soon(self._turn)

    def cancel(self) -> None:
        """Play nothing more; `on_end` is not called."""
        self._paused = True
        self._cancel_handle()

    def _cancel_handle(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _turn(self) -> None:
        """Play all that is due, then sleep until the next step."""
        self._handle = None
        step, write, left = self._step, self._transport.write, MAX_SENDS_PER_TURN
        due = self._loop.time() - self._origin + TOLERANCE
        while step.at <= due and not self._paused:
            if not isinstance(step, Send):
                self._conclude(step)
                return
            write(step.data)
            self.tokens += step.tokens
            left -= 1
            yield_now = step.alone or not left
            step = self._step = next(self._steps)
            if yield_now and not self._paused:
                self._handle = self._loop.call_soon(self._turn)
                return
        if not self._paused:
            self._handle = self._loop.call_at(self._origin + step.at, self._turn)

    def _conclude(self, step: Stall | Reset | Close | End) -> None:
        match step:
            case End():
                self._on_end(Outcome.KEPT if step.keep_alive else Outcome.CLOSED)
            case Close():
                self._on_end(Outcome.BROKEN)
            case Reset():
                # uvloop writes at the end of a turn, and a reset drops unwritten bytes, so it comes one turn later.
                self._handle = self._loop.call_soon(self._reset)
            case Stall():
                pass

    def _reset(self) -> None:
        # A closing transport has no socket any more: the connection was ended elsewhere, so there is nothing to do.
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            self._transport.abort()
            self._on_end(Outcome.BROKEN)
