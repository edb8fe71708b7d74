"""Pure: reads the event blocks of one chat completion and says what each means to the relay.

In: blocks from `sse.BlockDecoder`. Out: the frame to relay, which is the very block if strict clients accept it, and
what the relay acts on: content, finish, error, `[DONE]`. The reader takes the usage out of the chunk objects; the
client gets it once, at the end, in the closing frames.
"""

from functools import partial
from typing import Any

from gateway.dialects.chat import closing
from gateway.dialects.chat.errors import read_error
from gateway.dialects.chat.frames import encode, escape_line_ends
from gateway.dialects.chat.repair import Identity, has_content, plain_text, repair_event, reported_usage
from gateway.dialects.dialect import AnswerReport, Meaning
from gateway.dialects.learned_shape import Counts, LearnedShape, Sample
from gateway.dialects.usage import Usage, estimate
from gateway.errors import RivergateError
from gateway.wire import json_text, sse

_TEXT_KEYS = ("content", "reasoning_content", "reasoning", "refusal")
_NOTHING = Meaning()
_DONE = Meaning(done=True)


class ChatReader:
    """Reads the blocks of one completion: each by `shape.fit`, or by `read` where that gives None."""

    __slots__ = ("_closed", "_identity", "_open", "_read_events", "_reported", "counts", "shape")

    unfinished = closing.UNFINISHED

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._open: set[int] = set()  # choices that have begun and not finished
        self._closed: set[int] = set()  # choices that have finished
        self._reported: Usage | None = None  # the upstream's own counts
        self.counts = Counts()
        self.shape = LearnedShape(self.counts)
        self._read_events = 0  # events with content that did not fit the shape

    @property
    def finished(self) -> bool:
        """Whether a finish was seen and no choice is left open."""
        return bool(self._closed) and not self._open

    def read(self, block: bytes) -> Meaning:
        """The meaning of any block. Never raises: a block that cannot be understood becomes an `error`."""
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
            payload = json_text.loads(data)
        except ValueError:
            payload = None
        if not isinstance(payload, dict):
            return Meaning(error="the upstream sent an event that is not a JSON object")
        if plain and not self._closed:
            roles = len(self._identity.roles_seen)
            if (text := plain_text(payload, self._identity)) is not None:
                return self._read_plain(payload, text, block, is_first=roles != len(self._identity.roles_seen))
        if (message := read_error(payload, named=name == b"error")) is not None:
            return Meaning(error="the upstream reported an error", quoted=message.text)
        if not isinstance(payload.get("choices"), list):
            payload["choices"] = []
        try:
            return self._read_payload(payload, block if plain else None)
        except ValueError as problem:
            return Meaning(error=f"the upstream sent a chunk that is not one: {problem}")

    def is_terminal(self, rest: bytes) -> bool:
        """Whether the last bytes of a body are `[DONE]` without its blank line."""
        return sse.decode(rest).data == b"[DONE]"

    def usage(self, prompt_tokens: int) -> Usage:
        """The upstream's counts once they have come, else our own estimate."""
        return self._reported or estimate(prompt_tokens, self.counts.events, self.counts.text_bytes)

    def closing_frames(self, report: AnswerReport | None, finish_frame: bytes | None) -> list[bytes]:
        """The frames before `[DONE]`: the finish if it was held back, and the report, in it or as an event."""
        return closing.closing_frames(self._identity, report, finish_frame)

    def break_frames(self, error: RivergateError) -> list[bytes]:
        """The frame of the one event that every SDK raises as an error."""
        return closing.break_frames(error)

    def _read_payload(self, payload: dict[str, Any], block: bytes | None) -> Meaning:
        changed = self._take_usage(payload)
        if not payload["choices"]:
            # An event without choices breaks clients that read the first choice unasked; usage is sent at the end.
            return _NOTHING
        roles = len(self._identity.roles_seen)
        changed = repair_event(payload, self._identity) or changed
        over, closed = self.finished, len(self._closed)
        content, finish = self._count(payload["choices"])
        if over and not content and self.finished and len(self._closed) == closed:
            return _NOTHING  # an event after the last finish is dropped, unless it begins another choice
        frame = encode(payload) if changed or block is None else escape_line_ends(block)
        if content and not finish and block is not None and roles == len(self._identity.roles_seen):
            self._keep_sample(payload, block, frame)
        return Meaning(frame, content=content, finish=finish)

    def _read_plain(self, payload: dict[str, Any], text: str, block: bytes, *, is_first: bool) -> Meaning:
        """The meaning of an event that is plain text; `is_first`: it is the first event of its choice."""
        self._open.add(payload["choices"][0]["index"])
        frame = escape_line_ends(block)
        if not text:
            return Meaning(frame)
        self._add(len(text.encode("utf-8", "surrogatepass")))
        if not is_first:
            self._keep_sample(payload, block, frame)
        return Meaning(frame, content=True)

    def _add(self, text_bytes: int) -> None:
        """Count one more event, with `text_bytes` bytes of text."""
        self._read_events += 1
        self.counts.events += 1
        self.counts.text_bytes += text_bytes

    def _take_usage(self, payload: dict[str, Any]) -> bool:
        before = len(payload)
        self._reported = reported_usage(payload.pop("usage", None)) or self._reported
        payload.pop("routing_metadata", None)  # an upstream may be a gateway, and speak of its own routing
        return len(payload) != before

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

    def _keep_sample(self, payload: dict[str, Any], block: bytes, frame: bytes) -> None:
        if len(payload["choices"]) == 1 and self.shape.wants_samples:
            hits = self.counts.events - self._read_events
            self.shape.learn_from(partial(_sample, payload, block, frame, hits))


def _sample(payload: dict[str, Any], block: bytes, frame: bytes, hits: int) -> Sample | None:
    """The sample that a shape learns from; None if this event has not exactly one string that may change."""
    texts = _texts(payload["choices"][0]["delta"])
    return Sample(block, frame, ("choices", 0, "delta", *texts[0][0]), hits) if len(texts) == 1 else None


def _texts(delta: dict[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
    """The strings of a delta, with their paths, that may change from one event to the next; empty ones left out."""
    found: list[tuple[tuple[str | int, ...], str]] = [
        ((key,), text) for key in _TEXT_KEYS if isinstance(text := delta.get(key), str) and text
    ]
    for position, call in enumerate(delta.get("tool_calls") or ()):
        arguments = (call.get("function") or {}).get("arguments")
        if arguments:
            found.append((("tool_calls", position, "function", "arguments"), arguments))
    return found
