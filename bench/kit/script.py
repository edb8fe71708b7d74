"""Pure: what the upstream of the load sends, and whether the bytes that a client reads are that stream.

In: the slot of a stream and its length; a position in a stream and the bytes that were read there. Out: events and
HTTP/1.1 chunks, built before anything is measured; the next position. Invariant: no event counts of which a byte was
not compared, either with what was published or with bytes that were; an event that is out of order, repeated or
unpublished ends the run.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

MODEL = "bench"
DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_MODELS = json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": MODEL}]}).encode()
_LISTING_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
LISTING = _LISTING_HEAD % len(_MODELS) + _MODELS  # of a provider's models
FIRST_CONTENT = 1  # event 0 carries the role alone, as real providers send it; content begins with event 1
FRAMING_EVENTS = 3  # role, finish and [DONE]: events beside the tokens

_HEAD = 'data: {"id":"chatcmpl-%(slot)08d","object":"chat.completion.chunk","created":1760000000,"model":"%(model)s",'


class Form(NamedTuple):
    """How a dialect writes a request (`%` by the model and the words), and the events of its stream: before the
    content, a token, and the two last ones (`%` by what `script` names)."""

    path: str
    body: str
    first: str
    token: str
    finish: str
    end: str


CHAT = Form(
    "/v1/chat/completions",
    '{"model": "%s", "stream": true, "messages": [{"role": "user", "content": "%s"}]}',
    f'{_HEAD}"choices":[{{"index":0,"delta":{{"role":"assistant","content":""}},"finish_reason":null}}]}}\n\n',
    f'{_HEAD}"choices":[{{"index":0,"delta":{{"content":"%(text)s"}},"finish_reason":null}}]}}\n\n',
    f'{_HEAD}"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}\n\n',
    DONE.decode(),
)


@dataclass(frozen=True, slots=True)
class Script:
    """One stream: its SSE events, the texts in them, and the events as HTTP/1.1 chunks (the last with the end)."""

    events: tuple[bytes, ...]
    texts: tuple[str, ...]
    chunks: tuple[bytes, ...]


@lru_cache(maxsize=4096)  # built once per slot and length, so that later rounds start at once
def script(slot: int, tokens: int, text_bytes: int = 0, form: Form = CHAT) -> Script:
    """Role, `tokens` content events of about 220 bytes each (the slot is in each), finish, `[DONE]`. With
    `text_bytes` the text of each event has at least that size; the event is about 170 bytes longer."""
    words = (f" token {number:06d} of stream {slot:05d}, and some words more" for number in range(tokens))
    texts = tuple(text.ljust(text_bytes, "x") for text in words)
    told = [(form.first, ""), *((form.token, text) for text in texts), (form.finish, ""), (form.end, "")]
    known = {"slot": slot, "model": MODEL, "tokens": tokens}
    events = [(event % {**known, "text": text, "number": at}).encode() for at, (event, text) in enumerate(told)]
    chunks = [chunk(event) for event in events]
    chunks[-1] += LAST_CHUNK
    return Script(tuple(events), texts, tuple(chunks))


def chunk(data: bytes) -> bytes:
    """The HTTP/1.1 transfer chunk (RFC 9112 section 7.1) of these bytes."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Speech(Enum):
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
    turn: int = 1  # 1 for the first request of its connection
    speech: Speech = Speech.ALL
    reset: bool | None = None  # whether the client will hang up by RST, or by FIN; None: it will not
    asked_at: float = 0.0
    taken_at: float = 0.0  # when the upstream had the request
    left_at: float = 0.0  # when the client hung up
    lost_at: float = 0.0  # when the upstream saw its connection closed before all was said
    sends: list[float] = field(default_factory=list)  # when the upstream sent event k
    receipts: list[float] = field(default_factory=list)  # when event k was complete at the client


MAX_HEAD_BYTES = 1 << 16  # LiteLLM's head has about 2 KiB
MAX_TAIL_BYTES = 1 << 20  # an unfinished chunk or event beyond this is broken: the longest of the load has 66 KiB


class BrokenStream(Exception):
    """A peer lost, changed, repeated or held back what it had to relay: its figures would mean nothing."""


class Position(NamedTuple):
    """How far a client is; equal for the subscribers of a stream that are equally far."""

    events: int = 0  # complete ones, counted from the first published
    held: bytes = b""  # read, but not the end of a chunk yet
    rest: bytes = b""  # dechunked, but not the end of an event yet
    begun: bool = False  # the response head is complete
    ended: bool = False  # the body is over
    chunked: bool = True  # whether the body comes in transfer chunks


START = Position()


