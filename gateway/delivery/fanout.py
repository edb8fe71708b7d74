"""Shell: the pass that brings what is new in a log to its readers.

Readers that are up to date and can be written to directly move in step (`cohort.py`); the others, those behind and
those on a transport, are served one by one. A pass is cut into slices of about a millisecond, with the event loop's
other work between them, so that ten thousand readers of one stream do not hold up the tokens of another. What comes
while a pass is under way is joined to what the next one, or its later readers, get.

The invariant: when no pass is under way, every reader that is not blocked has read the whole log.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Iterable, Iterator

from gateway.delivery.in_step import SubscribersInStep
from gateway.delivery.sinks import send_nowait
from gateway.delivery.source import Log, Piece, View
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending

SLICE_SECONDS = 0.001
APART_STEP = 8  # readers between two looks at the clock: each may need 64 KiB framed and sent, an eighth of a slice
MAX_PIECES = 4  # of 64 KiB, that readers who follow one another through a long log share


class Fanout:
    """The readers of one log that can take bytes, and the pass over them."""

    __slots__ = (
        "_apart",
        "_behind",
        "_cohorts",
        "_log",
        "_max_log_bytes",
        "_on_progress",
        "_pass",
        "_pieces",
        "_sends",
        "_sole",
        "_straight",
    )

    def __init__(self, log: Log, on_progress: Callable[[], None], max_log_bytes: int = 1 << 62) -> None:
        self._log = log
        self._max_log_bytes = max_log_bytes
        self._on_progress = on_progress  # the log is over its limit, or a pass of several slices is at its end
        self._cohorts: dict[View, SubscribersInStep] = {}
        self._apart: dict[Subscriber, None] = {}  # an ordered set: those with a cursor of their own
        self._sole: Subscriber | None = None  # the only reader; always apart
        # That one while all it needs is a send: nothing is behind, nothing is blocked, the log is open, and its view
        # takes transfer chunks as they come. Set by a token, and forgotten with whatever else happens.
        self._straight: Subscriber | None = None
        self._pass: Iterator[None] | None = None  # the one under way
        # Those that were made last, with the end of the log then.
        self._pieces: dict[tuple[View, int], tuple[Piece, tuple[int, Ending | None]]] = {}
        self._behind = False  # somebody is not up to date at the end of it
        self._sends = 0  # pieces handed to sinks outside of cohorts

    @property
    def sends(self) -> int:
        """Pieces handed to sinks."""
        return self._sends + sum(cohort.sends for cohort in self._cohorts.values())

    @property
    def is_passing(self) -> bool:
        """Whether a pass is under way, between two of its slices."""
        return self._pass is not None

    def add(self, reader: Subscriber) -> None:
        """A reader that has been attached, or has room again: bring it up to date."""
        if reader.cohort is not None:
            return
        self._apart[reader] = None
        self._find_sole()
        if self._pass is not None:
            self._behind = True
            return
        self._behind = False
        self._serve((reader,))
        if self._behind:
            self._begin()
        elif self._log.ending is not None:
            self._pieces.clear()

    def remove(self, reader: Subscriber) -> None:
        """A reader that has ended, or is blocked."""
        if isinstance(reader.cohort, SubscribersInStep):
            reader.cohort.leave(reader)
        self._apart.pop(reader, None)
        self._find_sole()

    def publish(self, frame: bytes, chunk: bytes = b"") -> None:
        """Append a frame and send it: what a token costs is mostly this. `chunk`: the frame as a transfer chunk."""
        reader = self._straight
        if not chunk or reader is None or (sink := reader.sink) is None or (direct := sink.direct) is None:
            self._publish(frame, chunk)
            return
        log = self._log
        log.held.append(frame)
        log.bytes += len(frame)
        log.next_seq = reader.seq = log.next_seq + 1
        self._sends += 1
        try:
            sent = direct.send(chunk)
        except OSError:
            sent = send_nowait(direct, chunk)  # tells why it failed
        if sent != len(chunk):
            self._straight = None
            sink.on_short_write(chunk, sent)
            if sink.blocked:
                self.remove(reader)
        if log.bytes > self._max_log_bytes:
            self._on_progress()

    def _publish(self, frame: bytes, chunk: bytes) -> None:
        """The same, whoever reads the log."""
        log = self._log
        if log.ending is not None:
            raise ValueError("the log is closed")
        log.held.append(frame)
        log.bytes += len(frame)
        log.next_seq = seq = log.next_seq + 1
        reader = self._sole
        if reader is None or reader.seq + 1 != seq or (sink := reader.sink) is None or sink.blocked:
            self.wake()
        else:
            # The only reader, as of every completion that nobody shares, and up to date: no pass is needed.
            view = reader.view
            data = chunk if chunk and view.bare_chunks else view.one(frame, reader.seq)
            reader.seq = seq
            sink.write(data)
            self._sends += 1
            if sink.blocked:
                self.remove(reader)
            elif view.bare_chunks:
                self._straight = reader
        if log.bytes > self._max_log_bytes:
            self._on_progress()

    def wake(self) -> None:
        """The log has grown, or ended."""
        self._straight = None
        if self._pass is None:
            self._begin()
        else:
            self._behind = True

    def end(self) -> None:
        """The log has ended: nobody has to make room in it any more."""
        self._straight = None
        self._on_progress = _nothing

    def _find_sole(self) -> None:
        self._straight = None
        together = sum(map(len, self._cohorts.values()))
        if together == 1 and not self._apart:
            for cohort in self._cohorts.values():
                self._apart.update(dict.fromkeys(cohort.dissolve()))
            together = 0
        self._sole = next(iter(self._apart)) if len(self._apart) == 1 and not together else None

    def _begin(self) -> None:
        self._pass = self._steps()
        self._run(first=True)

    def _run(self, first: bool = False) -> None:
        """One slice: to the end of the pass, or of its time."""
        assert self._pass is not None
        until = time.perf_counter() + SLICE_SECONDS
        try:
            for _ in self._pass:
                if time.perf_counter() >= until:
                    asyncio.get_running_loop().call_soon(self._run)
                    return
        except BaseException:
            self._pass = None
            raise
        self._pass = None
        self._pieces.clear()
        if not first:
            self._on_progress()

    def _steps(self) -> Iterator[None]:
        """A pass, to be run step by step until nobody is behind."""
        self._behind = True
        while self._behind:
            self._behind = False
            for cohort in [one for one in self._cohorts.values() if one]:
                try:
                    yield from cohort.advance()
                except LookupError:
                    self._apart.update(dict.fromkeys(cohort.dissolve()))  # each is told for itself
                if cohort and cohort.seq != self._log.next_seq:
                    self._behind = True
            apart = tuple(self._apart)
            for start in range(0, len(apart), APART_STEP):
                self._serve(apart[start : start + APART_STEP])
                yield

    def _serve(self, readers: Iterable[Subscriber]) -> None:
        """One piece for each that is apart."""
        view: View | None = None
        data, seq, next_seq, last = b"", -1, 0, False
        for reader in readers:
            sink = reader.sink
            if sink is None or sink.blocked:
                continue
            if reader.seq != seq or reader.view is not view:
                view, seq = reader.view, reader.seq
                try:
                    data, next_seq, last = self._piece(view, seq)
                except LookupError:  # the log has forgotten what this reader has not read
                    view = None
                    reader.end(Ending.LAGGED)
                    continue
            if data:
                self._sends += 1
                reader.seq = next_seq
                sink.write(data)
            if last and data:
                reader.finish()
            elif sink.blocked:
                self.remove(reader)
            elif next_seq != self._log.next_seq:
                self._behind = True
            elif sink.steady and sink.direct is not None and reader is not self._sole and reader.cohort is None:
                self._fall_in(reader, sink.direct)

    def _piece(self, view: View, seq: int) -> Piece:
        """The next piece from there; the one that somebody else got if that is still the same."""
        if self._sole is not None:
            return view.piece(seq)
        end = (self._log.next_seq, self._log.ending)
        piece, made_at = self._pieces.get((view, seq), (None, end))
        if piece is not None and (piece[1] != made_at[0] or made_at == end):  # cut by its size, or nothing has come
            return piece
        piece = view.piece(seq)
        if piece[0]:
            if len(self._pieces) >= MAX_PIECES:
                del self._pieces[next(iter(self._pieces))]
            self._pieces[view, seq] = piece, end
        return piece

    def _fall_in(self, reader: Subscriber, direct: socket.socket) -> None:
        """A reader that is up to date goes with the others, if they are too."""
        cohort = self._cohorts.get(reader.view)
        if cohort is None:
            cohort = self._cohorts[reader.view] = SubscribersInStep(reader.view, reader.seq)
        if reader in self._apart and cohort.join(reader, direct):
            del self._apart[reader]


def _nothing() -> None:
    """What follows from progress once the log has ended."""
