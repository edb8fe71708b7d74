"""Shell: the pass that brings what is new in a log to its readers.

A pass goes over the readers that can take bytes; those at one cursor share one piece. It is cut into slices of about
a millisecond, with the event loop's other work between them, so that ten thousand readers of one stream do not hold
up the tokens of another. What comes while a pass is under way is joined to what its later readers get.

The invariant: when no pass is under way, every reader that is not blocked has read the whole log.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Iterable

from gateway.errors import Ending
from gateway.stream.log import StreamLog
from gateway.stream.sink import write_nowait
from gateway.stream.subscriber import Subscriber
from gateway.stream.view import View

SLICE_SECONDS = 0.001
STEP = 64  # readers between two looks at the clock: a fifth of a slice for a token, two slices for full pieces


class Fanout:
    """The readers of one log that can take bytes, and the pass over them."""

    __slots__ = (
        "_live",
        "_log",
        "_max_log_bytes",
        "_next_slice",
        "_on_progress",
        "_queue",
        "_sole",
        "_upto",
        "sends",
    )

    def __init__(self, log: StreamLog, on_progress: Callable[[], None], max_log_bytes: int = 1 << 62) -> None:
        self._log = log
        self._max_log_bytes = max_log_bytes
        self._on_progress = on_progress  # the log is over its limit, or a pass of several slices is at its end
        self._live: dict[Subscriber, None] = {}  # an ordered set: first come, first served
        self._sole: Subscriber | None = None  # the only live one
        self._queue: deque[Subscriber] = deque()  # who is still to be served in the pass under way
        self._upto = 0  # the log's position when it began
        self._next_slice: asyncio.Handle | None = None
        self.sends = 0  # pieces handed to sinks

    def add(self, reader: Subscriber) -> None:
        """A reader that has been attached, or has room again: bring it up to date."""
        self._live[reader] = None
        self._find_sole()
        self._queue.append(reader)
        if self._next_slice is None:
            self._upto = self._log.next_seq
            self._run()

    def remove(self, reader: Subscriber) -> None:
        """A reader that has ended, or is blocked."""
        self._live.pop(reader, None)
        self._find_sole()

    def publish(self, frame: bytes, chunk: bytes = b"") -> None:
        """Append a frame and send it: what a token costs is mostly this. `chunk`: the frame as a transfer chunk."""
        log = self._log
        log.append(frame)
        reader, seq = self._sole, log.next_seq
        if reader is None or reader.seq + 1 != seq or (sink := reader.sink) is None or sink.blocked:
            self.wake()
        else:
            # The only reader, as of every completion that nobody shares, and up to date: no pass is needed.
            view = reader.view
            data = chunk if chunk and view.bare_chunks else view.one(frame, reader.seq)
            reader.seq = seq
            if (fd := sink.fd) < 0:
                sink.write(data)
            else:
                try:
                    sent = os.write(fd, data)
                except OSError:
                    sent = write_nowait(fd, data)  # tells why it failed
                if sent != len(data):
                    sink.on_short_write(data, sent)
            self.sends += 1
            if sink.blocked:
                self.remove(reader)
        if log.bytes > self._max_log_bytes:
            self._on_progress()

    def wake(self) -> None:
        """The log has grown, or ended."""
        if self._next_slice is not None:
            self._upto = -1  # those that this pass has served already are behind again
            return
        live = self._live
        self._upto = self._log.next_seq
        if len(live) <= STEP:
            self._serve(tuple(live))  # too few for a slice: no queue, no clock
        else:
            self._queue.extend(live)
        if self._queue:
            self._run()

    def _find_sole(self) -> None:
        self._sole = next(iter(self._live)) if len(self._live) == 1 else None

    def _run(self) -> None:
        """One slice: to the end of the pass, or of its time."""
        until = time.perf_counter() + SLICE_SECONDS
        sliced, self._next_slice = self._next_slice is not None, None
        while self._queue:
            self._serve([self._queue.popleft() for _ in range(min(STEP, len(self._queue)))])
            if not self._queue and self._upto != self._log.next_seq:
                self._queue.extend(self._live)
                self._upto = self._log.next_seq
            if self._queue and time.perf_counter() >= until:
                self._next_slice = asyncio.get_running_loop().call_soon(self._run)
                return
        if sliced:
            self._on_progress()

    def _serve(self, readers: Iterable[Subscriber]) -> None:
        """One piece for each; who is behind even then goes back into the queue."""
        view: View | None = None
        data, size, seq, next_seq, last = b"", 0, -1, 0, False
        sends = 0
        for reader in readers:
            sink = reader.sink
            if sink is None or sink.blocked:
                continue
            if reader.seq != seq or reader.view is not view:
                view, seq = reader.view, reader.seq
                try:
                    data, next_seq, last = view.piece(seq)
                except LookupError:  # the log has forgotten what this reader has not read
                    view = None
                    reader.end(Ending.LAGGED)
                    continue
                size = len(data)
            if not size:
                continue
            reader.seq = next_seq
            # Straight to the kernel: with a call of `sink.write` between, and `socket.send` in place of `os.write`,
            # a delivery costs a tenth more (bench/fanout.py).
            if (fd := sink.fd) >= 0:
                try:
                    sent = os.write(fd, data)
                except OSError:
                    sent = write_nowait(fd, data)  # tells why it failed
                if sent != size:
                    sink.on_short_write(data, sent)
            else:
                sink.write(data)
            sends += 1
            if last:
                reader.finish()
            elif sink.blocked:
                self.remove(reader)
            elif next_seq != self._upto:
                self._queue.append(reader)
        self.sends += sends
