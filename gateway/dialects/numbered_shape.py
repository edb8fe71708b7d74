"""Pure: the learned shape of events that are numbered: beside a text, a number changes, and perhaps a padding.

In: events as OpenAI's Responses API has them: `sequence_number` goes up by one from event to event, on either side
of the text, and `obfuscation` is a random string that hides the length of the text. Out: as from `LearnedShape`. The
invariant: only the event that has the very next number fits, so that one that was lost or doubled is read in full.

The number is no hole in the shape, since it is known before the event comes: it is one more constant, which is
written anew for each event. As in `LearnedShape`, `take` is not pure: it calls `on_frame`.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from gateway.dialects.learned_shape import PLAIN, Counts, LearnedShape, Sample, is_safe_text
from gateway.wire.http1 import CHUNK_LINES, CRLF, NO_CHUNK

_STRING = re.compile(rb' ?"((?:[^"\\]++|\\.)*+)"')
_NUMBER = re.compile(rb" ?(0|[1-9][0-9]{0,17})(?=[,}\s])")
_PROBES = ("hole", 7, "pad")  # stand in place of text, number and padding when a shape is proven
_DIGITS = [b"%d" % number for number in range(4096)]  # looked up in 20 ns; it takes 100 to write a number


class Parts(NamedTuple):
    """The bytes around what changes in an event: `head`, the number, `near`, the text, `middle`, the padding, `tail`.

    `near` is None if no number stands before the text; then a number may stand behind `tail`, and `rest` behind the
    number, else `rest` is None. `middle` is None if there is no padding.
    """

    head: bytes
    near: bytes | None
    middle: bytes | None
    tail: bytes
    rest: bytes | None

    def before(self, digits: bytes) -> bytes:
        """What stands before the text of the event with this number."""
        return self.head if self.near is None else self.head + digits + self.near

    def behind(self, digits: bytes) -> bytes:
        """What stands behind the text and the padding of the event with this number."""
        return self.tail if self.rest is None else self.tail + digits + self.rest


_NO_PARTS = Parts(b"-", None, None, b"", None)  # no block begins so


class NumberedShape(LearnedShape):
    """The shape of one answer's numbered events."""

    __slots__ = ("_in", "_middle", "_near", "_near_rest", "_out", "_rest", "next_number")

    def __init__(self, counts: Counts) -> None:
        super().__init__(counts)
        self.next_number = 0  # of the next event
        self._near = b""  # what stands between the head and the text of the next event
        self._in = self._out = _NO_PARTS
        # The parts that `take` needs for each event: an attribute of its own is found in a third of the time.
        self._near_rest, self._middle, self._rest = _NO_PARTS.near, _NO_PARTS.middle, b""

    def expect(self, number: int) -> None:
        """Expect this number next, since an event did not come by `take`."""
        self.next_number = number
        self._chunk_heads = {}  # so that `take` writes the number first

    def forget(self) -> None:
        """Forget the shape, so that the next event is read in full."""
        super().forget()
        self._follow_parts(None)

    def fit(self, block: bytes) -> bytes | None:
        """Count a block that fits and return its frame: the very block if it needs no repair. None: no fit."""
        if self._sample is not None:
            self._learn()
        parts, digits = self._in, self._digits()
        before, behind = parts.before(digits), parts.behind(digits)
        text = block.removeprefix(before).removesuffix(behind)
        if len(text) + len(before) + len(behind) != len(block):
            return None
        padding = b""
        if (middle := parts.middle) is not None:
            text, _, padding = text.rpartition(middle)
            if padding != padding.translate(PLAIN):
                return None
        if not text or (text != text.translate(PLAIN) and not is_safe_text(text)):
            return None
        counts = self._counts
        counts.events += 1
        counts.text_bytes += len(text)
        self.expect(self.next_number + 1)
        if self._same:
            return block
        out = self._out
        inner = text if out.middle is None else text + out.middle + padding
        return out.before(digits) + inner + out.behind(digits)

    def take(self, chunk: bytes) -> bool:
        """Send on a whole transfer chunk as it came, if it is one block of the known shape with the next number."""
        head, around, start = self._chunk_heads.get(len(chunk)) or self._chunk_head(len(chunk))
        text = chunk.removeprefix(head).removeprefix(self._near).removesuffix(self._chunk_tail)
        size = len(text)
        if not size or size + around != len(chunk) or not self.is_open:
            return False
        if (middle := self._middle) is not None:
            text, _, padding = text.rpartition(middle)
            size = len(text)
            if not (size and (padding.isalnum() or padding == padding.translate(PLAIN))):
                return False
        if text != text.translate(PLAIN) and not is_safe_text(text):
            return False
        counts = self._counts
        counts.events += 1
        counts.text_bytes += size
        number = self.next_number = self.next_number + 1
        digits = _DIGITS[number] if number < 4096 else b"%d" % number
        if (near := self._near_rest) is not None:
            self._near = digits + near
        else:
            self._chunk_tail = self._tail + digits + self._rest
        on_frame = self.on_frame  # a local variable, since CPython 3.11 is slow at calling what a slot holds
        on_frame(chunk[start:-2], chunk)
        return True

    def _digits(self) -> bytes:
        number = self.next_number
        return _DIGITS[number] if number < 4096 else b"%d" % number

    def _chunk_head(self, size: int) -> tuple[bytes, int, int]:
        if self._sample is not None:
            self._learn()
        found = NO_CHUNK, size, 0
        if self._same and size < len(CHUNK_LINES):
            line, parts, digits = CHUNK_LINES[size], self._in, self._digits()
            head = line + parts.head
            self._near = b"" if parts.near is None else digits + parts.near
            self._chunk_tail = parts.behind(digits) + CRLF
            found = head, len(head) + len(self._near) + len(self._chunk_tail), len(line)
        self._chunk_heads[size] = found
        return found

    def _learn(self) -> None:
        pending, self._sample = self._sample, None
        if pending is not None and (sample := pending()) is not None:
            self._useless = 0 if sample.hits > self._hits_before else self._useless + 1
            self._hits_before = sample.hits
            self._follow_parts(learn_numbered(sample))

    def _follow_parts(self, found: tuple[Parts, Parts] | None) -> None:
        """Expect these parts from now on: of the events as they come in, and as they go out."""
        parts, self._out = found or (_NO_PARTS, _NO_PARTS)
        self._in = parts
        self._same = parts == self._out and not (parts.near is None and parts.rest is None)
        self._near_rest, self._middle, self._tail = parts.near, parts.middle, parts.tail
        self._rest = (parts.rest or b"") + CRLF
        self._chunk_heads = {}


