"""Pure: the codec of server-sent events: cuts bytes into blocks, decodes blocks to events, encodes events as frames.

In: reads of a `text/event-stream`, cut anywhere. Out: *blocks*, the bytes of one event with LF line ends up to and
including its blank line. A block in the canonical form (`data: <one line>\\n\\n`) is a frame already and goes out as
the very bytes that came. Source: WHATWG HTML, section 9.2.5 and 9.2.6 (server-sent events).
"""

import io
import re
from dataclasses import dataclass

from gateway.wire import json_text

MAX_EVENT_BYTES = 8 << 20  # an image in base64 fits; a larger event means a broken upstream, not a verbose one
MAX_COMMENTS = 10_000  # comments in a row, read by read in bulk; more are a flood, and no sign of life
TINY_BYTES = 32  # a smaller block is a comment or an empty event
MAX_TINY_BLOCKS = 500  # blocks of one read or slice of a read that are smaller on the average; more are a flood
MAX_RETRY_DIGITS = 15  # digits of a `retry` in milliseconds: 30,000 years; int() itself refuses thousands of digits

_LONG_BYTES = 1 << 20  # bytes of an unfinished event; a shorter one is copied, which takes less than a millisecond
_SMALL_READ = 16384  # bytes: a few events in one read, as in a burst or at the end of an answer
_MANY_COMMENTS = 64  # from this number in one read on, comments are dropped in bulk: 30 ns each instead of 4 us
# Blocks that hold nothing but comments.
_COMMENT_BLOCKS = re.compile(rb"(?:\A|(?<=\n\n))(?:(?::[^\n]*+\n)++\n++)++")
_KEPT_OF_LINE = 8192  # bytes of a line of an event that is discarded: longer than any id that a request can hold
_BOM = b"\xef\xbb\xbf"

KEEPALIVE = b": keepalive\n\n"


class EventFault(ValueError):
    """The error for bytes that are beyond a limit. `blocks`: the blocks that were complete before."""

    def __init__(self, message: str, blocks: list[bytes]) -> None:
        super().__init__(message)
        self.blocks = blocks


class EventTooLarge(EventFault):
    """The error for an event over the decoder's limit."""

    def __init__(self, limit: int, blocks: list[bytes]) -> None:
        super().__init__(f"an event of more than {limit} bytes", blocks)


class Remains(bytes):
    """What is left of an event that a decoder has discarded: its `id` line, if it had one, and the blank line."""

    __slots__ = ()


class EventFlood(EventFault):
    """The error for comments or empty events beyond any reason."""


@dataclass(frozen=True, slots=True)
class Event:
    """One dispatched event. `data` is None when the block had no `data` field; `retry` is in milliseconds."""

    data: bytes | None
    name: bytes | None = None
    id: bytes | None = None
    retry: int | None = None


