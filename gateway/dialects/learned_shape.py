"""Pure: the learned shape, by which events of one answer that differ in one string only need not be parsed.

An upstream's content events are equal except for one JSON string. A shape is the bytes before and after that string,
as they come in and as they go out. An event that fits the shape needs two comparisons and one look at each byte of
its text instead of a parse (0.5 us against 3 us for 220 bytes, bench/micro.py). The shape is learned from an event
that the dialect's reader has read in full, and proven by a second parse with a probe in place of the text.

One thing here is not pure, for speed: `take` calls `on_frame`, which sends the frame to subscribers.

The shape serves any dialect in which one string changes; an `event:` line is part of the bytes before the string.
Where events are numbered, numbered_shape.py serves. Where other values change, no event fits, and after `MAX_USELESS`
shapes the gateway stops learning.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from gateway.wire.http1 import CHUNK_LINES, CRLF, NO_CHUNK

# The inside of a JSON string (RFC 8259 section 7): first as ASCII, and only if that does not match as any UTF-8.
_ASCII_TEXT = re.compile(rb'[ !#-\[\]-\x7f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[ !#-\[\]-\x7f]*+)*+').fullmatch
# U+0085, U+2028 and U+2029 are legal JSON but cut lines in clients that split on Unicode line ends.
_UNICODE_TEXT = re.compile(r'(?:[^"\\\x00-\x1f\x85\u2028\u2029]++|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+').fullmatch
_PLAIN_ASCII = frozenset(map(chr, range(0x20, 0x80))) - {'"', "\\"}
# A translation that changes every byte but plain ASCII, so that most tokens equal their translation: 50 ns, and an
# eighth of the instructions of a search by a regular expression (bench/micro.py).
PLAIN = bytes(code if chr(code) in _PLAIN_ASCII else code ^ 0xFF for code in range(256))
_STRING_REST = re.compile(rb'(?:[^"\\]++|\\.)*+')

_PROBE = "hole"  # the text that stands in place of the string when a shape is proven
MAX_USELESS = 8  # after this many shapes in a row that no event fitted, no more shapes are learned from this answer
_NO_BLOCK = b"-"  # bytes that no block begins with

Path = tuple[str | int, ...]  # the keys and indexes that lead to the string that changes
Around = tuple[bytes, bytes]  # the bytes before and after the string that changes


def is_safe_text(text: bytes) -> bool:
    """Whether bytes may stand unchanged inside a JSON string on one line of an event."""
    if _ASCII_TEXT(text):
        return True
    try:
        return _UNICODE_TEXT(text.decode()) is not None
    except UnicodeDecodeError:
        return False


class Counts:
    """What an answer has brought so far, in plain numbers, since they change with every token."""

    __slots__ = ("events", "reported", "text_bytes")

    def __init__(self) -> None:
        self.events = 0  # events with content
        # The tokens of the answer that its upstream has reported before its finish, hidden reasoning among them.
        self.reported = 0
        # The bytes of their text; JSON escapes are counted as they stand, unless the event was parsed.
        self.text_bytes = 0


class AnswerMemory:
    """What the readers of an upstream's answers remember for the next answer of the same model.

    `beginning`, `finish` and `rest` are the dialect's own values: how answers begin, the event by which the last
    one has finished, and all that followed its last token; None: that is not known.
    """

    __slots__ = ("_doubts", "_misses", "_unknown_finishes", "_vague_rests", "beginning", "finish", "rest")

    def __init__(self) -> None:
        self.beginning: Any = None
        self._misses = 0  # answers in a row that began in another way
        self._doubts = 0  # beginnings in a row that could not be learned, or did not come again
        self.finish: Any = None
        self.rest: Any = None
        self._unknown_finishes = 0  # answers in a row that finished in another way
        self._vague_rests = 0  # answers from whose rest nothing could be learned

    @property
    def wants_beginning(self) -> bool:
        """Whether it is worth learning how an answer begins, which takes 0.5 ms."""
        return self.beginning is None and self._doubts < MAX_USELESS

    def learn(self, beginning: Any) -> None:
        """Expect this beginning from now on; None: this answer leaves a doubt about its beginning."""
        self.beginning = beginning
        self._misses = 0
        if beginning is None:
            self._doubts += 1

    @property
    def wants_finish(self) -> bool:
        """Whether it is worth learning how an answer finishes, which takes 0.3 ms."""
        return self._unknown_finishes < MAX_USELESS

    @property
    def wants_rest(self) -> bool:
        """Whether it is worth learning how an answer ends behind its finish, which takes 0.5 ms."""
        return self._vague_rests < MAX_USELESS

    def learn_finish(self, finish: Any) -> None:
        """Expect this finish from now on, since an answer has finished in another way than was expected."""
        self._unknown_finishes += 1
        self.finish = finish

    def learn_rest(self, rest: Any) -> None:
        """Expect this rest from now on; None: this answer leaves a doubt about its rest."""
        if rest is None:
            self._vague_rests += 1
        else:
            self.rest = rest

    def on_known_finish(self) -> None:
        """Note that an answer has finished as it was expected."""
        self._unknown_finishes = 0

    def on_hit(self) -> None:
        """Note that an answer began as it was expected."""
        self._misses = self._doubts = 0

    def on_miss(self) -> None:
        """Note that an answer began in another way; the beginning is forgotten after some of them in a row."""
        self._misses += 1
        if self._misses >= MAX_USELESS:
            self.beginning = None
            self._doubts += 1


class Sample(NamedTuple):
    """An event that was read in full: its block, the frame made of it, and the path to the string that will change.

    Block and frame each hold one line of JSON. `hits`: how many events of this answer have fitted a shape so far.
    `number` and `padding`: the names of members of the object that change, too, as numbered_shape.py describes them.
    """

    block: bytes
    frame: bytes
    path: Path
    hits: int
    number: str | None = None
    padding: str | None = None


def _drop(frame: bytes, chunk: bytes) -> None:
    """Drop a frame, since there is no receiver."""


class LearnedShape:
    """The shape of one answer's content events. `fit` gives the frame of a block; `take` sends a transfer chunk on.

    All state is in one object, and a token is one call, since with hundreds of streams the cost of a token is the
    memory that it touches (bench/relay.py).
    """

    __slots__ = (
        "_around",
        "_chunk_heads",
        "_chunk_tail",
        "_counts",
        "_head",
        "_hits_before",
        "_out_head",
        "_out_tail",
        "_same",
        "_sample",
        "_tail",
        "_useless",
        "is_open",
        "on_frame",
    )

    _chunk_heads: dict[int, tuple[bytes, int, int]]

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._sample: Callable[[], Sample | None] | None = None  # gives the sample that is still to be learned from
        self._hits_before = 0  # the hits of all shapes before the present one
        self._useless = 0  # the number of shapes in a row that no event fitted
        self.is_open = False  # the next byte begins a block
        # Takes a frame, and the transfer chunk that holds only this frame; b"" if the frame did not come so.
        self.on_frame: Callable[[bytes, bytes], None] = _drop
        # No shape, as `_follow(None)` sets it: written out, since every answer begins so.
        self._head, self._tail, self._around, self._same = _NO_BLOCK, b"", -1, False
        self._out_head = self._out_tail = b""
        self._chunk_heads, self._chunk_tail = {}, CRLF

    def send_to(self, on_frame: Callable[[bytes, bytes], None]) -> None:
        """Give frames to this receiver from now on."""
        self.on_frame = on_frame

    def on_boundary(self, *, is_open: bool) -> None:
        """Note whether the next byte begins a block: only then can a transfer chunk be one block."""
        self.is_open = is_open

    def close(self) -> None:
        """Forget the receiver of frames: from now on they are dropped."""
        self.on_frame = _drop

    @property
    def wants_samples(self) -> bool:
        """Whether it is worth learning from another event."""
        return self._useless < MAX_USELESS

    def learn_from(self, sample: Callable[[], Sample | None]) -> None:
        """Learn a shape from this sample when the next event comes: the first token does not wait for it.

        The sample may be None: then the shape stays as it is.
        """
        self._sample = sample
        self._chunk_heads = {}  # so that `take` knows no size and learns first

    def follow(self, head: bytes, tail: bytes) -> None:
        """Expect these bytes around the text from now on, as an earlier answer has proven them."""
        self._head = self._out_head = head
        self._tail = self._out_tail = tail
        self._around, self._same = len(head) + len(tail), True
        self._chunk_heads, self._chunk_tail = {}, tail + CRLF

    def forget(self) -> None:
        """Forget the shape, so that the next event is read in full: its bytes mean something else from now on."""
        self._sample = None
        self._follow(None)

    def fit(self, block: bytes) -> bytes | None:
        """Count a block that fits and return its frame: the very block if it needs no repair. None: no fit."""
        if self._sample is not None:
            self._learn()
        # `removeprefix` and `removesuffix` cost 50 ns together; `startswith`, `endswith` and a slice cost 130.
        text = block.removeprefix(self._head).removesuffix(self._tail)
        size = len(text)
        if not size or size + self._around != len(block):
            return None
        if text != text.translate(PLAIN) and not is_safe_text(text):
            return None
        counts = self._counts
        counts.events += 1
        counts.text_bytes += size
        return block if self._same else self._out_head + text + self._out_tail

    def take(self, chunk: bytes) -> bool:
        """Send on a whole transfer chunk (RFC 9112 section 7.1) as it came, if it is one block of the known shape.

        Returns whether the chunk was sent on; a chunk that needs a repair is not. Nearly every token goes this way.
        """
        head, around, start = self._chunk_heads.get(len(chunk)) or self._chunk_head(len(chunk))
        text = chunk.removeprefix(head).removesuffix(self._chunk_tail)
        size = len(text)
        if not size or size + around != len(chunk) or not self.is_open:
            return False
        if text != text.translate(PLAIN) and not is_safe_text(text):
            return False
        counts = self._counts
        counts.events += 1
        counts.text_bytes += size
        on_frame = self.on_frame  # a local variable, since CPython 3.11 is slow at calling what a slot holds
        on_frame(chunk[start:-2], chunk)
        return True

    def _chunk_head(self, size: int) -> tuple[bytes, int, int]:
        """The beginning of a fitting chunk of `size` bytes, the number of bytes around its text, its data's start."""
        if self._sample is not None:
            self._learn()
        if self._same and size < len(CHUNK_LINES):
            line = CHUNK_LINES[size]
            start = len(line)
            found = line + self._head, start + self._around + 2, start  # the 2 bytes end the chunk
        else:
            found = NO_CHUNK, size, 0
        self._chunk_heads[size] = found
        return found

    def _learn(self) -> None:
        pending, self._sample = self._sample, None
        if pending is not None and (sample := pending()) is not None:
            self._useless = 0 if sample.hits > self._hits_before else self._useless + 1
            self._hits_before = sample.hits
            self._follow(learn(sample))

    def _follow(self, shape: tuple[Around, Around] | None) -> None:
        """Expect this shape from now on: the bytes around the text as they come in, and as they go out."""
        before, after = shape or ((_NO_BLOCK, b""), (b"", b""))
        self._head, self._tail = before
        self._around = len(self._head) + len(self._tail) if shape else -1  # no block has that length
        self._out_head, self._out_tail = after
        self._same = before == after
        self._chunk_heads = {}
        self._chunk_tail = self._tail + CRLF


