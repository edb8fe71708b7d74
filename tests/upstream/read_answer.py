"""One answer of a chat upstream, read with a memory of earlier answers or without one, and all that came of it."""

from itertools import pairwise
from typing import Any, NamedTuple

import orjson

from gateway.dialects.chat.dialect import CHAT
from gateway.dialects.dialect import AnswerIdentity, AnswerReport
from gateway.dialects.learned_shape import AnswerMemory
from gateway.dialects.usage import Usage
from gateway.upstream.bodies import StreamBody

from .body_owner import Owner

IDENTITY = AnswerIdentity("1", 1, "m")
DONE = b"data: [DONE]\n\n"


def event(
    delta: dict[str, Any],
    answer_id: Any = "chatcmpl-1",
    created: Any = 1_750_000_000,
    finish: Any = None,
    **more: Any,
) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    payload = {
        "id": answer_id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": "gpt",
        "choices": [choice],
    }
    return b"data: " + orjson.dumps({**payload, **more}) + b"\n\n"


def role(**more: Any) -> bytes:
    return event({"role": "assistant", "content": ""}, **more)


def word(text: str, **more: Any) -> bytes:
    return event({"content": text}, **more)


def answer(answer_id: str = "chatcmpl-1", created: int = 1_750_000_000) -> list[bytes]:
    own = {"answer_id": answer_id, "created": created}
    return [role(**own), word("one", **own), word(" two", **own), event({}, finish="stop", **own), DONE]


class Way(NamedTuple):
    """How an answer is read. `chunked`: each read is one transfer chunk; `flows`: it is the answer that has won."""

    hold_finish: bool = False
    singly: bool = False
    flows: bool = True
    chunked: bool = False


PLAIN = Way()


class Whole:
    """One answer that is read, and all that came of it, read by read."""

    def __init__(self, reads: list[bytes], memory: AnswerMemory | None, way: Way = PLAIN) -> None:
        owner = Owner(flows=way.flows)
        owner.singly = way.singly or Owner.singly
        owner.body = body = StreamBody(owner, CHAT.reader(IDENTITY, memory), hold_finish=way.hold_finish)
        self.steps: list[tuple[object, ...]] = []
        for data in reads:
            if body.over:
                break
            chunk = b"%x\r\n%b\r\n" % (len(data), data)
            if not (way.chunked and body.events and body.feed_chunk(chunk)):
                for _ in body.feed(data) or ():
                    pass
            self.steps.append(
                (
                    list(owner.calls),
                    len(owner.frames),
                    body.counts.events,
                    body.counts.reported,
                    body.counts.text_bytes,
                    body.usage(7),
                    body.finished,
                    body.over,
                )
            )
        body.finish()
        report = AnswerReport(Usage(1, 2, estimated=False), {})
        self.seen = (
            (owner.calls, owner.frames, owner.error and owner.error.reason),
            (body.counts.events, body.counts.text_bytes, body.events, body.usage(7), body.finished),
            body.closing_frames(report),
            self.steps,
        )


def warm(events: list[bytes] | None = None) -> AnswerMemory:
    """The memory after one answer."""
    memory = AnswerMemory()
    Whole(events or answer(), memory)
    return memory


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if end > start]
