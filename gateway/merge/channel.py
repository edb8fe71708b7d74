"""Pure: a channel: a stream or a feed as a part of a merged log, under the name by which subscribers know it.

In: positions in the log of the channel. Out: its events, each with the name of the channel. The invariant: the data
of an event, and what else the log holds of it beside its name, stay as they are.
"""

from typing import NamedTuple, Protocol

from gateway.delivery.pieces import View
from gateway.delivery.subscriber import Subscriber
from gateway.endings import Ending
from gateway.stream.log import OWN_PREFIX, StreamLog
from gateway.stream.view import CONTROL, SOURCE_ID
from gateway.wire import json_text, sse

_EVENT = b"event: "


class ChannelSource(Protocol):
    """The stream or the feed behind a channel."""

    def log(self) -> StreamLog | None:
        """The log; None if it has been forgotten."""

    def first_seq(self) -> int:
        """Where a subscriber begins that asks for all there is."""

    def join(self, view: View, seq: int, *, from_now: bool) -> Subscriber:
        """A new subscriber with this view, which begins at `seq`, to a log that has not ended.

        `from_now`: nothing is wanted that was before.
        """


class NamedEvent(NamedTuple):
    """An event with the name of its channel: its bytes are `lines` and then `rest`."""

    lines: bytes
    rest: bytes  # where the event has no name of its own, the very frame of the channel's log


class Channel:
    """A stream or a feed by its name: `<stream id>` or `feed:<name>`."""

    __slots__ = ("_begin", "_end", "_log", "name", "owner", "source")

    def __init__(self, name: str, owner: str, log: StreamLog, source: ChannelSource) -> None:
        """`owner`: whose the stream is; "" for the machine's own users, and for a feed."""
        self.name = name
        self.owner = owner
        self.source = source
        self._begin = b"event: %b\n" % name.encode()
        self._log: StreamLog | None = log  # None once the end is merged: from then on the log may be put elsewhere
        self._end: tuple[int, Ending] | None = None  # where the end is, and the ending, once the end is merged

    @property
    def log(self) -> StreamLog | None:
        """The log of the channel; None if its end is merged and it has been forgotten since."""
        return self.source.log() if self._log is None else self._log

    def renew(self) -> None:
        """Take the log that there is now: a stream that nobody was subscribed to may have ended and been put away."""
        if self._log is not None:
            self._log = self.source.log() or self._log

    @property
    def has_begun_again(self) -> bool:
        """Whether the log goes on behind the end that was merged, as that of a feed may."""
        return self._end is not None and (log := self.source.log()) is not None and log.ending is None

    @property
    def ending(self) -> Ending | None:
        """Why the channel ended; None while it runs."""
        end = self._bounds()[1]
        return None if end is None else end[1]

    @property
    def first_seq(self) -> int:
        """The position of the oldest event that there still is."""
        return self._bounds()[0]

    @property
    def next_seq(self) -> int:
        """The position behind the newest event, where the end is or will be."""
        log = self.log
        if log is not None:
            return log.next_seq
        assert self._end is not None
        return self._end[0]

    @property
    def end_seq(self) -> int:
        """The position behind all that there is, the end included if it has come."""
        return self.next_seq + (self.ending is not None)

    @property
    def begin_seq(self) -> int:
        """Where a subscriber begins that asks for all there is."""
        return self.next_seq if self.log is None else self.source.first_seq()

    def is_sent_at(self, seq: int) -> bool:
        """Whether a subscriber at this position has been sent everything, the end included."""
        return self.ending is not None and seq > self.next_seq

    def close(self, ending: Ending) -> None:
        """Note the end of the channel, and let go of its log, which can be asked for again."""
        self._end = self.next_seq, ending
        self._log = None

    def events(self, seq: int, stop: int, max_bytes: int) -> tuple[int, list[NamedEvent]]:
        """How many events from `seq` on are forgotten, and the events behind them, before `stop`.

        At most `max_bytes` of them, but at least one if there is any. The end of the channel counts as an event.
        """
        log = self.log
        first_seq, end = self._bounds()
        missed = min(max(first_seq - seq, 0), stop - seq)
        seq += missed
        if log is None or seq >= min(stop, log.next_seq):
            events = []
        else:
            events = [self.named(frame) for frame in log.read(seq, max_bytes)[: stop - seq]]
        if end is not None and seq + len(events) == end[0] < stop:
            events.append(NamedEvent(b"", self.end(end[1])))
        return missed, events

    def named(self, frame: bytes) -> NamedEvent:
        """The event of a frame of the log. Its own name, if it has one, stands behind the name of the channel."""
        if frame.startswith(b"data:"):
            return NamedEvent(self._begin, frame)
        if frame.startswith(CONTROL):
            return NamedEvent(b"", self._control(frame))
        start = frame.find(b"\n") + 1 if frame.startswith(SOURCE_ID) else 0
        lines, stop = frame[:start], start
        if frame.startswith(_EVENT, start):
            stop = frame.find(b"\n", start) + 1
            lines += self._begin[:-1] + b"/" + frame[start + len(_EVENT) : stop]
        else:
            lines += self._begin
        return NamedEvent(lines, frame[stop:])

    def gap(self, missed: int | None) -> bytes:
        """The control event that tells of missing events; None: nobody knows how many."""
        return sse.control("gap", {"channel": self.name, "missed": missed})

    def end(self, ending: Ending) -> bytes:
        """The control event that tells of the end of the channel."""
        return sse.control("end", {"channel": self.name, "ending": ending})

    def _control(self, frame: bytes) -> bytes:
        """The control event that a feed has appended to its log, with the channel in its data."""
        event = sse.decode(frame)
        assert event.name is not None
        assert event.data is not None
        fields = {"channel": self.name, **json_text.loads(event.data)}
        return sse.control(event.name.decode().removeprefix(OWN_PREFIX), fields)

    def _bounds(self) -> tuple[int, tuple[int, Ending] | None]:
        """Where the log begins, and where and how it ends; None while it runs."""
        if (log := self.log) is not None:
            return log.first_seq, None if log.ending is None else (log.next_seq, log.ending)
        assert self._end is not None  # a log is let go of only behind its end
        return self._end[0], self._end
