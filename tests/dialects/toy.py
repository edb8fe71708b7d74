"""A second dialect, small and unlike chat: named events, no terminal behind the frames, and cumulative usage.

A request: `{"model": "m", "ask": "…", "live": true}`. A streamed answer:

    event: start    data: {"id": "…", "in": 3}      held until the first text
    event: text     data: {"text": "…"}
    event: count    data: {"out": 2}                all is said; later values replace earlier ones; not for clients
    event: end      data: {"why": "done"}           the terminal event, which clients get

A whole answer: `{"text": "…", "in": 3, "out": 2}`. An error, as an answer or an event `failure`: `{"reason": "…"}`.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import orjson

from gateway.dialects.body_changes import BodyChanges
from gateway.dialects.dialect import AnswerIdentity, AnswerKeeping, AnswerReport, Meaning, Refusal, UpstreamMessage
from gateway.dialects.extension import ExtendedRequest
from gateway.dialects.learned_shape import AnswerMemory, Counts, LearnedShape, Sample
from gateway.dialects.request_body import BodyReading, RequestBody
from gateway.dialects.usage import Usage, estimate, text_tokens
from gateway.errors import InvalidParameter, RivergateError, UpstreamError
from gateway.wire import sse
from gateway.wire.json_members import Buffer


@dataclass(slots=True)
class ToyRequest(ExtendedRequest):
    """A checked request: the question, and whether the answer is to be streamed."""

    streamed: bool
    ask: str

    def wants_usage(self) -> bool:
        return True

    def max_output_tokens(self, unlimited: int) -> int:
        return unlimited

    def estimate_prompt_tokens(self) -> int:
        return text_tokens(len(self.ask))

    def length_tells_tokens(self) -> bool:
        return True

    def without_usage(self) -> "ToyRequest":
        return self

    def look_for_drops(self, changes: BodyChanges) -> Iterator[None]:
        return iter(())

    def upstream_body(
        self,
        model: str,
        *,
        streamed: bool,
        include_usage: bool,
        takes_models: bool = False,
        changes: BodyChanges | None = None,
    ) -> bytes:
        body = {"model": model, "ask": self.ask, "live": streamed}
        return orjson.dumps(body if changes is None else changes.apply(body))

    def untaken_fields(self, *, takes_models: bool) -> list[str]:
        return []

    def release(self) -> None:
        """Nothing: the question is short."""


class ToyReader:
    """Reads the events of one streamed answer."""

    unfinished = "no end"
    last_words = None

    def read_beginning(self, data: bytes) -> None:
        return None

    def read_rest(self, data: bytes) -> None:
        return None

    def __init__(self, identity: AnswerIdentity) -> None:
        self._identity = identity
        self._prompt_tokens: int | None = None
        self._completion_tokens: int | None = None
        self.counts = Counts()
        self.shape = LearnedShape(self.counts)
        self.finished = False
        self._ended = False

    def read(self, block: bytes) -> Meaning:
        event = sse.decode(block)
        data = orjson.loads(event.data or b"{}")
        match event.name:
            case b"start":
                self._prompt_tokens = data["in"]
                return Meaning(block)
            case b"text":
                self.counts.events += 1
                self.counts.text_bytes += len(data["text"].encode())
                self.shape.learn_from(lambda: Sample(block, block, ("text",), 1))
                return Meaning(block, content=True)
            case b"count":
                self._completion_tokens = data["out"]
                self.finished = True
                return Meaning()
            case b"end":
                self.finished = self._ended = True
                return Meaning(block, finish=True, done=True)
            case b"failure":
                return Meaning(error="the upstream reported an error", told=UpstreamMessage(data["reason"]))
        return Meaning()

    def read_in_steps(self, block: bytes) -> Generator[None, None, Meaning]:
        yield
        return self.read(block)

    def is_terminal(self, rest: bytes) -> bool:
        return False

    def usage(self, prompt_tokens: int) -> Usage:
        guess = estimate(self._prompt_tokens or prompt_tokens, self.counts.events, self.counts.text_bytes)
        if self._prompt_tokens is None or self._completion_tokens is None:
            return guess
        return Usage(self._prompt_tokens, self._completion_tokens, estimated=False)

    def closing_frames(self, report: AnswerReport | None, finish_frame: bytes | None) -> list[bytes]:
        if finish_frame is not None:
            return [finish_frame]
        return [] if self._ended else [END]

    def break_frames(self, error: RivergateError) -> list[bytes]:
        return [sse.control("failure", {"reason": error.message, "of": self._identity.model})]


@dataclass(frozen=True, slots=True)
class ToyDocument:
    """A whole answer."""

    answer: dict[str, Any]

    def usage(self, prompt_tokens: int) -> Usage:
        return Usage(self.answer["in"], self.answer["out"], estimated=False)

    def encode(self, report: AnswerReport) -> bytes:
        return orjson.dumps({**self.answer, "by": report.metadata["provider"]})


class ToyJoiner:
    """Joins the texts of a streamed answer."""

    def __init__(self) -> None:
        self._text = ""

    def add(self, frame: bytes) -> None:
        self._text += orjson.loads(sse.decode(frame).data or b"{}").get("text", "")

    def add_in_steps(self, frame: bytes) -> Iterator[None]:
        yield
        self.add(frame)

    def document(self, usage: Callable[[int], Usage]) -> ToyDocument:
        used = usage(0)
        return ToyDocument({"text": self._text, "in": used.prompt_tokens, "out": used.completion_tokens})


class ToyDialect:
    """The dialect as the gateway sees it."""

    name = "toy"
    speaks = "chat"  # as every upstream does
    streams = True
    path = "/v1/toy"
    upstream_path = "/toy"
    forwarded: Mapping[str, str | None] = MappingProxyType({})
    forwards_query = False
    id_field: str | None = None
    keeping: AnswerKeeping | None = None
    operation = "play"
    keepalive = sse.control("still", {"there": True})
    terminal = b""

    def begin_reading(self, content: Buffer) -> BodyReading:
        return BodyReading(content)

    def parse(self, content: Buffer | RequestBody) -> ToyRequest:
        body = (content if isinstance(content, RequestBody) else RequestBody.read(content)).document
        if not isinstance(body.get("ask"), str):
            raise InvalidParameter("ask: must be a string", param="ask")
        return ToyRequest(body["model"], None, None, body.get("live", False), body["ask"])

    def reader(self, identity: AnswerIdentity, memory: AnswerMemory | None = None) -> ToyReader:
        return ToyReader(identity)

    def read_document(self, content: bytes | bytearray, identity: AnswerIdentity) -> ToyDocument:
        answer = orjson.loads(content)
        if "reason" in answer:
            raise UpstreamError("the upstream reported an error", quoted=answer["reason"])
        return ToyDocument(answer)

    def joiner(self) -> ToyJoiner:
        return ToyJoiner()

    def read_long_document(
        self, content: bytes | bytearray, identity: AnswerIdentity
    ) -> Generator[None, None, ToyDocument]:
        yield
        return self.read_document(content, identity)

    def read_error(self, body: Mapping[str, Any]) -> UpstreamMessage | None:
        return UpstreamMessage(body["reason"]) if "reason" in body else None

    def refusal(self, error: RivergateError, request_id: str) -> Refusal:
        body = {"reason": error.message, "request": request_id}
        return Refusal(error.status, {**error.headers(), "toy-request": request_id}, orjson.dumps(body))


TOY = ToyDialect()

START = sse.frame(b'{"id":"a1","in":3}', b"start")
COUNT = sse.frame(b'{"out":2}', b"count")
END = sse.frame(b'{"why":"done"}', b"end")


def text(words: str) -> bytes:
    """The event that bears these words."""
    return sse.frame(orjson.dumps({"text": words}), b"text")


def failure(reason: str) -> bytes:
    """The event that says why an answer breaks off."""
    return sse.frame(orjson.dumps({"reason": reason}), b"failure")