def learn(sample: Sample) -> tuple[Around, Around] | None:
    """The bytes around the text in the block and in the frame; None if they cannot be found beyond doubt in both."""
    before = _split(sample.block, sample.path)
    after = before if sample.frame == sample.block else _split(sample.frame, sample.path)
    return (before, after) if before and after else None


def _split(frame: bytes, path: Path) -> Around | None:
    """The bytes before and after the string at `path`, proven by a parse with a probe in its place.

    None if the string is not found beyond doubt.
    """
    for opening in (b'"%b":"', b'"%b": "'):
        key = opening % str(path[-1]).encode()
        at = frame.find(key)
        if at < 0 or frame.find(key, at + 1) >= 0:
            continue
        start = at + len(key)
        rest = _STRING_REST.match(frame, start)
        if rest is None:
            continue
        head, tail = frame[:start], frame[rest.end() :]
        return (head, tail) if _holds(frame, head + _PROBE.encode() + tail, path) else None
    return None


def _holds(frame: bytes, probed: bytes, path: Path) -> bool:
    start = frame.find(b"data: ") + 6  # behind other fields, such as the event's name
    try:
        expected, found = orjson.loads(frame[start:]), orjson.loads(probed[start:])
        parent: Any = expected
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = _PROBE
        return bool(expected == found)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
