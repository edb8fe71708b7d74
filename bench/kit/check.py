"""Pure: whether the bytes that a client reads are the stream that was published.

In: a position in the stream and the bytes that were read there. Out: the next position. Invariant: no event counts of
which a byte was not compared, either with what was published or with bytes that were; an event that is out of order,
repeated or unpublished ends the run.
"""

import json
from dataclasses import dataclass

from bench.kit.script import DONE, FIRST_CONTENT, Script

MAX_HEAD_BYTES = 1 << 16  # LiteLLM's head has about 2 KiB
MAX_TAIL_BYTES = 1 << 20  # an unfinished chunk or event beyond this is broken: the longest of the load has 66 KiB


class Broken(Exception):
    """A peer lost, changed, repeated or held back what it had to relay: its figures would mean nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Position:
    """How far a client is; the subscribers of a stream that are equally far share one object."""

    events: int = 0  # complete ones, counted from the first published
    held: bytes = b""  # read, but not the end of a chunk yet
    rest: bytes = b""  # dechunked, but not the end of an event yet
    chunked: bool | None = None  # None: the response head is not complete
    ended: bool = False  # the body is over

    @property
    def aligned(self) -> bool:
        """Whether the next byte begins a chunk and an event."""
        return self.chunked is True and not (self.held or self.rest or self.ended)


START = Position()


class Check:
    """Every event must be the upstream's, byte for byte and in order; only keep-alives may stand between."""

    exact = True  # the peer sends the very bytes of the upstream
    comments: tuple[bytes, ...] = (b": keepalive",)

    def __init__(self, script: Script) -> None:
        self._script = script

    def advance(self, position: Position, data: bytes) -> Position:
        """Check the bytes that were read at this position. Raises `Broken`."""
        data, chunked, ended = position.held + data, position.chunked, False
        if chunked is None:
            head, separator, data = data.partition(b"\r\n\r\n")
            if not separator:
                return self._at(position.events, head, b"", None, False)
            chunked = _is_chunked(head, data)
        body, held, ended = dechunk(data) if chunked else (data, b"", False)
        *blocks, rest = (position.rest + body).split(b"\n\n")
        events = position.events
        for block in blocks:
            if not block.startswith(self.comments):
                events = self._take(events, block)
        return self._at(events, held, rest, chunked, ended)

    def _at(self, events: int, held: bytes, rest: bytes, chunked: bool | None, ended: bool) -> Position:
        if len(held) + len(rest) > (MAX_HEAD_BYTES if chunked is None else MAX_TAIL_BYTES):
            raise Broken("a head or an event that does not end")
        return Position(events, held, rest, chunked, ended)

    def _take(self, number: int, block: bytes) -> int:
        """The block is event `number`; returns the number of the next."""
        events = self._script.events
        if number == len(events) or block + b"\n\n" != events[number]:
            raise Broken(f"event {number} differs: {block[:300]!r}")
        return number + 1


class ContentCheck(Check):
    """For a proxy that writes its own events (LiteLLM): the texts must be the upstream's, all, in order."""

    exact = False

    def _take(self, number: int, block: bytes) -> int:
        texts, total = self._script.texts, len(self._script.events)
        token = max(number - FIRST_CONTENT, 0)
        if block + b"\n\n" == DONE:
            if token != len(texts) or number == total:
                raise Broken(f"[DONE] after {token} of {len(texts)} tokens")
            return total
        if text := _content(block):
            if token >= len(texts) or text != texts[token]:
                raise Broken(f"token {token} differs: {block[:300]!r}")
            return FIRST_CONTENT + token + 1
        return number


class SubscriberCheck(Check):
    """One check for all subscribers of a stream: a move that was proven for one is compared for the others."""

    comments = (b"retry:", b":")

    def __init__(self, events: tuple[bytes, ...], published: int = 0) -> None:
        self.events, self.published = events, published  # the first `published` of them may arrive
        self.ids: dict[int, bytes] = {}  # the id line that each event was seen to have
        self.moves: dict[Position, tuple[bytes, Position]] = {}  # the bytes read last there, and where they lead
        self._positions: dict[tuple[int, bytes, bytes, bool | None, bool], Position] = {}

    def start(self, events: int = 0) -> Position:
        """Where a subscriber begins that has `events` already."""
        return self._at(events, b"", b"", None, False)

    def forget(self) -> None:
        """The proven moves are of no more use, since everybody has moved on."""
        self.moves.clear()
        self._positions.clear()

    def advance(self, position: Position, data: bytes) -> Position:
        known = self.moves.get(position)
        if known is not None and known[0] == data:
            return known[1]
        new = super().advance(position, data)
        if new.ended:
            raise Broken("the stream has ended")
        if position.chunked is not None:  # heads are read one by one: each says that somebody has joined
            self.moves[position] = (data, new)
        return new

    def _at(self, events: int, held: bytes, rest: bytes, chunked: bool | None, ended: bool) -> Position:
        key = (events, held, rest, chunked, ended)
        found = self._positions.get(key)
        if found is None:
            found = self._positions[key] = super()._at(*key)
        return found

    def _take(self, number: int, block: bytes) -> int:
        event_id = b""
        if block.startswith(b"id: "):
            event_id, _, block = block.partition(b"\n")
        if number >= self.published or block + b"\n\n" != self.events[number]:
            raise Broken(f"instead of event {number} of {self.published} came {block[:300]!r}")
        if self.ids.setdefault(number, event_id) != event_id:
            raise Broken(f"event {number} has the ids {self.ids[number]!r} and {event_id!r}")
        return number + 1


def dechunk(data: bytes) -> tuple[bytes, bytes, bool]:
    """The bodies of the whole chunks in `data` (RFC 9112 section 7.1; no peer sends trailers), what is left, and
    whether the body is over."""
    bodies, at, ended = [], 0, False
    while not ended and (line_end := data.find(b"\r\n", at)) >= 0:
        try:
            size = int(data[at:line_end].partition(b";")[0], 16)
        except ValueError:
            raise Broken(f"bad chunk size line {data[at:line_end][:60]!r}") from None
        stop = line_end + 2 + size
        if len(data) < stop + 2:
            break
        if data[stop : stop + 2] != b"\r\n":
            raise Broken("a chunk that does not end with CRLF")
        bodies.append(data[line_end + 2 : stop])
        at, ended = stop + 2, size == 0
    if ended and at < len(data):
        raise Broken(f"bytes behind the end: {data[at:][:60]!r}")
    return b"".join(bodies), data[at:], ended


def _is_chunked(head: bytes, rest: bytes) -> bool:
    if not head.startswith(b"HTTP/1.1 200"):
        raise Broken(f"answered {head[:40]!r} {rest[:300]!r}")
    return b"\r\ntransfer-encoding: chunked" in head.lower()


def _content(block: bytes) -> str:
    """The text of a chat completion chunk, "" if it has none."""
    try:
        choices = json.loads(block.removeprefix(b"data: "))["choices"]
        return "".join(choice["delta"].get("content") or "" for choice in choices)
    except (ValueError, KeyError, TypeError):
        raise Broken(f"no chat completion chunk: {block[:300]!r}") from None
