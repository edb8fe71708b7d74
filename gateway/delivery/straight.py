"""Shell: the way of a frame into its log and, while only one subscriber takes bytes, on to its socket at once.

In: frames, each with the transfer chunk in which it came. Out: bytes to the sink of the subscriber that goes
straight; for any other number of subscribers the fan-out is told that the log has grown. This is the only place that
appends single frames. The invariant: the subscriber that goes straight is up to date, so that the end of the log is
its cursor.
"""

from collections.abc import Callable
from typing import Protocol

from gateway.delivery.modes import Cause
from gateway.delivery.pieces import Log
from gateway.delivery.sinks import Sink, send_nowait
from gateway.delivery.subscriber import Subscriber


class Pass(Protocol):
    """What serves everybody who does not go straight."""

    def wake(self) -> None:
        """The log has grown."""

    def remove(self, subscriber: Subscriber, cause: Cause) -> None:
        """The subscriber takes nothing more for now."""


class StraightWay:
    """The straight way of one log, with the subscriber that goes it, if there is one."""

    __slots__ = ("_chunk_sink", "_first_seq", "_log", "_max_log_bytes", "_on_full", "_pass", "_sends", "subscriber")

    def __init__(self, log: Log, others: Pass, on_full: Callable[[], None], max_log_bytes: int) -> None:
        self._log = log
        self._max_log_bytes = max_log_bytes
        self._pass = others
        self._on_full = on_full  # the log is over its limit
        self.subscriber: Subscriber | None = None
        self._chunk_sink: Sink | None = None  # of the subscriber, if its view sends chunks on as they came
        self._first_seq = 0  # the first frame that goes straight to the subscriber
        self._sends = 0  # to subscribers before this one

    @property
    def sends(self) -> int:
        """Pieces handed to sinks: while somebody goes straight, each frame is one."""
        return self._sends + (0 if self.subscriber is None else self._log.next_seq - self._first_seq)

    def publish(self, frame: bytes, chunk: bytes = b"") -> None:
        """Append a frame and bring it on its way; `chunk`: the same frame as a transfer chunk.

        The way of nearly every token: the chunk goes to the socket beside the sink, and nothing of the subscriber is
        touched. On a socket pair that takes 1.0 us; through `Sink.write` it is 1.2 us, with a chunk framed anew 1.45.
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
                sent = send_nowait(direct, chunk)  # tells why it failed
            if sent != len(chunk):
                sink.on_short_write(chunk, sent)
                if sink.blocked:
                    self._block()
        if log.bytes > self._max_log_bytes:
            self._on_full()

    def take(self, subscriber: Subscriber, sink: Sink) -> None:
        """From now on this subscriber, which is up to date, goes straight."""
        self.subscriber = subscriber
        self._chunk_sink = sink if subscriber.view.relays_chunks else None
        self._first_seq = self._log.next_seq
        subscriber.follow(self)

    def leave(self, subscriber: Subscriber) -> None:
        """Give the subscriber its own cursor back."""
        self._stand_at(subscriber, self._log.next_seq)

    def position_of(self, slot: int) -> int:
        """Where the subscriber is; there is only one."""
        return self._log.next_seq

    def close(self) -> None:
        """Nothing is published any more: let go of those that know this object too."""
        del self._pass, self._on_full

    def _deliver(self, frame: bytes, chunk: bytes) -> None:
        """Bring a frame that was just appended to whoever is there, by `Sink.write` or by a pass."""
        subscriber = self.subscriber
        if subscriber is None or (sink := subscriber.sink) is None:
            self._pass.wake()
            return
        seq = self._log.next_seq - 1
        if sink.blocked:  # by what its transport still holds
            self._stand_at(subscriber, seq)
            self._pass.remove(subscriber, Cause.BLOCKED)
            return
        view = subscriber.view
        sink.write(chunk if chunk and view.relays_chunks else view.framed(frame, seq))
        if sink.blocked:
            self._block()

    def _block(self) -> None:
        if self.subscriber is not None:
            self._pass.remove(self.subscriber, Cause.BLOCKED)

    def _stand_at(self, subscriber: Subscriber, seq: int) -> None:
        if subscriber is not self.subscriber:
            return
        self._sends += seq - self._first_seq
        self.subscriber = self._chunk_sink = None
        subscriber.stand_at(seq)
