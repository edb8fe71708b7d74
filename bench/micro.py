"""Wiring: what do the steps of reading a token cost in one process, without sockets?

    python -m bench.micro [--turns 100000]

Warm figures of one stream, for comparing two ways of a step; in a gateway with hundreds of streams each step costs
about twice as much (bench/relay.py), since nothing is in the processor's caches. This is the one bench that imports
the gateway.
"""

import sys
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from bench.kit.command import Bench, Given
from bench.kit.script import MODEL
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import AnswerIdentity
from gateway.wire import sse


def block(text: str) -> bytes:
    """A content event of about 220 bytes, as providers send it."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    head = {"id": "chatcmpl-" + "x" * 24, "object": "chat.completion.chunk", "created": 1750000000, "model": MODEL}
    return sse.frame(orjson.dumps({**head, "choices": [choice]}))


def steps() -> dict[str, Callable[[bytes], object]]:
    reader = CHAT.reader(AnswerIdentity("x", 1, MODEL))
    for text in ("role comes first", " second", " token"):
        reader.read(block(text))
    return {
        "BlockDecoder.feed, one event a read": sse.BlockDecoder().feed,
        "LearnedShape.fit, an event of the known shape": reader.shape.fit,
        "ChatReader.read, the full reading": reader.read,
        "orjson.loads alone": lambda data: orjson.loads(data[6:]),
    }


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    data, turns = block(" token"), given.turns
    seconds = {name: timeit.timeit(partial(step, data), number=turns) for name, step in steps().items()}
    return {"steps": {name: {"us": spent / turns * 1e6} for name, spent in seconds.items()}}


BENCH = Bench("micro", __doc__, measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
