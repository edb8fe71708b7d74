"""Wiring: what do the steps of a token cost in one process, without sockets?

    python -m bench.micro [--turns 100000]

Warm figures of one stream, for comparing two ways of a step; in a gateway with hundreds of streams each step costs
about twice as much (bench/relay.py), since nothing is in the processor's caches. This is the one bench that imports
the gateway.
"""

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import orjson

from bench.kit.command import Bench, Given
from bench.kit.script import MODEL
from gateway.config import StreamSettings
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import AnswerIdentity
from gateway.stream.stream import Stream
from gateway.upstream.bodies import StreamBody
from gateway.wire import sse


class Idle:
    """A sink, an owner of a body and a producer, for whom nothing follows from anything."""

    steady = blocked = False
    body_end = b"0\r\n\r\n"
    direct: socket.socket | None = None

    def __init__(self) -> None:
        self.on_content: Callable[[], None] = self.nothing

    def nothing(self, *given: object) -> Any:
        return 0

    write = on_short_write = unsent_bytes = kernel_bytes = abort = close = nothing
    on_complete = on_broken = pause = resume = stop = nothing


def block(text: str) -> bytes:
    """A content event of about 220 bytes, as providers send it."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    head = {"id": "chatcmpl-" + "x" * 24, "object": "chat.completion.chunk", "created": 1750000000, "model": MODEL}
    return sse.frame(orjson.dumps({**head, "choices": [choice]}))


def steps() -> dict[str, Callable[[bytes], object]]:
    identity, owner = AnswerIdentity("x", 1, MODEL), Idle()
    reader = CHAT.reader(identity)
    stream = Stream("bench", "e", StreamSettings(max_log_bytes=1 << 30), Idle())
    stream.join(chunked=True).attach(Idle())
    body = StreamBody(owner, CHAT.reader(identity))
    owner.on_content = lambda: body.flow_to(stream)
    for text in ("role comes first", " second"):
        reader.read(block(text))
        body.feed(block(text))
    return {
        "BlockDecoder.feed, one event a read": sse.BlockDecoder().feed,
        "LearnedShape.fit, an event of the known shape": reader.shape.fit,
        "ChatReader.read, the full reading": reader.read,
        "orjson.loads alone": lambda data: orjson.loads(data[6:]),
        "Stream.on_frame to one subscriber": stream.on_frame,
        "from the body's bytes to the sink": body.feed,
    }


async def timed(turns: int) -> dict[str, dict[str, float]]:
    """A stream asks for a running loop."""
    found, data = {}, block(" token")
    for name, step in steps().items():
        step(data)
        start = time.perf_counter()
        for _ in range(turns):
            step(data)
        found[name] = {"us": (time.perf_counter() - start) / turns * 1e6}
    return found


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    return {"steps": asyncio.run(timed(given.turns))}


BENCH = Bench("micro", __doc__, measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
