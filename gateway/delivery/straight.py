"""Shell: the way of a frame into its log and, while only one subscriber takes bytes, on to its socket at once.

In: frames, each with the transfer chunk in which it came. Out: bytes to the sink of the subscriber that goes
straight; with no subscriber or several, the fan-out is told that the log has grown. Single frames are appended here
only; frames that come together are appended by the fan-out (`fanout.py`). The invariant: the subscriber that goes
straight is up to date, so that the end of the log is its cursor.
"""

from collections.abc import Callable
from typing import Protocol

from gateway.delivery.modes import Cause
from gateway.delivery.pieces import Log, next_piece
from gateway.delivery.sinks import Sink, send_nowait
from gateway.delivery.subscriber import Subscriber


class Pass(Protocol):
    """The pass over all subscribers that do not go straight."""

    def wake(self) -> None:
        """Serve them: the log has grown."""

    def remove(self, subscriber: Subscriber, cause: Cause) -> None:
        """Stop serving a subscriber, which takes nothing more for now."""


class StraightWay:
    """The straight way of one log, and the subscriber that takes this way, if there is one."""

    __slots__ = ("_chunk_sink", "_counted_seq", "_log", "_max_log_bytes", "_on_full", "_pass", "_sends", "subscriber")

    def __init__(self, log: Log, others: Pass, on_full: Callable[[], None], max_log_bytes: int) -> None:
        self._log = log
        self._max_log_bytes = max_log_bytes
        self._pass = others
        self._on_full = on_full  # called when the log is over its limit
        self.subscriber: Subscriber | None = None
        self._chunk_sink: Sink | None = None  # the subscriber's sink, if its view sends chunks on as they came
        self._sends = 0  # pieces of the frames before `_counted_seq`
        self._counted_seq = 0  # from this frame on, each frame that the subscriber was sent was one piece

    @property
    def sends(self) -> int:
        """Pieces handed to the sinks of the subscribers that went straight."""
        return self._sends + (0 if self.subscriber is None else self._log.next_seq - self._counted_seq)

    def publish(self, frame: bytes, chunk: bytes = b"") -> None:
        """Append a frame and send it on its way; `chunk` is this frame as a transfer chunk, if it came as one.

        Nearly every token goes this way: its chunk goes to the socket past the sink, and no subscriber is touched. On
        a socket pair that takes 1.0 us; through `Sink.write` it takes 1.2 us, and 1.45 us with a chunk framed anew.
        Raises `ValueError` once the log is closed.
        """
        log = self._log
        log.append(frame)
        sink = self._chunk_sink
        if sink is None or not chunk or (direct := sink.direct) is None:
            self._deliver(frame, chunk)
        else:
            try:
                sent = direct.send(chunk)
            except OSError:
                sent = send_nowait(direct, chunk)  # tells a full socket from a lost peer
            if sent != len(chunk):
                sink.on_short_write(chunk, sent)
                if sink.blocked:
                    self._block()
        if log.bytes > self._max_log_bytes:
            self._on_full()

    def take(self, subscriber: Subscriber, sink: Sink) -> None:
        """Let this subscriber, which is up to date, go straight from now on."""
        self.subscriber = subscriber
        self._chunk_sink = sink if subscriber.view.relays_chunks else None
        self._counted_seq = self._log.next_seq
        subscriber.follow(self)

    def send_from(self, seq: int) -> bool:
        """Send the subscriber, which is at `seq`, all that was appended since, and the end if the log has ended.

        Returns False, and sends nothing, if nobody goes straight, or if it takes more than one piece.
        """
        subscriber = self.subscriber
        if subscriber is None or (sink := subscriber.sink) is None or sink.blocked:
            return False
        data, next_seq, over = next_piece(subscriber.view, seq, sink.body_end)
        if next_seq != self._log.next_seq:
            return False
        self._sends += seq - self._counted_seq + bool(data)
        self._counted_seq = next_seq
        if data:
            sink.write(data)
        if over:
            if sink.blocked:
                subscriber.finish_when_sent()
            else:
                subscriber.finish()
        elif sink.blocked:
            self._block()
        return True

    def leave(self, subscriber: Subscriber) -> None:
        """Give the subscriber its own cursor back."""
        self.stand_at(subscriber, self._log.next_seq)

    def stand_at(self, subscriber: Subscriber, seq: int) -> None:
        """Give the subscriber, if it is the one that goes straight, its own cursor back, at `seq`."""
        if subscriber is not self.subscriber:
            return
        self._sends += seq - self._counted_seq
        self.subscriber = self._chunk_sink = None
        subscriber.stand_at(seq)

    def position_of(self, slot: int) -> int:
        """Where the subscriber is; there is only one."""
        return self._log.next_seq

    def close(self) -> None:
        """Let go of the fan-out and its owner, which know this object too: nothing is published any more."""
        del self._pass, self._on_full

    def _deliver(self, frame: bytes, chunk: bytes) -> None:
        """Bring a frame that was just appended to the subscribers, by `Sink.write` or by a pass."""
        subscriber = self.subscriber
        if subscriber is None or (sink := subscriber.sink) is None:
            self._pass.wake()
            return
        seq = self._log.next_seq - 1
        if sink.blocked:  # its transport still holds too many bytes
            self.stand_at(subscriber, seq)
            self._pass.remove(subscriber, Cause.BLOCKED)
            return
        view = subscriber.view
        sink.write(chunk if chunk and view.relays_chunks else view.framed(frame, seq))
        if sink.blocked:
            self._block()

    def _block(self) -> None:
        if self.subscriber is not None:
            self._pass.remove(self.subscriber, Cause.BLOCKED)