def learn_numbered(sample: Sample) -> tuple[Parts, Parts] | None:
    """The parts of the sample's block and of its frame; None if they cannot be found beyond doubt in both."""
    before = _split(sample.block, sample)
    after = before if sample.frame == sample.block else _split(sample.frame, sample)
    return (before, after) if before and after else None


def _split(frame: bytes, sample: Sample) -> Parts | None:
    """The parts of an event, proven by a parse with probes in place of what changes. None: there is a doubt."""
    names = str(sample.path[-1]), sample.number, sample.padding
    found = [_span(frame, name, pattern) for name, pattern in zip(names, (_STRING, _NUMBER, _STRING), strict=True)]
    text, number, padding = found
    if text is None or any(span is not None and span[0] < 0 for span in found):
        return None
    if padding is not None and not (text[1] < padding[0] and _is_plain(frame[slice(*padding)])):
        return None
    if not _holds(frame, names, found):
        return None
    last = text if padding is None else padding
    middle = None if padding is None else frame[text[1] : padding[0]]
    if number is None:
        return Parts(frame[: text[0]], None, middle, frame[last[1] :], None)
    if number[1] < text[0]:
        return Parts(frame[: number[0]], frame[number[1] : text[0]], middle, frame[last[1] :], None)
    if number[0] > last[1]:
        return Parts(frame[: text[0]], None, middle, frame[last[1] : number[0]], frame[number[1] :])
    return None


def _span(frame: bytes, name: str | None, pattern: "re.Pattern[bytes]") -> tuple[int, int] | None:
    """Where the value of the only member with this name stands; None: there is none; (-1, -1): it is not plain."""
    if name is None or not (count := frame.count(key := b'"%b":' % name.encode())):
        return None
    value = pattern.match(frame, frame.index(key) + len(key))
    return (-1, -1) if value is None or count > 1 else value.span(1)


def _is_plain(text: bytes) -> bool:
    return text == text.translate(PLAIN)


def _holds(frame: bytes, names: Sequence[str | None], found: Sequence[tuple[int, int] | None]) -> bool:
    """Whether the members stand where they were found, and nothing else is there."""
    start = frame.find(b"data: ") + 6  # behind the name of the event
    places = [(span, str(name), probe) for span, name, probe in zip(found, names, _PROBES, strict=True) if span]
    probed = frame
    for (at, end), _, probe in sorted(places, reverse=True):
        probed = probed[:at] + str(probe).encode() + probed[end:]
    try:
        expected = orjson.loads(frame[start:]) | {name: probe for _, name, probe in places}
        return bool(orjson.loads(probed[start:]) == expected)
    except (ValueError, TypeError):
        return False
