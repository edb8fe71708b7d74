"""Wiring: what the steps of a token cost in one process, without sockets: `python -m bench.micro`.

Warm figures of one stream, for comparing two ways of a step; in a gateway with hundreds of streams each step costs
about twice as much (bench/relay.py), since nothing is in the processor's caches.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable

import orjson

from bench.frames import MODEL
from gateway.config import StreamSettings
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import AnswerIdentity
from gateway.endings import Ending
from gateway.errors import RivergateError
from gateway.stream.stream import Stream
from gateway.upstream.bodies import StreamBody
from gateway.wire import sse

TURNS = 100_000


class _Sink:
    """Takes everything and keeps nothing."""

    body_end = b"0\r\n\r\n"
    steady = False
    direct: socket.socket | None = None
    blocked = False

    def write(self, data: bytes) -> None: ...

    def on_short_write(self, data: bytes, sent: int) -> None: ...

    def unsent_bytes(self) -> int:
        return 0

    def kernel_bytes(self) -> int:
        return 0

    def abort(self) -> None: ...

    def close(self) -> None: ...


class _Ends:
    """Owner of a body and producer of a stream, for which nothing follows from anything."""

    def __init__(self, stream: Stream | None = None) -> None:
        self.body: StreamBody | None = None
        self.stream = stream

    def on_content(self) -> None:
        if self.body is not None and self.stream is not None:
            self.body.flow_to(self.stream)

    def on_complete(self) -> None: ...

    def on_broken(self, error: RivergateError) -> None:
        raise error

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def stop(self, ending: Ending) -> None: ...


def block(text: str) -> bytes:
    """A content event of about 220 bytes, as providers send it."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    head = {"id": "chatcmpl-" + "x" * 24, "object": "chat.completion.chunk", "created": 1750000000, "model": MODEL}
    return sse.frame(orjson.dumps({**head, "choices": [choice]}))


def timed(name: str, step: Callable[[bytes], object]) -> None:
    data = block(" token")
    step(data)
    start = time.perf_counter()
    for _ in range(TURNS):
        step(data)
    print(f"{name:44} {(time.perf_counter() - start) / TURNS * 1e6:6.2f} us")


async def main() -> None:
    identity = AnswerIdentity("x", 1, MODEL)
    reader = CHAT.reader(identity)
    for text in ("role comes first", " second"):
        reader.read(block(text))
    timed("BlockDecoder.feed, one event a read", sse.BlockDecoder().feed)
    timed("LearnedShape.fit, a chunk of the known shape", reader.shape.fit)
    timed("ChatReader.read, the full reading", reader.read)
    timed("orjson.loads alone", lambda data: orjson.loads(data[6:]))
    stream = Stream("bench", "e", StreamSettings(max_log_bytes=1 << 30), _Ends())
    stream.join(chunked=True).attach(_Sink())
    timed("Stream.on_frame to one reader", stream.on_frame)
    ends = _Ends(stream)
    ends.body = StreamBody(ends, CHAT.reader(identity))
    for text in ("role comes first", " second"):
        ends.body.feed(block(text))
    timed("from the body's bytes to the sink", ends.body.feed)


if __name__ == "__main__":
    asyncio.run(main())