class BlockDecoder:
    """Cuts a byte stream into event blocks, whatever the line ends and wherever the reads fall.

    >>> BlockDecoder().feed(b"data: a\\r\\n\\r\\ndata: b\\n\\ndata: c")
    [b'data: a\\n\\n', b'data: b\\n\\n']
    """

    __slots__ = (
        "_after_cr",
        "_comments",
        "_discards",
        "_long",
        "_max_bytes",
        "_remains",
        "_start",
        "_tail",
        "_tiny_bytes",
        "at_boundary",
    )

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES, *, tiny_bytes: int = 0, discards: bool = False) -> None:
        """`tiny_bytes`: a block of fewer bytes tells nothing; 0: even the smallest may.

        `discards`: an event over the limit is no fault; in its place among the blocks are its `Remains`.
        """
        self._max_bytes = max_bytes
        self._discards = discards
        # What is left so far of an event that is being discarded. The tail then holds the end of a line and the
        # beginning of the next one.
        self._remains: Remains | None = None
        self._tiny_bytes = tiny_bytes
        self._comments = 0  # how many comments were dropped in bulk since the last block
        self._tail = bytearray()
        # The beginning of a long event, all but its last byte, which is the tail. Its bytes are handed out uncopied.
        self._long: io.BytesIO | None = None
        self._start: bytes | None = b""  # the first bytes, held until they are known to be a BOM or not; then None
        self._after_cr = False
        self.at_boundary = False  # nothing is held between two events: the next byte begins a block

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes, return the blocks that they complete. Raises `EventFault`."""
        if self._start is not None:
            data = self._strip_bom(data)
        if self._after_cr or b"\r" in data:
            data = self._normalise(data)
        # One whole event in one read is what an upstream nearly always sends: it is neither copied nor held.
        end = len(data) - 2
        if (
            not self._tail
            and data.endswith(b"\n\n")
            and data.find(b"\n\n") == end < self._max_bytes - 1
            and data[0] != 10
        ):
            self.at_boundary = not self._after_cr
            return [data]
        blocks = self._cut(data)
        self.at_boundary = not self._tail and not self._after_cr and self._start is None
        return blocks

    def pass_over(self) -> None:
        """Note that a read of whole events was not given to the decoder; it must have held nothing before."""
        self._start = None
        self.at_boundary = True

    def finish(self) -> bytes:
        """The unterminated rest at the end of the stream (WHATWG: an incomplete event is discarded)."""
        rest = (self._start or b"") + bytes(self._tail)
        self._tail.clear()
        if self._long is None:
            return rest
        self._long.write(rest)
        return self._take_long()

    def _strip_bom(self, data: bytes) -> bytes:
        data = (self._start or b"") + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._start = data
            return b""
        self._start = None
        return data.removeprefix(_BOM)

    def _normalise(self, data: bytes) -> bytes:
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]  # the second half of a CRLF that came in two reads
            if not data:
                self._after_cr = False
                return data
        self._after_cr = data.endswith(b"\r") or (self._after_cr and not data)
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _cut(self, data: bytes) -> list[bytes]:
        tail = self._tail
        size = len(data)
        if not tail and size <= _SMALL_READ and size <= self._max_bytes and data.count(b"\n\n") <= _MANY_COMMENTS:
            parts = data.split(b"\n\n")
            tail += parts.pop().lstrip(b"\n")
            if found := [block + b"\n\n" for part in parts if (block := part.lstrip(b"\n"))]:
                self._comments = 0
            return found
        if self._long is not None:
            return self._cut_long(data)
        if self._remains is not None:
            return self._pass_by(data)
        search_from = max(len(tail) - 1, 0)  # a blank line may lie half in one read and half in the next
        tail += data
        if len(data) > _MANY_COMMENTS and (data.count(b"\n\n") > _MANY_COMMENTS):
            self._thin_out(tail, search_from)
            search_from = 0
        blocks: list[bytes] = []
        start = 0
        while (end := tail.find(b"\n\n", search_from)) >= 0:
            with memoryview(tail) as view:  # an event may have many megabytes, so it is copied once
                block = bytes(view[start : end + 2]).lstrip(b"\n")
            if len(block) > self._max_bytes:
                block = self._remains_of(block, blocks)
            if block:
                blocks.append(block)
            start = search_from = end + 2
        del tail[:start]
        if blocks:
            self._comments = 0
        if tail.startswith(b"\n"):
            del tail[: len(tail) - len(tail.lstrip(b"\n"))]
        if len(tail) > self._max_bytes:
            return self._discard(bytes(tail), blocks)
        if len(tail) > _LONG_BYTES:
            self._long = io.BytesIO()
            self._long.write(tail[:-1])
            del tail[:-1]
        return blocks

    def _cut_long(self, data: bytes) -> list[bytes]:
        """Go on with a long event; what follows it is cut as usual."""
        assert self._long is not None
        tail = self._tail
        tail += data
        end = tail.find(b"\n\n") + 2
        is_over = end > 1
        if self._long.tell() + (end if is_over else len(tail)) > self._max_bytes:
            return self._discard(self._take_long() + bytes(tail), [])
        self._long.write(tail[: end if is_over else -1])
        if not is_over:
            del tail[:-1]
            return []
        rest = bytes(tail[end:])
        tail.clear()
        return self._cut_behind(self._take_long(), rest)

    def _cut_behind(self, block: bytes, rest: bytes) -> list[bytes]:
        """The block that ends a long event, and the blocks of what follows it."""
        self._comments = 0
        try:
            return [block, *self._cut(rest)]
        except EventFault as fault:
            fault.blocks.insert(0, block)
            raise

    def _discard(self, beginning: bytes, blocks: list[bytes]) -> list[bytes]:
        """Begin to discard an event over the limit, with `blocks` before it, or raise `EventTooLarge`."""
        if not self._discards:
            raise EventTooLarge(self._max_bytes, blocks)
        self._remains = Remains()
        self._tail[:] = b"\n"
        try:
            return blocks + self._pass_by(beginning)
        except EventFault as fault:
            fault.blocks[:0] = blocks
            raise

    def _remains_of(self, block: bytes, blocks: list[bytes]) -> bytes:
        """What is left of a whole event over the limit; or raise `EventTooLarge`."""
        if not self._discards:
            raise EventTooLarge(self._max_bytes, blocks)
        return remains_of(block)

    def _pass_by(self, data: bytes) -> list[bytes]:
        """Go on discarding an event; what follows it is cut as usual."""
        lines = bytes(self._tail) + data
        end = lines.find(b"\n\n")
        whole = (lines.rfind(b"\n") if end < 0 else end) + 1
        remains = _id_line(lines, whole) or self._remains or b""
        if end < 0:
            self._remains = Remains(remains)
            self._tail[:] = lines[whole - 1 : whole + _KEPT_OF_LINE]
            return []
        self._remains = None
        self._tail.clear()
        return self._cut_behind(Remains(remains + b"\n"), lines[end + 2 :])

    def _take_long(self) -> bytes:
        assert self._long is not None
        block, self._long = self._long.getvalue(), None
        return block

    def _thin_out(self, tail: bytearray, search_from: int) -> None:
        """Drop the comments among many blocks; the first one ends behind `search_from`, and stays if it is long.

        Raises `EventFlood` if there are too many, or too many tiny blocks.
        """
        count = tail.count(b"\n\n")
        # To look at each byte of an event of a megabyte would take 30 ms.
        start = 0 if search_from < _SMALL_READ else tail.find(b"\n\n", search_from) + 2
        if tail.startswith(b":", start) or tail.find(b"\n\n:", start) >= 0:
            tail[start:] = _COMMENT_BLOCKS.sub(b"", tail[start:])
            rest = tail.count(b"\n\n")
            self._comments += count - rest
            count = rest
        if self._comments > MAX_COMMENTS:
            raise EventFlood(f"more than {MAX_COMMENTS} comments in a row", [])
        if count > MAX_TINY_BLOCKS and len(tail) < self._tiny_bytes * count:
            raise EventFlood(f"more than {MAX_TINY_BLOCKS} empty events at once", [])


def remains_of(block: bytes) -> Remains:
    """What is left of a whole event that is discarded."""
    return Remains(_id_line(b"\n" + block, len(block)) + b"\n")


def _id_line(lines: bytes, end: int) -> bytes:
    """The last `id` line before `end`, where a line ends; empty without one. `lines` begin with the end of a line."""
    at = max(lines.rfind(b"\nid:", 0, end), lines.rfind(b"\nid\n", 0, end)) + 1
    return lines[at : lines.find(b"\n", at) + 1] if at else b""


def decode(block: bytes) -> Event:
    """The event in one block (WHATWG 9.2.6): fields split at the first colon, one space taken off the value."""
    data: list[bytes] = []
    name: bytes | None = None
    event_id: bytes | None = None
    retry: int | None = None
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
        elif field == b"id" and b"\0" not in value:
            event_id = value
        elif field == b"retry" and value.isdigit() and len(value) <= MAX_RETRY_DIGITS:
            retry = int(value)
    return Event(b"\n".join(data) if data else None, name or None, event_id, retry)


def is_frame(block: bytes) -> bool:
    """Whether a block is one `data: ` line and nothing else, as hand-written parsers need it."""
    return block.startswith(b"data: ") and block.find(b"\n") == len(block) - 2


def is_named_frame(block: bytes) -> bool:
    """Whether a block is one `event: ` line, one `data: ` line and nothing else."""
    data = block.find(b"\n") + 1
    return (
        block.startswith(b"event: ")
        and block.startswith(b"data: ", data)
        and block.find(b"\n", data) == len(block) - 2
    )


def frame(data: bytes, name: bytes | None = None) -> bytes:
    """The frame of an event: `event:` if named, then a `data: ` line for each line of the data."""
    head = b"event: %b\n" % name if name else b""
    return head + b"data: " + data.replace(b"\n", b"\ndata: ") + b"\n\n"


def control(name: str, fields: dict[str, object]) -> bytes:
    """The frame of a control event, which the gateway itself sends: it has a name, and a JSON object as its data."""
    return frame(json_text.dumps_line(fields), name.encode())


def retry_line(milliseconds: int) -> bytes:
    """The line that tells a client how long to wait before it connects again.

    No blank line follows it: many clients would take the block, which has no data, for an empty event.
    """
    return b"retry: %d\n" % milliseconds


def comment(text: str) -> bytes:
    """The frame of a comment: it keeps a connection alive, and every client ignores it."""
    return f": {text}\n\n".encode()
