"""Wiring: what do the steps of reading a token cost in one process, without sockets?

Warm figures of one stream, for comparing two ways of a step; in a gateway with hundreds of streams each step costs
about twice as much (bench/relay.py), since nothing is in the processor's caches. This is the one bench that imports
the gateway.
"""

import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson

from bench.kit.command import Bench, Given
from bench.kit.script import MODEL, script
from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import AnswerIdentity
from gateway.wire import sse

*LEARNT, EVENT = script(0, 3).events[:4]  # the role and two tokens, then the token that is read again and again


def steps() -> dict[str, Callable[[bytes], object]]:
    reader = CHAT.reader(AnswerIdentity("x", 1, MODEL))
    for event in LEARNT:
        reader.read(event)
    return {
        "BlockDecoder.feed, one event a read": sse.BlockDecoder().feed,
        "LearnedShape.fit, an event of the known shape": reader.shape.fit,
        "ChatReader.read, the full reading": reader.read,
        "orjson.loads alone": lambda data: orjson.loads(data[6:]),
    }


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    seconds = {name: timeit.timeit(partial(step, EVENT), number=given.turns) for name, step in steps().items()}
    return {"steps": {name: {"us": spent / given.turns * 1e6} for name, spent in seconds.items()}}


BENCH = Bench("micro", __doc__, measure)
BENCH.run_as(__name__)
