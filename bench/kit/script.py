"""Pure: what the upstream of the load sends, and one exchange seen from both of its ends.

In: the slot of a stream and its length. Out: events and HTTP/1.1 chunks, built before anything is measured; the times
of an exchange.
"""

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

MODEL = "bench"
DONE = b"data: [DONE]\n\n"
LAST_CHUNK = b"0\r\n\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
FIRST_CONTENT = 1  # event 0 carries the role alone, as real providers send it; content begins with event 1
FRAMING_EVENTS = 3  # role, finish and [DONE]: events beside the tokens

_EVENT = (
    'data: {"id":"chatcmpl-%08d","object":"chat.completion.chunk","created":1760000000,"model":"%s",'
    '"choices":[{"index":0,"delta":%s,"finish_reason":%s}]}\n\n'
)


@dataclass(frozen=True, slots=True)
class Script:
    """One stream: its SSE events, the texts in them, and the events as HTTP/1.1 chunks (the last with the end)."""

    events: tuple[bytes, ...]
    texts: tuple[str, ...]
    chunks: tuple[bytes, ...]


@lru_cache(maxsize=4096)  # built once per slot and length, so that later rounds start at once
def script(slot: int, tokens: int, text_bytes: int = 0) -> Script:
    """Role, `tokens` content events of about 220 bytes each (the slot is in each), finish, `[DONE]`.

    With `text_bytes` the text of each event has at least that size; the event is about 170 bytes longer.
    """
    words = (f" token {number:06d} of stream {slot:05d}, and some words more" for number in range(tokens))
    texts = tuple(text.ljust(text_bytes, "x") for text in words)
    deltas = ['{"role":"assistant","content":""}', *(f'{{"content":"{text}"}}' for text in texts)]
    events = [(_EVENT % (slot, MODEL, delta, "null")).encode() for delta in deltas]
    events += [(_EVENT % (slot, MODEL, "{}", '"stop"')).encode(), DONE]
    chunks = [chunk(event) for event in events]
    chunks[-1] += LAST_CHUNK
    return Script(tuple(events), texts, tuple(chunks))


def chunk(data: bytes) -> bytes:
    """The HTTP/1.1 transfer chunk (RFC 9112 section 7.1) of these bytes."""
    return b"%x\r\n%b\r\n" % (len(data), data)


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
    turn: int = 1  # 1 for the first request of its connection
    says: Says = Says.ALL
    due_at: float = 0.0  # when it should have been asked, if that was on a schedule
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