class Check:
    """Every event must be the upstream's, byte for byte and in order; only keep-alives may stand between."""

    exact = True  # the peer sends the very bytes of the upstream
    plain_body = False  # the peer may send its events without transfer chunks
    comments: tuple[bytes, ...] = (b": keepalive",)

    def __init__(self, script: Script) -> None:
        self._script = script

    def advance(self, position: Position, data: bytes) -> Position:
        """Check the bytes that were read at this position. Raises `BrokenStream`."""
        data, chunked = position.held + data, position.chunked
        if not position.begun:
            head, separator, data = data.partition(b"\r\n\r\n")
            if not separator:
                return _bounded(position._replace(held=head), MAX_HEAD_BYTES)
            chunked = b"\r\ntransfer-encoding: chunked" in head.lower()
            if not head.startswith(b"HTTP/1.1 200") or not (chunked or self.plain_body):
                raise BrokenStream(f"answered {head[:300]!r} {data[:300]!r}")
        body, held, ended = dechunk(data) if chunked else (data, b"", False)
        *blocks, rest = (position.rest + body).split(b"\n\n")
        events = position.events
        for block in blocks:
            while block.startswith(self.comments):  # in front of an event, or alone
                block = block.partition(b"\n")[2]
            if block:
                events = self._take(events, block)
        return _bounded(Position(events, held, rest, True, ended, chunked), MAX_TAIL_BYTES)

    def _take(self, number: int, block: bytes) -> int:
        """The block is event `number`; returns the number of the next."""
        events = self._script.events
        if number == len(events) or block + b"\n\n" != events[number]:
            raise BrokenStream(f"event {number} differs: {block[:300]!r}")
        return number + 1


class ContentCheck(Check):
    """The check of a proxy that writes its own events (LiteLLM): its texts must be the upstream's, in order."""

    exact = False

    def _take(self, number: int, block: bytes) -> int:
        texts, total = self._script.texts, len(self._script.events)
        token = max(number - FIRST_CONTENT, 0)
        if block + b"\n\n" == DONE:
            if token != len(texts) or number == total:
                raise BrokenStream(f"[DONE] after {token} of {len(texts)} tokens")
            return total
        if text := _content(block):
            if token >= len(texts) or text != texts[token]:
                raise BrokenStream(f"token {token} differs: {block[:300]!r}")
            return FIRST_CONTENT + token + 1
        return number


@dataclass(frozen=True, slots=True)
class Target:
    """Where the load goes, what it says there, and how it judges what comes back."""

    port: int
    check: Callable[[Script], Check] = Check
    headers: tuple[tuple[str, str], ...] = ()
    model: str = MODEL  # the name by which the proxy knows the upstream's model
    form: Form = CHAT

    def request(self, key: str) -> bytes:
        body = (self.form.body % (self.model, f"Tell me a story. bench:{key};")).encode()
        lines = [f"POST {self.form.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Content-Type: application/json"]
        lines += ["Accept: text/event-stream", f"Content-Length: {len(body)}", *map(": ".join, self.headers), "\r\n"]
        return "\r\n".join(lines).encode("latin-1") + body


class SubscriberCheck(Check):
    """One check for all subscribers of a stream: a move that was proven for one is compared for the others."""

    comments = (b"retry:", b":")
    plain_body = True  # Nchan's has no chunks

    def __init__(self, events: tuple[bytes, ...], published: int = 0) -> None:
        self.events, self.published = events, published  # the first `published` of them may arrive
        self.ids: dict[int, bytes] = {}  # the id line that each event was seen to have
        self.moves: dict[Position, tuple[bytes, Position]] = {}  # the bytes read last there, and where they lead

    def advance(self, position: Position, data: bytes) -> Position:
        new = super().advance(position, data)
        if new.ended:
            raise BrokenStream("the stream has ended")
        if position.begun:  # heads are read one by one: each says that somebody has joined
            self.moves[position] = (data, new)
        return new

    def _take(self, number: int, block: bytes) -> int:
        event_id = b""
        if block.startswith(b"id: "):
            event_id, _, block = block.partition(b"\n")
        elif b"\nid: " in block:  # Rivergate's is the last line
            block, _, event_id = block.rpartition(b"\n")
        if number >= self.published or block + b"\n\n" != self.events[number]:
            raise BrokenStream(f"instead of event {number} of {self.published} came {block[:300]!r}")
        if self.ids.setdefault(number, event_id) != event_id:
            raise BrokenStream(f"event {number} has the ids {self.ids[number]!r} and {event_id!r}")
        return number + 1


def dechunk(data: bytes) -> tuple[bytes, bytes, bool]:
    """The bodies of the whole chunks in `data` (RFC 9112 section 7.1; no peer sends trailers), what is left, and
    whether the body is over."""
    bodies, at, ended = [], 0, False
    while not ended and (line_end := data.find(b"\r\n", at)) >= 0:
        try:
            size = int(data[at:line_end].partition(b";")[0], 16)
        except ValueError:
            raise BrokenStream(f"bad chunk size line {data[at:line_end][:60]!r}") from None
        stop = line_end + 2 + size
        if len(data) < stop + 2:
            break
        if data[stop : stop + 2] != b"\r\n":
            raise BrokenStream("a chunk that does not end with CRLF")
        bodies.append(data[line_end + 2 : stop])
        at, ended = stop + 2, size == 0
    if ended and at < len(data):
        raise BrokenStream(f"bytes behind the end: {data[at:][:60]!r}")
    return b"".join(bodies), data[at:], ended


def _bounded(position: Position, most: int) -> Position:
    if len(position.held) + len(position.rest) > most:
        raise BrokenStream("a head or an event that does not end")
    return position


def _content(block: bytes) -> str:
    """The text of a chat completion chunk, "" if it has none."""
    try:
        choices = json.loads(block.removeprefix(b"data: "))["choices"]
        return "".join(choice["delta"].get("content") or "" for choice in choices)
    except (ValueError, KeyError, TypeError):
        raise BrokenStream(f"no chat completion chunk: {block[:300]!r}") from None
