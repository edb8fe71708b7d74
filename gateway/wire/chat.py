"""Pure: reads the event blocks of one chat completion and says what each means to the stream.

In: blocks from `sse.BlockDecoder`. Out: the frame to relay, the very bytes that came if they already conform
(CONTRACT.md section 4), and what the relay acts on: content, finish, usage, error, `[DONE]`. Usage is taken out
of the chunks here and told once, at the end, by the relay.
"""

import json
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.wire import sse
from gateway.wire.repair import Identity, complete_usage, has_content, repair_chunk
from gateway.wire.template import Template, learn

MAX_ERROR_TEXT = 500  # characters of an upstream's message that we pass on
_USELESS_TEMPLATES = 8  # so many in a row that never matched: this provider's chunks have no common shape

_LINE_ENDS = ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))
_TEXT_KEYS = ("content", "reasoning_content", "reasoning", "refusal")


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one block means. `frame` is None when readers get nothing of it; `error` is the upstream's message."""

    frame: bytes | None = None
    content: bool = False
    finish: bool = False
    done: bool = False
    error: str | None = None


_NOTHING = Chunk()
_DONE = Chunk(done=True)


class ChatReader:
    """Reads one completion's blocks. `fit` is the hot path, `read` the full one; `fit` first, `read` if None."""

    __slots__ = ("_closed", "_identity", "_open", "_template", "_useless", "text_bytes", "text_events", "usage")

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._open: set[int] = set()  # choices that have begun and not finished
        self._closed: set[int] = set()  # choices that have finished
        self._template: Template | None = None
        self._useless = 0
        self.usage: dict[str, Any] | None = None  # the provider's own counts, complete, or None
        self.text_events = 0
        self.text_bytes = 0

    @property
    def finished(self) -> bool:
        """Whether a finish was seen and no choice is left open."""
        return bool(self._closed) and not self._open

    def fit(self, block: bytes) -> bytes | None:
        """The frame of a plain content chunk of the shape seen before, else None: `read` it then."""
        template = self._template
        if template is None:
            return None
        frame = template.match(block)
        if frame is not None:
            self.text_events += 1
            self.text_bytes += template.text_length
            self._useless = 0
        return frame

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
        chunk = _loads(data)
        if not isinstance(chunk, dict):
            return Chunk(error="the upstream sent an event that is not a JSON object")
        if (error := error_message(chunk, named=name == b"error")) is not None:
            return Chunk(error=error)
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
        over = self.finished
        content, finish = self._count(chunk["choices"])
        if over and not content:
            return _NOTHING  # nothing stands between the finish and the end
        frame = _encode(chunk) if changed or block is None else _escape_line_ends(block)
        if content and not finish and block is not None and roles == len(self._identity.roles_seen):
            self._learn(chunk, block, frame)
        return Chunk(frame, content=content, finish=finish)

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
                self.text_events += 1
                self.text_bytes += sum(len(text) for _, text in _texts(delta))
            if choice["finish_reason"] is not None:
                finish = True
                self._open.discard(index)
                self._closed.add(index)
        return content, finish

    def _learn(self, chunk: dict[str, Any], block: bytes, frame: bytes) -> None:
        if len(chunk["choices"]) != 1 or self._useless >= _USELESS_TEMPLATES:
            return
        texts = list(_texts(chunk["choices"][0]["delta"]))
        if len(texts) == 1:
            self._useless += 1
            self._template = learn(block, frame, ("choices", 0, "delta", *texts[0][0]))


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
    if isinstance(error, list | dict):
        error = orjson.dumps(error).decode()
    return str(error or "the upstream gave no message")[:MAX_ERROR_TEXT]


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


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except ValueError:
        pass
    try:
        # Takes lone surrogates and big integers, which orjson refuses; NaN stays refused, JavaScript cannot read it.
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _encode(chunk: dict[str, Any]) -> bytes:
    try:
        return _escape_line_ends(sse.frame(orjson.dumps(chunk)))
    except TypeError:  # lone surrogates, integers over 64 bits
        return sse.frame(json.dumps(chunk, separators=(",", ":")).encode())


def _escape_line_ends(frame: bytes) -> bytes:
    """U+0085, U+2028 and U+2029 as escapes: raw, they cut the line in some clients (CONTRACT.md 0.1)."""
    if frame.isascii():
        return frame
    for raw, escaped in _LINE_ENDS:
        frame = frame.replace(raw, escaped)
    return frame
