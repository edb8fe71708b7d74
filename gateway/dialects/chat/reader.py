"""Pure: reads the event blocks of one chat completion and says what each means to the stream.

In: blocks from `sse.BlockDecoder`. Out: the frame to relay, the very bytes that came if they already conform
(CONTRACT.md section 4), and what the relay acts on: content, finish, usage, error, `[DONE]`. Usage is taken out
of the chunks here and told once, at the end, by the relay.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from gateway.dialects.chat.repair import Identity, complete_usage, has_content, plain_text, repair_chunk
from gateway.dialects.learned_shape import Counts, LearnedShape, Sample
from gateway.wire import json_text, sse

MAX_ERROR_TEXT = 500  # characters of an upstream's message that we pass on

_LINE_ENDS = ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))
_TEXT_KEYS = ("content", "reasoning_content", "reasoning", "refusal")


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one block means. `frame` is None when readers get nothing of it.

    `error` says in our words what is wrong, `quoted` in the upstream's, if it was the upstream that said so.
    """

    frame: bytes | None = None
    content: bool = False
    finish: bool = False
    done: bool = False
    error: str | None = None
    quoted: str = ""


_NOTHING = Chunk()
_DONE = Chunk(done=True)


class ChatReader:
    """Reads one completion's blocks. `shape.fit` is the short way, `read` the full one if that gave None."""

    __slots__ = (
        "_closed",
        "_identity",
        "_open",
        "_read_events",
        "counts",
        "shape",
        "usage",
    )

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._open: set[int] = set()  # choices that have begun and not finished
        self._closed: set[int] = set()  # choices that have finished
        self.usage: dict[str, Any] | None = None  # the provider's own counts, complete, or None
        self.counts = Counts()
        self.shape = LearnedShape(self.counts)
        self._read_events = 0  # of those counted: the others were on the shape

    @property
    def finished(self) -> bool:
        """Whether a finish was seen and no choice is left open."""
        return bool(self._closed) and not self._open

    def read(self, block: bytes) -> Chunk:
        """The full reading of any block. Never raises: what cannot be understood comes back as `error`."""
        name, data = None, block[6:-2]
        plain = sse.is_frame(block)
        if not plain:
            event = sse.decode(block)
            if event.data is None:
                return _NOTHING
            name, data = event.name, event.data
        if data.strip() == b"[DONE]":
            return _DONE
        try:
            chunk = json_text.loads(data)
        except ValueError:
            chunk = None
        if not isinstance(chunk, dict):
            return Chunk(error="the upstream sent an event that is not a JSON object")
        if plain and not self._closed:
            roles = len(self._identity.roles_seen)
            if (text := plain_text(chunk, self._identity)) is not None:
                return self._read_plain(chunk, text, block, is_first=roles != len(self._identity.roles_seen))
        if (error := error_message(chunk, named=name == b"error")) is not None:
            return Chunk(error="the upstream reported an error", quoted=error)
        if not isinstance(chunk.get("choices"), list):
            chunk["choices"] = []
        try:
            return self._read_chunk(chunk, block if plain else None)
        except ValueError as problem:
            return Chunk(error=f"the upstream sent a chunk that is not one: {problem}")

    def identity(self) -> dict[str, Any]:
        """The fields that every chunk of this completion shares, for an event of our own."""
        own = self._identity
        return {"id": own.id, "object": "chat.completion.chunk", "created": own.created, "model": own.model}

    def _read_chunk(self, chunk: dict[str, Any], block: bytes | None) -> Chunk:
        changed = self._take_usage(chunk)
        if not chunk["choices"]:
            return _NOTHING  # an event without choices breaks unguarded loops; its usage is told at the end
        roles = len(self._identity.roles_seen)
        changed = repair_chunk(chunk, self._identity) or changed
        over, closed = self.finished, len(self._closed)
        content, finish = self._count(chunk["choices"])
        if over and not content and self.finished and len(self._closed) == closed:
            return _NOTHING  # nothing stands between the finish and the end, unless another choice begins
        frame = _encode(chunk) if changed or block is None else _escape_line_ends(block)
        if content and not finish and block is not None and roles == len(self._identity.roles_seen):
            self._keep_sample(chunk, block, frame)
        return Chunk(frame, content=content, finish=finish)

    def _read_plain(self, chunk: dict[str, Any], text: str, block: bytes, *, is_first: bool) -> Chunk:
        """A chunk of the only choice with this text; `is_first`: it begins the choice."""
        self._open.add(chunk["choices"][0]["index"])
        frame = _escape_line_ends(block)
        if not text:
            return Chunk(frame)
        self._add(len(text.encode("utf-8", "surrogatepass")))
        if not is_first:
            self._keep_sample(chunk, block, frame)
        return Chunk(frame, content=True)

    def _add(self, text_bytes: int) -> None:
        """One more event with so much text."""
        self._read_events += 1
        self.counts.events += 1
        self.counts.text_bytes += text_bytes

    def _take_usage(self, chunk: dict[str, Any]) -> bool:
        before = len(chunk)
        self.usage = complete_usage(chunk.pop("usage", None)) or self.usage
        chunk.pop("routing_metadata", None)  # a gateway upstream of us speaks of its own routing
        return len(chunk) != before

    def _count(self, choices: list[dict[str, Any]]) -> tuple[bool, bool]:
        content = finish = False
        for choice in choices:
            delta, index = choice["delta"], choice["index"]
            if index not in self._closed:
                self._open.add(index)
            if has_content(delta):
                content = True
                self._add(sum(len(text.encode("utf-8", "surrogatepass")) for _, text in _texts(delta)))
            if choice["finish_reason"] is not None:
                finish = True
                self._open.discard(index)
                self._closed.add(index)
        return content, finish

    def _keep_sample(self, chunk: dict[str, Any], block: bytes, frame: bytes) -> None:
        if len(chunk["choices"]) == 1 and self.shape.wants_samples:
            hits = self.counts.events - self._read_events
            self.shape.learn_from(partial(_sample, chunk, block, frame, hits))


