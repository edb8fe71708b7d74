"""Pure: the views of a merged log: what subscribers of several channels receive over one connection.

Every event has an id and the name of its channel. Control events have no channel in their names, but in their data.
What the merged log has forgotten is read from the logs of the channels, in the same order and with the same ids.
"""

from collections.abc import Sequence

from gateway.delivery.long_piece import LONG_PIECE_BYTES, Sendable
from gateway.delivery.pieces import Piece
from gateway.endings import Ending
from gateway.merge.backlog import Backlog
from gateway.merge.channel import Channel, NamedEvent
from gateway.merge.event_order import END, GAP, EventOrder
from gateway.stream.log import StreamLog
from gateway.stream.view import MAX_PIECE_BYTES, EventsView, sendable
from gateway.wire import http1

CONTROL = END | GAP
MAX_EVENTS = 1000  # of one piece, however short they are: 4 ms
MAX_RUNS = 200  # of events of one channel that are read for one piece: 3 ms
Parts = Sequence[bytes | memoryview]


class MergedView(EventsView):
    """The framing of a merged log, whose frames are those of the channels' logs."""

    __slots__ = ("_channels", "_order")

    def __init__(self, log: StreamLog, order: EventOrder, channels: Sequence[Channel], *, chunked: bool) -> None:
        super().__init__(log, chunked=chunked)
        self._order = order
        self._channels = channels

    def framed(self, frame: bytes, seq: int) -> Sendable:
        return sendable(self._parts(frame, seq), chunked=self._chunked)

    def piece(self, seq: int) -> Piece:
        log = self._log
        if seq < log.first_seq:
            recalled, seq = self._recalled(seq)
            return sendable(recalled, chunked=self._chunked), seq, False
        parts: list[bytes | memoryview] = []
        for frame in log.read(seq, MAX_PIECE_BYTES)[:MAX_EVENTS]:
            parts += self._parts(frame, seq)
            seq += 1
        return sendable(parts, chunked=self._chunked), seq, log.ending is not None and seq == log.next_seq

    def farewell(self, ending: Ending, retry_ms: int | None = None) -> bytes:
        """The end of every channel that has not ended; with `retry_ms` as any subscription has it."""
        if retry_ms is not None:
            return super().farewell(ending, retry_ms)
        ends = b"".join(self._channels[channel].end(ending) for channel in self._order.open_channels())
        return http1.encode_chunk(ends) if self._chunked and ends else ends

    def _parts(self, frame: bytes, seq: int) -> Parts:
        entry = self._order.entry_at(seq)
        event = NamedEvent(b"", frame) if entry & CONTROL else self._channels[entry].named(frame)
        return _parts_of(event, self._prefix, seq)

    def _recalled(self, seq: int) -> tuple[list[bytes | memoryview], int]:
        """Events from `seq` on that the merged log has forgotten, from the logs of the channels."""
        order, parts, size = self._order, list[bytes | memoryview](), 0
        if seq < order.first_seq:
            parts += [channel.gap(None) for channel in self._channels]
            seq = order.first_seq
        seq, positions, missing = self._behind_missing(seq)
        last = min(self._log.first_seq, seq + MAX_EVENTS)
        runs = 0
        while seq < last and size < MAX_PIECE_BYTES and runs < MAX_RUNS:
            runs += 1
            entry = order.entry_at(seq)
            number = entry & ~CONTROL
            if entry & GAP:
                missing[number] = missing.get(number, 0) + order.missed_at(seq)
                positions[number] += order.missed_at(seq)
                seq += 1
                continue
            at = positions[number]
            stop = at + order.run_at(seq, last)
            missed, events = self._channels[number].events(at, stop, MAX_PIECE_BYTES - size)
            missing[number] = missing.get(number, 0) + missed
            if events:
                parts += self._gaps({number: missing.pop(number)})
            for place, event in enumerate(events, seq + missed):
                parts += _parts_of(event, self._prefix, place)
                size += len(event.rest)
            count = missed + len(events) or 1
            positions[number] += count
            seq += count
        return parts + self._gaps(missing), seq

    def _behind_missing(self, seq: int) -> tuple[int, list[int], dict[int, int]]:
        """A place at or behind `seq` before which all events are missing: the positions there, and how many are."""
        positions = self._order.positions_at(seq)
        oldest = [max(channel.first_seq, at) for channel, at in zip(self._channels, positions, strict=True)]
        mark = self._order.last_mark_before(oldest, self._log.first_seq)
        if mark is None or mark.seq <= seq:
            return seq, positions, {}
        missing = {number: stop - at for number, (at, stop) in enumerate(zip(positions, mark.positions, strict=True))}
        return mark.seq, list(mark.positions), missing

    def _gaps(self, missing: dict[int, int]) -> list[bytes]:
        """The control events for the events that are missing, by channel."""
        return [self._channels[channel].gap(missed) for channel, missed in missing.items() if missed]


class BacklogView(MergedView):
    """The framing of a backlog, in which the last event stands before the position where its subscribers join."""

    __slots__ = ("_backlog", "_begin")

    def __init__(
        self, log: StreamLog, order: EventOrder, channels: Sequence[Channel], backlog: Backlog, *, chunked: bool
    ) -> None:
        super().__init__(log, order, channels, chunked=chunked)
        self._backlog = backlog
        self._begin = b"id: %bp%d-" % (log.epoch.encode(), backlog.number)

    def piece(self, seq: int) -> Piece:
        """The next events of the backlog. The position is counted so that the backlog ends at its `join_seq`."""
        backlog = self._backlog
        number, parts, size = seq - backlog.first_seq, list[bytes | memoryview](), 0
        room = MAX_EVENTS
        while size < MAX_PIECE_BYTES and room > 0 and number < backlog.count:
            channel, start, stop = backlog.stretch_from(number)
            stop = min(stop, max(start, self._channels[channel].first_seq) + room)
            missed, events = self._channels[channel].events(start, stop, MAX_PIECE_BYTES - size)
            room -= len(events)
            if missed:
                parts.append(self._channels[channel].gap(missed))
            number += missed
            for event in events:
                parts += _parts_of(event, self._begin, number)
                size += len(event.rest)
                number += 1
        seq = backlog.first_seq + number
        log = self._log
        over = number == backlog.count and log.ending is not None and seq == log.next_seq
        return sendable(parts, chunked=self._chunked), seq, over


def _parts_of(event: NamedEvent, prefix: bytes, number: int) -> Parts:
    """The bytes of an event, with its id as the last line; a long event is not copied."""
    lines, rest = event
    before = rest[:-1] if len(rest) <= LONG_PIECE_BYTES else memoryview(rest)[:-1]
    return lines, before, b"%b%d\n\n" % (prefix, number)
