"""Shell: brings what is new in a log to all its subscribers, each in its mode (`modes.py`).

In: frames and the end of the log; subscribers that come, block, have room again, go. Out: pieces to sinks. While
there is one subscriber, frames go straight (`straight.py`); else a pass serves the groups in step (`in_step.py`), and
then the subscribers apart, one by one. A pass is cut into slices, so that ten thousand subscribers of one stream do
not hold up the tokens of another. A frame that comes while a pass is under way is joined to the pieces that the pass
has still to send.

The invariant: when no pass is under way, every subscriber that is not blocked has been sent the whole log. A log
grows here only: `publish` (in `straight.py`), `publish_all` and `end`.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator

from gateway.delivery.in_step import SubscribersInStep
from gateway.delivery.long_piece import LONG_PIECE_BYTES
from gateway.delivery.modes import Cause, Mode
from gateway.delivery.pieces import Log, SharedPieces, View, next_piece
from gateway.delivery.sinks import Sink
from gateway.delivery.slices import run_slice
from gateway.delivery.straight import StraightWay
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending

# Subscribers apart that are served between two looks at the clock: each may need 64 KiB framed and sent, which takes
# an eighth of a slice.
APART_STEP = 8
NO_LIMIT = 1 << 62  # bytes: more than any log holds


class Fanout:
    """The subscribers of one log that can take bytes, and the pass over them."""

    __slots__ = (
        "_apart",
        "_in_step",
        "_is_behind",
        "_log",
        "_max_log_bytes",
        "_on_progress",
        "_pass",
        "_pieces",
        "_sends",
        "_straight",
        "publish",
    )

    def __init__(self, log: Log, on_progress: Callable[[], None], max_log_bytes: int = NO_LIMIT) -> None:
        self._log = log
        self._max_log_bytes = max_log_bytes
        # Called when the log is over its limit, or a pass of several slices has come to its end. None once the log
        # has ended: nobody has to make room in it any more.
        self._on_progress: Callable[[], None] | None = on_progress
        self._straight = StraightWay(log, self, on_progress, max_log_bytes)
        self.publish = self._straight.publish  # appends a frame, which is on its way when this returns
        self._in_step: dict[tuple[View, bytes], SubscribersInStep] = {}  # by view and end of the body
        self._apart: dict[Subscriber, None] = {}  # an ordered set
        self._pieces = SharedPieces(log)
        self._pass: Iterator[None] | None = None  # the pass that is under way
        self._is_behind = False  # some subscriber is not up to date: the pass has to come round again
        self._sends = 0  # pieces handed to subscribers that were apart

    @property
    def sends(self) -> int:
        """Pieces handed to sinks."""
        alone = self._sends + self._straight.sends
        return alone + sum(group.sends for group in self._in_step.values()) if self._in_step else alone

    @property
    def is_passing(self) -> bool:
        """Whether a pass is under way, between two of its slices."""
        return self._pass is not None

    # --- the log grows

    def publish_all(self, frames: list[bytes]) -> None:
        """Append frames, which a subscriber gets in one piece. Raises `ValueError` once the log is closed."""
        if len(frames) == 1:
            self.publish(frames[0])  # 1.3 us beside the send; several frames have to be joined, which takes 3.3 us
            return
        seq = self._log.next_seq
        self._log.extend(frames)
        self._bring(seq)
        if self._on_progress is not None and self._log.bytes > self._max_log_bytes:
            self._on_progress()

    def end(self, ending: Ending, last_frames: list[bytes]) -> None:
        """Append the last frames and write the end; a subscriber gets both in one piece if it can."""
        seq = self._log.next_seq
        self._log.extend(last_frames)
        self._log.close(ending)
        self._on_progress = None
        self._bring(seq)
        self._straight.close()

    def close(self) -> None:
        """Let go of the owner of a log that has ended before it came here: nothing is published any more."""
        self._on_progress = None
        self._straight.close()

    def wake(self) -> None:
        """Begin a pass, since the log has grown or ended; a pass that is under way comes round again instead."""
        if self._pass is None:
            if not (self._apart or self._in_step):
                return  # as before the first subscriber, and after the last one
            self._pass = self._steps()
            try:
                self._run(is_first=True)
            except BaseException:
                self._pass = None
                raise
        else:
            self._is_behind = True

    # --- subscribers come and go

    def add(self, subscriber: Subscriber) -> None:
        """Bring a subscriber up to date that has been attached, or has room again."""
        if subscriber.change_mode(Cause.READY) is not Mode.APART:
            return  # it goes straight or in step, and so is up to date
        self._end_straight(Cause.COMPANY, self._log.next_seq)
        self._apart[subscriber] = None
        if self._pass is not None:
            self._is_behind = True
            return
        log, sink = self._log, subscriber.sink
        if subscriber.seq == log.next_seq and log.ending is None and sink is not None and not sink.blocked:
            self._settle(
                subscriber, sink
            )  # there is nothing to send: most subscribers join so, at the end of the log
            return
        self._is_behind = False
        self._serve((subscriber,))
        if self._is_behind:
            self.wake()
        elif self._log.ending is not None:
            self._pieces.clear()

    def remove(self, subscriber: Subscriber, cause: Cause) -> None:
        """Stop serving a subscriber that has ended, or takes nothing for now (`Cause.ENDED`, `Cause.BLOCKED`)."""
        self._apart.pop(subscriber, None)
        if subscriber.cursor is not None:
            subscriber.cursor.leave(subscriber)
        subscriber.change_mode(cause)
        self._dissolve_group_of_one()

    # --- inside

    def _bring(self, seq: int) -> None:
        """Bring what was appended from `seq` on to the subscribers: straight to the only one, or by a pass."""
        if not self._straight.send_from(seq):
            self._end_straight(Cause.BEHIND, seq)
            self.wake()

    def _run(self, is_first: bool = False) -> None:
        """Run one slice of the pass."""
        assert self._pass is not None
        try:
            if not run_slice(self._pass):
                asyncio.get_running_loop().call_soon(self._run)
                return
        except BaseException:
            self._pass = None
            raise
        self._pass = None
        self._pieces.clear()
        if not is_first and self._on_progress is not None:
            self._on_progress()

    def _steps(self) -> Iterator[None]:
        """The steps of a pass, which goes on until every subscriber is up to date."""
        self._is_behind = True
        while self._is_behind:
            self._is_behind = False
            for group in [group for group in self._in_step.values() if group]:
                try:
                    yield from group.advance()
                except LookupError:
                    self._dissolve(group, Cause.BEHIND)  # served apart, each subscriber is told what was forgotten
                if len(group) == 1:  # the others have left or are blocked
                    self._dissolve_group_of_one()
                if group.seq != self._log.next_seq and group:
                    self._is_behind = True
            apart = tuple(self._apart)
            step = APART_STEP if self._log.bytes <= LONG_PIECE_BYTES else 1  # a long piece may have to be encrypted
            for start in range(0, len(apart), step):
                self._serve(apart[start : start + step])
                yield

    def _serve(self, subscribers: Iterable[Subscriber]) -> None:
        """Send the next piece to each of these subscribers that is still apart."""
        # A piece for the only subscriber is not kept: it would stay in memory while the subscriber goes straight.
        make = next_piece if len(self._apart) == 1 and not self._in_step else self._pieces.next
        for subscriber in subscribers:
            sink = subscriber.sink
            if sink is None or sink.blocked:
                continue
            try:
                data, next_seq, over = make(subscriber.view, subscriber.seq, sink.body_end)
            except LookupError:  # the log has forgotten what this subscriber has not been sent
                subscriber.end(Ending.LAGGED)
                continue
            self._sends += bool(data)
            subscriber.send(data, next_seq)
            if over:
                if sink.blocked:
                    subscriber.finish_when_sent()
                else:
                    subscriber.finish()
            elif subscriber.ending is not None:
                continue
            elif sink.blocked:
                self.remove(subscriber, Cause.BLOCKED)
            elif next_seq != self._log.next_seq:
                self._is_behind = True
            elif self._log.ending is None:
                self._settle(subscriber, sink)

    def _settle(self, subscriber: Subscriber, sink: Sink) -> None:
        """Let a subscriber that is up to date go straight if it is the only one, else in step with others.

        A subscriber whose sink is not steady stays apart.
        """
        if len(self._apart) == 1 and not any(self._in_step.values()):
            mode = subscriber.change_mode(Cause.ALONE)
            assert mode is Mode.STRAIGHT
            del self._apart[subscriber]
            self._straight.take(subscriber, sink)
        elif sink.steady and sink.direct is not None:
            key = (subscriber.view, sink.body_end)
            group = self._in_step.get(key)
            if group is None:
                group = self._in_step[key] = SubscribersInStep(*key, subscriber.seq)
            if group.join(subscriber, sink.direct):
                subscriber.change_mode(Cause.CAUGHT_UP)
                del self._apart[subscriber]

    def _end_straight(self, cause: Cause, seq: int) -> None:
        """Let the subscriber that goes straight, if there is one, be served by passes from now on; it is at `seq`."""
        subscriber = self._straight.subscriber
        if subscriber is not None:
            self._straight.stand_at(subscriber, seq)
            subscriber.change_mode(cause)
            self._apart[subscriber] = None

    def _dissolve_group_of_one(self) -> None:
        """Dissolve a group that has only one subscriber left, which goes straight as soon as a pass has served it."""
        if self._apart or not self._in_step:
            return
        groups = [group for group in self._in_step.values() if group]
        if len(groups) == 1 and len(groups[0]) == 1:
            self._dissolve(groups[0], Cause.ALONE)

    def _dissolve(self, group: SubscribersInStep, cause: Cause) -> None:
        for subscriber in group.dissolve():
            subscriber.change_mode(cause)
            self._apart[subscriber] = None
