"""Pure: what the bench upstream sends and how a client checks it.

In: the slot of a stream and its length; then the bytes a proxy delivered. Out: pre-built events and chunks;
then the number of events that are complete. Invariant: no event is counted of which a byte was not compared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

MODEL = "bench"
DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keepalive"  # the one comment a proxy may add between events
LAST_CHUNK = b"0\r\n\r\n"
FIRST_CONTENT = 1  # event 0 carries the role alone, as real providers send it; content begins with event 1
FRAMING_EVENTS = 3  # role, finish and [DONE]: events beside the tokens
MAX_TAIL_BYTES = 1 << 20  # an unfinished chunk or event beyond this is broken: the longest of ours has 250 bytes

_EVENT = (
    'data: {"id":"chatcmpl-%08d","object":"chat.completion.chunk","created":1760000000,"model":"%s",'
    '"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n'
)


class BrokenStream(Exception):
    """What the client received is not what the upstream sent."""


@dataclass(frozen=True, slots=True)
class Script:
    """One stream: its SSE events, the texts in them, and these as HTTP/1.1 chunks (the last with the end)."""

    events: tuple[bytes, ...]
    texts: tuple[str, ...]
    chunks: tuple[bytes, ...]


@lru_cache(maxsize=4096)  # built once per slot and length: later rounds start at once
def script(slot: int, tokens: int, text_bytes: int = 0) -> Script:
    """Role, `tokens` content events of about 220 bytes each (the slot is in each), finish, `[DONE]`.

    With `text_bytes` the text of each has at least so many, which is about 170 less than the event.
    """
    words = (f" token {number:06d} of stream {slot:05d}, and some words more" for number in range(tokens))
    texts = tuple(text.ljust(text_bytes, "x") for text in words)
    deltas = ['{"role":"assistant","content":""}', *(f'{{"content":"{text}"}}' for text in texts)]
    events = [(_EVENT % (slot, MODEL, delta, "null")).encode() for delta in deltas]
    events += [(_EVENT % (slot, MODEL, "{}", '"stop"')).encode(), DONE]
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    chunks[-1] += LAST_CHUNK
    return Script(tuple(events), texts, tuple(chunks))


class Says(Enum):
    """How much of its script an upstream says before it falls silent for ever."""

    NOTHING = "nothing"  # not even a head
    ROLE = "role"  # the head and the event before the first content
    ALL = "all"


@dataclass(slots=True)
class Exchange:
    """One request and its stream, seen from both ends of the load by the same clock (seconds)."""

    key: str  # travels in the request's message, so that the upstream finds the exchange
    script: Script
    gap: float
    turn: int = 1  # the how manieth of its connection
    says: Says = Says.ALL
    asked_at: float = 0.0
    taken_at: float = 0.0  # when the upstream had the request
    lost_at: float = 0.0  # when the upstream saw its connection closed before all was said
    sends: list[float] = field(default_factory=list)  # when the upstream sent event k
    receipts: list[float] = field(default_factory=list)  # when event k was complete at the client

    def ttft(self) -> float:
        return self.receipts[FIRST_CONTENT] - self.asked_at

    def latencies(self, since: float, until: float) -> list[float]:
        """From send to receipt, of the events sent in between these times."""
        pairs = zip(self.sends, self.receipts, strict=False)
        return [received - sent for sent, received in pairs if since <= sent < until]

    def lateness(self) -> list[float]:
        """How late the upstream sent each event after the first content, against its schedule."""
        timed = self.sends[FIRST_CONTENT + 1 :]
        return [at - self.sends[0] - number * self.gap for number, at in enumerate(timed, 1)]


class Dechunker:
    """Removes chunk framing (RFC 9112 section 7.1) from bytes cut anywhere; no peer sends trailers."""

    __slots__ = ("_buffer", "ended")

    def __init__(self) -> None:
        self._buffer = b""
        self.ended = False

    @property
    def aligned(self) -> bool:
        """Nothing is held back: the next byte begins a chunk."""
        return not self._buffer and not self.ended

    def feed(self, data: bytes) -> bytes:
        """Return the bodies of the chunks that became complete."""
        data, bodies, at = self._buffer + data, [], 0
        while not self.ended and (line_end := data.find(b"\r\n", at)) >= 0:
            size = _chunk_size(data[at:line_end])
            stop = line_end + 2 + size
            if len(data) < stop + 2:
                break
            if data[stop : stop + 2] != b"\r\n":
                raise BrokenStream("a chunk that does not end with CRLF")
            bodies.append(data[line_end + 2 : stop])
            at, self.ended = stop + 2, size == 0
        self._buffer = data[at:]
        if len(self._buffer) > MAX_TAIL_BYTES or (self.ended and self._buffer):
            raise BrokenStream(f"bytes that are no chunk: {self._buffer[:60]!r}")
        return b"".join(bodies)


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise BrokenStream(f"bad chunk size line {line[:60]!r}") from None


class ExactCheck:
    """Every event must be the upstream's, byte for byte and in order; keepalives between are allowed."""

    __slots__ = ("_script", "_tail", "done")
    exact = True

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tail = b""
        self.done = 0  # events complete and compared

    @property
    def aligned(self) -> bool:
        return not self._tail

    def feed(self, body: bytes) -> int:
        """Take dechunked bytes; return how many events of the script are complete."""
        *blocks, self._tail = (self._tail + body).split(b"\n\n")
        if len(self._tail) > MAX_TAIL_BYTES:
            raise BrokenStream("an event that does not end")
        for block in blocks:
            if block != KEEPALIVE:
                self._take(block)
        return self.done

    def _take(self, block: bytes) -> None:
        events = self._script.events
        if self.done == len(events) or block + b"\n\n" != events[self.done]:
            raise BrokenStream(f"event {self.done} differs: {block[:300]!r}")
        self.done += 1


class ContentCheck(ExactCheck):
    """For a proxy that writes its own events (LiteLLM): the texts must be the upstream's, all, in order."""

    __slots__ = ()
    exact = False

    def _take(self, block: bytes) -> None:
        texts, total = self._script.texts, len(self._script.events)
        token = max(self.done - FIRST_CONTENT, 0)
        if block + b"\n\n" == DONE:
            if token != len(texts) or self.done == total:
                raise BrokenStream(f"[DONE] after {token} of {len(texts)} tokens")
            self.done = total
        elif text := _content(block):
            if token >= len(texts) or text != texts[token]:
                raise BrokenStream(f"token {token} differs: {block[:300]!r}")
            self.done = FIRST_CONTENT + token + 1


def _content(block: bytes) -> str:
    """Return the text of a chat completion chunk, "" if it has none."""
    try:
        choices = json.loads(block.removeprefix(b"data: "))["choices"]
        return "".join(choice["delta"].get("content") or "" for choice in choices)
    except (ValueError, KeyError, TypeError):
        raise BrokenStream(f"no chat completion chunk: {block[:300]!r}") from None
