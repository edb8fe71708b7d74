"""Pure: what subscribers of one stream must receive, checked once per kind of delivery and compared for the rest.

In: a subscriber's position and the bytes it read next. Out: its new position. Invariant: no event counts of which
a byte was not compared, either with what was published or with bytes that were; one out of order, repeated or
unpublished ends the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.frames import MAX_TAIL_BYTES, BrokenStream

MAX_HEAD_BYTES = 1 << 14
_CONTROL = (b"retry:", b":")  # blocks that are no event: a reconnection time, a comment


@dataclass(frozen=True, slots=True, eq=False)
class Position:
    """How far a subscriber is; one object for all that are equally far, so that identity compares them."""

    events: int  # complete ones, counted from the first published
    held: bytes = b""  # read, but not the end of an event yet
    rest: bytes = b""  # dechunked, but not the end of an event yet
    chunked: bool | None = None  # None: the response head is not complete


@dataclass(slots=True)
class Checker:
    """The published events of one stream, and the moves that were proven already."""

    events: tuple[bytes, ...]  # "data: ...\n\n", of which the first `published` may arrive
    published: int = 0
    ids: dict[int, bytes] = field(default_factory=dict)  # of each event, as the first subscriber got it
    _positions: dict[tuple[int, bytes, bytes, bool | None], Position] = field(default_factory=dict)
    _moves: dict[Position, tuple[bytes, Position]] = field(default_factory=dict)

    @property
    def moves(self) -> dict[Position, tuple[bytes, Position]]:
        """From a position: the bytes read there last, and where they lead; for a caller that cannot afford a call."""
        return self._moves

    def start(self, events: int = 0) -> Position:
        """Where a subscriber begins that has `events` already."""
        return self._position(events, b"", b"", None)

    def forget(self) -> None:
        """Everybody has moved on: the proven moves are of no more use."""
        self._moves.clear()
        self._positions.clear()

    def advance(self, position: Position, data: bytes) -> Position:
        """Check bytes the careful way. Raises `BrokenStream`."""
        known = self._moves.get(position)
        if known is not None and known[0] == data:
            return known[1]
        new = self._read(position, data)
        if position.chunked is not None:  # heads are read one by one: each says that somebody has joined
            self._moves[position] = (data, new)
        return new

    def _read(self, position: Position, data: bytes) -> Position:
        data, chunked = position.held + data, position.chunked
        if chunked is None:
            head, separator, rest = data.partition(b"\r\n\r\n")
            if not separator:
                return self._hold(position.events, data, b"", None)
            chunked, data = _is_chunked(head), rest
        body, held = _dechunk(data) if chunked else (data, b"")
        *blocks, rest = (position.rest + body).split(b"\n\n")
        events = position.events
        for block in blocks:
            if not block.startswith(_CONTROL):
                self._compare(events, block)
                events += 1
        return self._hold(events, held, rest, chunked)

    def _hold(self, events: int, held: bytes, rest: bytes, chunked: bool | None) -> Position:
        if len(held) + len(rest) > (MAX_HEAD_BYTES if chunked is None else MAX_TAIL_BYTES):
            raise BrokenStream("a head or an event that does not end")
        return self._position(events, held, rest, chunked)

    def _position(self, events: int, held: bytes, rest: bytes, chunked: bool | None) -> Position:
        key = (events, held, rest, chunked)
        found = self._positions.get(key)
        if found is None:
            found = self._positions[key] = Position(*key)
        return found

    def _compare(self, number: int, block: bytes) -> None:
        """The block is event `number`, an `id:` line before its data aside."""
        event_id = b""
        if block.startswith(b"id: "):
            event_id, _, block = block.partition(b"\n")
        if number >= self.published or block + b"\n\n" != self.events[number]:
            raise BrokenStream(f"instead of event {number} of {self.published} came {block[:300]!r}")
        if self.ids.setdefault(number, event_id) != event_id:
            raise BrokenStream(f"event {number} has the ids {self.ids[number]!r} and {event_id!r}")


def _is_chunked(head: bytes) -> bool:
    if not head.startswith(b"HTTP/1.1 200"):
        raise BrokenStream(f"answered {head[:300]!r}")
    return b"\r\ntransfer-encoding: chunked" in head.lower()


def _dechunk(data: bytes) -> tuple[bytes, bytes]:
    """The bodies of the whole chunks in `data` (RFC 9112 section 7.1), and what is left."""
    bodies, at = [], 0
    while (line_end := data.find(b"\r\n", at)) >= 0:
        try:
            size = int(data[at:line_end].partition(b";")[0], 16)
        except ValueError:
            raise BrokenStream(f"bad chunk size line {data[at:line_end][:60]!r}") from None
        stop = line_end + 2 + size
        if not size:
            raise BrokenStream("the stream has ended")
        if len(data) < stop + 2:
            break
        if data[stop : stop + 2] != b"\r\n":
            raise BrokenStream("a chunk that does not end with CRLF")
        bodies.append(data[line_end + 2 : stop])
        at = stop + 2
    return b"".join(bodies), data[at:]
