"""Shell: one reader of a log: a cursor, a view and a sink. It holds no frames of its own.

The invariant: the bytes written to the sink are the view's pieces in order, each once, until the reader ends with
exactly one `Ending`.
"""

import asyncio
from collections.abc import Callable

from gateway.errors import Ending
from gateway.stream.log import StreamLog
from gateway.stream.sink import Sink
from gateway.stream.view import CompletionView


class Subscriber:
    """A reader. It counts as audience from its creation, and is sent bytes from `attach` on."""

    __slots__ = (
        "_at_check",
        "_log",
        "_on_closed",
        "_on_progress",
        "_stalled_since",
        "_waiter",
        "ending",
        "seq",
        "sink",
        "view",
    )

    def __init__(
        self,
        log: StreamLog,
        view: CompletionView,
        *,
        on_closed: Callable[["Subscriber"], None],
        on_progress: Callable[[], None],
        seq: int = 0,
    ) -> None:
        self._log = log
        self._on_closed = on_closed
        self._on_progress = on_progress
        self._waiter: asyncio.Future[None] | None = None
        self._stalled_since: float | None = None
        self._at_check = (seq, 0)  # the cursor and the unsent bytes at the last look
        self.view = view
        self.sink: Sink | None = None
        self.seq = seq  # the cursor: the next frame to send
        self.ending: Ending | None = None

    @property
    def lag_events(self) -> int:
        return self._log.next_seq - self.seq

    def attach(self, sink: Sink) -> None:
        """The head is out: send what is there and, from now on, what comes."""
        self.sink = sink
        self.pump()
        self._on_progress()

    def pump(self) -> None:
        """Send until the log is read, the sink is blocked, or the reader is at the end."""
        sink, log = self.sink, self._log
        if sink is None or self.ending is not None:
            return
        while not sink.blocked and (self.seq < log.next_seq or log.ending is not None):
            data, self.seq, last = self.view.piece(self.seq)
            sink.write(data)
            if last:
                self._close(Ending.COMPLETED)
                return

    def on_writable(self) -> None:
        """The sink has room again."""
        self._stalled_since = None
        self.pump()
        self._on_progress()

    def keep_alive(self) -> None:
        """Send a comment, if the reader is between two events and waits for the next."""
        sink = self.sink
        if sink is not None and not sink.blocked and self.ending is None and not self.lag_events:
            sink.write(self.view.keepalive)

    def check_stall(self, now: float, limit: float) -> None:
        """Close as lagged if the client has taken no byte for `limit` seconds while some waited for it."""
        sink = self.sink
        if sink is None:
            return
        unsent, before = sink.unsent_bytes(), self._at_check
        self._at_check = (self.seq, unsent)
        if not unsent or self.seq != before[0] or unsent < before[1]:
            self._stalled_since = None
        elif self._stalled_since is None:
            self._stalled_since = now
        elif now - self._stalled_since >= limit:
            sink.abort()
            self._close(Ending.LAGGED)

    def leave(self, ending: Ending = Ending.LEFT) -> None:
        """The reader is gone, or is sent away. Idempotent; after the end it changes nothing."""
        self._close(ending)

    async def wait_closed(self) -> Ending:
        """The reader's ending, as soon as there is one."""
        if self.ending is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        assert self.ending is not None
        return self.ending

    def _close(self, ending: Ending) -> None:
        if self.ending is not None:
            return
        self.ending = ending
        if self.sink is not None:
            self.sink.close()
            self.sink = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._on_closed(self)
