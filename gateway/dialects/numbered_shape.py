"""Pure: the learned shape of events that are numbered: beside a text, a number changes, and perhaps a padding.

In: events as OpenAI's Responses API has them: `sequence_number` goes up by one from event to event, on either side
of the text, and `obfuscation` is a random string that hides the length of the text. Out: as from `LearnedShape`. The
invariant: only the event that has the very next number fits, so that one that was lost or doubled is read in full.

The number is no hole in the shape, since it is known before the event comes: it is one more constant, which is
written anew for each event. As in `LearnedShape`, `take` is not pure: it calls `on_frame`.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain, count, repeat
from operator import add
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

    def filled(self, digits: bytes, text: bytes, padding: bytes) -> bytes:
        """The event with this number, text and padding."""
        before = self.head if self.near is None else self.head + digits + self.near
        behind = self.tail if self.rest is None else self.tail + digits + self.rest
        return before + (text if self.middle is None else text + self.middle + padding) + behind


_NO_PARTS = Parts(b"-", None, None, b"", None)  # no block begins so


class NumberedShape(LearnedShape):
    """The shape of one answer's numbered events. Each that fits is counted, so the count tells the next number."""

    __slots__ = ("_base", "_in", "_is_written", "_leads", "_middle", "_near", "_numbers", "_out")

    def __init__(self, counts: Counts) -> None:
        super().__init__(counts)
        self._base = 0  # the number of the next event, less the events that were counted
        self._in = self._out = _NO_PARTS
        self._near = b""  # what stands between the head and the text of the next event
        self._middle: bytes | None = None
        self._leads = False  # the number stands before the text
        self._is_written = False  # the next number is in `_near` or in `_chunk_tail`
        self._numbers: Iterator[bytes] = iter(())  # what is compared with the numbers after the next one

    @property
    def next_number(self) -> int:
        """The number of the next event."""
        return self._base + self._counts.events

    def expect(self, number: int) -> None:
        """Expect this number next, since an event was read in full; it must have been counted before."""
        self._base = number - self._counts.events
        self._is_written, self._chunk_heads = False, {}  # so that `take` writes the number first

    def forget(self) -> None:
        """Forget the shape, so that the next event is read in full."""
        super().forget()
        self._follow_parts(None)

    def fit(self, block: bytes) -> bytes | None:
        """Count a block that fits and return its frame: the very block if it needs no repair. None: no fit."""
        if self._sample is not None:
            self._learn()
        if not self._is_written:
            self._begin_numbers()
        head, near, tail = self._in.head, self._near, self._chunk_tail[:-2]
        text = block.removeprefix(head).removeprefix(near).removesuffix(tail)
        if len(text) + len(head) + len(near) + len(tail) != len(block):
            return None
        padding = b""
        if self._middle is not None:
            text, _, padding = text.rpartition(self._middle)
            if not padding.isalnum() and padding != padding.translate(PLAIN):
                return None
        if not text or (text != text.translate(PLAIN) and not is_safe_text(text)):
            return None
        counts = self._counts
        counts.events += 1
        counts.text_bytes += len(text)
        if self._leads:
            self._near = next(self._numbers)
        else:
            self._chunk_tail = next(self._numbers)
        self._chunk_heads = {}  # the number may have one more digit than when `take` has measured it
        return block if self._same else self._out.filled(_digits(self.next_number - 1), text, padding)

    def take(self, chunk: bytes) -> bool:
        """Send on a whole transfer chunk as it came, if it is one block of the known shape with the next number."""
        head, around, start = self._chunk_heads.get(len(chunk)) or self._chunk_head(len(chunk))
        text = chunk.removeprefix(head).removeprefix(self._near).removesuffix(self._chunk_tail)
        if len(text) + around != len(chunk) or not self.is_open:
            return False
        if self._middle is not None:
            text, _, padding = text.rpartition(self._middle)  # no text if it is not there
            if not padding.isalnum() and padding != padding.translate(PLAIN):
                return False
        if not text or (text != text.translate(PLAIN) and not is_safe_text(text)):
            return False
        counts = self._counts
        counts.events += 1
        counts.text_bytes += len(text)
        if self._leads:
            self._near = next(self._numbers)
        else:
            self._chunk_tail = next(self._numbers)
        on_frame = self.on_frame  # a local variable, since CPython 3.11 is slow at calling what a slot holds
        on_frame(chunk[start:-2], chunk)
        return True

    def _chunk_head(self, size: int) -> tuple[bytes, int, int]:
        if self._sample is not None:
            self._learn()
        found = NO_CHUNK, size, 0
        if self._same and size < len(CHUNK_LINES):
            if not self._is_written:
                self._begin_numbers()
            line = CHUNK_LINES[size]
            head = line + self._in.head
            found = head, len(head) + len(self._near) + len(self._chunk_tail), len(line)
        self._chunk_heads[size] = found
        return found

    def _begin_numbers(self) -> None:
        """Write what is to be compared with the next number, and begin with those that follow."""
        self._is_written, self._chunk_heads = True, {}
        parts, numbers = self._in, _digits_from(self.next_number)
        if parts.near is not None:
            self._numbers = map(add, numbers, repeat(parts.near))
            self._near, self._chunk_tail = next(self._numbers), parts.tail + CRLF
            return
        if parts.rest is None:
            self._numbers = repeat(parts.tail + CRLF)
        else:
            self._numbers = map(b"".join, zip(repeat(parts.tail), numbers, repeat(parts.rest + CRLF)))
        self._near, self._chunk_tail = b"", next(self._numbers)

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
        self._middle, self._leads = parts.middle, parts.near is not None
        self._is_written, self._chunk_heads = False, {}


def _digits(number: int) -> bytes:
    return _DIGITS[number] if number < len(_DIGITS) else b"%d" % number


def _digits_from(number: int) -> Iterator[bytes]:
    """The digits of all numbers from this one on, without a step of Python for each."""
    few = map(_DIGITS.__getitem__, range(number, len(_DIGITS)))
    return chain(few, map(b"%d".__mod__, count(max(number, len(_DIGITS)))))


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
    if name is None or not (found := frame.count(key := b'"%b":' % name.encode())):
        return None
    value = pattern.match(frame, frame.index(key) + len(key))
    return (-1, -1) if value is None or found > 1 else value.span(1)


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
