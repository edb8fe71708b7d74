"""Pure: the steps of a plain SSE feed, with `event:`, `id:` and `retry:`, that can be resumed.

In: how many events, how far apart, the id that the client saw last. Out: the steps of a plan. Event n has the id n
and equal bytes at every connection; the feed goes on after the event that the client saw last.
"""

from collections.abc import Iterator
from itertools import count as counting

from gateway.simulate.plan import EVENT_STREAM, LAST_CHUNK, chunk, head
from gateway.simulate.steps import End, Send, Step

RETRY_MS = 100  # how soon an EventSource connects again; short, since the feed is for tests and demos


def feed(
    count: int, gap: float, last_event_id: str, keep_alive: bool = True, padding_bytes: int = 0
) -> Iterator[Step]:
    """Events up to number `count`, one every `gap` seconds; 0: without end. Status 204 if the client saw them all."""
    seen = int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() else 0
    connection = () if keep_alive else (("Connection", "close"),)
    if count and seen >= count:
        yield Send(0.0, head(204, connection))
        yield End(0.0, keep_alive)
        return
    headers = (
        ("Content-Type", EVENT_STREAM),
        ("Cache-Control", "no-cache"),
        ("Transfer-Encoding", "chunked"),
    )
    yield Send(0.0, head(200, (*headers, *connection)))
    yield Send(0.0, chunk(b"retry: %d\n\n" % RETRY_MS))
    padding = b',"padding":"%b"' % (b"x" * padding_bytes) if padding_bytes else b""
    at = 0.0
    for n in range(seen + 1, count + 1) if count else counting(seen + 1):
        at = (n - seen - 1) * gap
        yield Send(at, chunk(b'event: tick\nid: %d\ndata: {"n":%d%b}\n\n' % (n, n, padding)), 1)
    yield Send(at, LAST_CHUNK)
    yield End(at, keep_alive)
