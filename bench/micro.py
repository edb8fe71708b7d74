"""Wiring: what the steps of a token cost in one process, without sockets: `python -m bench.micro`.

Warm figures of one stream, for comparing two ways of a step; in a gateway with hundreds of streams each step costs
about twice as much (bench/relay.py), since nothing is in the processor's caches. This is the one bench that imports
the gateway.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import orjson

from bench.kit.command import Bench, Given, Option, Report, bounded
from bench.kit.script import MODEL
from bench.kit.tables import Column, Table
from gateway.config import Stream as StreamConfig
from gateway.errors import Ending, RivergateError
from gateway.stream.stream import Stream
from gateway.upstream.body import StreamBody
from gateway.wire import chat, sse
from gateway.wire.repair import Identity


class Sink:
    """Takes everything and keeps nothing."""

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


class Ends:
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
    """A content chunk of about 220 bytes, as providers send it."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    head = {"id": "chatcmpl-" + "x" * 24, "object": "chat.completion.chunk", "created": 1750000000, "model": MODEL}
    return sse.frame(orjson.dumps({**head, "choices": [choice]}))


def steps() -> dict[str, Callable[[bytes], object]]:
    reader = chat.ChatReader(Identity("x", 1, MODEL))
    stream = Stream("bench", "e", StreamConfig(max_log_bytes=1 << 30), Ends())
    stream.join(chunked=True).attach(Sink())
    ends = Ends(stream)
    ends.body = StreamBody(ends, Identity("x", 1, MODEL))
    for text in ("role comes first", " second"):
        reader.read(block(text))
        ends.body.feed(block(text))
    return {
        "BlockDecoder.feed, one event a read": sse.BlockDecoder().feed,
        "Lane.fit, a chunk of the known shape": reader.lane.fit,
        "ChatReader.read, the full reading": reader.read,
        "orjson.loads alone": lambda data: orjson.loads(data[6:]),
        "Stream.on_frame to one subscriber": stream.on_frame,
        "from the body's bytes to the sink": ends.body.feed,
    }


def microseconds(step: Callable[[bytes], object], turns: int) -> float:
    data = block(" token")
    step(data)
    start = time.perf_counter()
    for _ in range(turns):
        step(data)
    return (time.perf_counter() - start) / turns * 1e6


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    return {"steps": {name: {"us": microseconds(step, given.turns)} for name, step in steps().items()}}


def tables(report: Report) -> list[Table]:
    return [Table.of("step", (Column("us", "us"),), report["steps"])]


BENCH = Bench("micro", __doc__, (Option("--turns", bounded(1, 10**7), 100_000, "of each step"),), measure, tables)
main = BENCH.main

if __name__ == "__main__":
    sys.exit(main())
