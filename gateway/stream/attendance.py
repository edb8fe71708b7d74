"""Shell: looks at the subscribers of one stream from time to time, and finds who is stuck and who waits in silence.

In: time. Out: an end (`Ending.LAGGED`) for a client that has taken no byte for too long; a comment for each client
that waits for the next event, so that it and the proxies before it know that the gateway is there.
"""

import asyncio
from collections.abc import Collection, Iterator

from gateway.config import StreamSettings
from gateway.delivery.slices import run_slice
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.stream.log import StreamLog


class Attendance:
    """Looks at the subscribers of one stream every few seconds, while there are any."""

    __slots__ = (
        "_keepalive_seconds",
        "_log",
        "_next",
        "_quiet_seconds",
        "_seq",
        "_stall_seconds",
        "_subscribers",
        "_tick",
    )

    def __init__(self, log: StreamLog, subscribers: Collection[Subscriber], limits: StreamSettings) -> None:
        self._log = log
        self._subscribers = subscribers  # the stream's own collection, which changes between two looks
        self._keepalive_seconds = limits.keepalive_seconds
        self._stall_seconds = limits.subscriber_stall_seconds
        self._tick = min(limits.keepalive_seconds / 2, limits.subscriber_stall_seconds / 4)  # seconds between looks
        self._seq = 0  # the end of the log at the last look
        self._quiet_seconds = 0.0  # how long nothing has been appended
        self._next: asyncio.Handle | None = None  # the next look, or the next slice of the one that is under way

    def start(self) -> None:
        """Look from now on, since there is a subscriber. Idempotent."""
        if self._next is None:
            self._next = asyncio.get_running_loop().call_later(self._tick, self._on_tick)

    def stop(self) -> None:
        """Look no more, since there is no subscriber left. Idempotent."""
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _on_tick(self) -> None:
        has_moved = self._log.next_seq != self._seq
        self._seq = self._log.next_seq
        self._quiet_seconds = 0.0 if has_moved else self._quiet_seconds + self._tick
        is_quiet = self._quiet_seconds >= self._keepalive_seconds - 1e-6
        if is_quiet:
            self._quiet_seconds = 0.0
        self._run(self._look(is_quiet))

    def _run(self, look: Iterator[None]) -> None:
        """Run one slice of a look: ten thousand comments at once would hold up the tokens of other streams."""
        if not run_slice(look):
            self._next = asyncio.get_running_loop().call_soon(self._run, look)
            return
        self._next = None
        if self._subscribers:
            self.start()

    def _look(self, is_quiet: bool) -> Iterator[None]:
        now = asyncio.get_running_loop().time()
        for subscriber in list(self._subscribers):
            if subscriber.ending is not None:
                continue
            if subscriber.check_stall(now, self._stall_seconds):
                subscriber.end(Ending.LAGGED)
            elif is_quiet and subscriber.position >= self._log.next_seq:
                subscriber.keep_alive()
            yield