def _sample(chunk: dict[str, Any], block: bytes, frame: bytes, hits: int) -> Sample | None:
    """What a shape learns from; None if not exactly one string of this chunk may change in the next."""
    texts = _texts(chunk["choices"][0]["delta"])
    return Sample(block, frame, ("choices", 0, "delta", *texts[0][0]), hits) if len(texts) == 1 else None


def extended(frame: bytes, fields: dict[str, Any]) -> bytes:
    """A chunk's frame with more fields at its top level."""
    return _encode({**json_text.loads(frame[6:]), **fields})


def error_message(body: dict[str, Any], *, named: bool = False) -> str | None:
    """The message of an upstream's error object in any of the usual shapes, or None if it is no error.

    `named`: the event was called `error`, so that whatever it holds is one.
    """
    error = body.get("error")
    if not error:
        flat = named or body.get("type") == "error" or body.get("object") == "error"
        if "choices" in body or not (flat or "detail" in body):
            return None
        error = body
    if isinstance(error, dict):
        error = next((error[key] for key in ("message", "detail", "error") if error.get(key)), None)
    try:
        text = json_text.dumps(error).decode() if isinstance(error, list | dict) else str(error or "")
    except ValueError:
        text = ""
    # A lone surrogate could not be told on.
    text = text[:MAX_ERROR_TEXT].encode("utf-8", "replace").decode()
    return text or "the upstream gave no message"


def _texts(delta: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """The non-empty strings of a delta with their paths: what a later chunk may change and keep its shape."""
    found: list[tuple[tuple[str | int, ...], str]] = [
        ((key,), text) for key in _TEXT_KEYS if isinstance(text := delta.get(key), str) and text
    ]
    for position, call in enumerate(delta.get("tool_calls") or ()):
        arguments = (call.get("function") or {}).get("arguments")
        if arguments:
            found.append((("tool_calls", position, "function", "arguments"), arguments))
    return found


def _encode(chunk: dict[str, Any]) -> bytes:
    return _escape_line_ends(sse.frame(json_text.dumps(chunk)))


def _escape_line_ends(frame: bytes) -> bytes:
    """U+0085, U+2028 and U+2029 as escapes: raw, they cut the line in some clients (CONTRACT.md 0.1)."""
    if frame.isascii():
        return frame
    for raw, escaped in _LINE_ENDS:
        frame = frame.replace(raw, escaped)
    return frame
