"""Pure: reads the event blocks of one response and says what each means to the relay.

In: blocks from `sse.BlockDecoder`. Out: the frame to relay, which is the very block if its data is one line and its
number is above the last one, and what the relay acts on: content, error, the terminal event. The invariant: the
numbers of the frames go up, those of a break included, so that a client can ask for all events behind a number.
"""

from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import Any

from gateway.dialects.dialect import AnswerIdentity, AnswerReport, Meaning, UpstreamMessage
from gateway.dialects.learned_shape import AnswerMemory, Counts, Sample
from gateway.dialects.long_event import LongEvent, TooMuch
from gateway.dialects.numbered_shape import NumberedShape
from gateway.dialects.reported_usage import ReportedUsage, read_usage
from gateway.dialects.responses import closing, events
from gateway.dialects.responses.errors import (
    REPORTED,
    is_error,
    read_event_error,
    read_failed,
    read_refusal,
    words_of,
)
from gateway.dialects.responses.shapes import EVENT
from gateway.dialects.responses.texts import item_bytes, output_bytes, text_bytes
from gateway.dialects.usage import Usage, estimate
from gateway.errors import RivergateError
from gateway.wire import json_text

MAX_LINES = 20_000  # lines of one event; one that is printed prettily has fewer
MAX_SAMPLE_BYTES = 16384  # a larger event is no token, and teaches no shape
_NO_EVENT = "the upstream sent an event that is not a JSON object"
_OTHER_API = "the upstream answered in another API than /v1/responses"
_FOREIGN = ("choices", "candidates")  # members of the events of other APIs
_FOREIGN_TYPE = "message"  # begins the type of an answer of Anthropic's, and that of the event by which it begins
_IDENTITY = ("id", "object", "created_at", "model")  # members of a long response that a break repeats
_NOTHING = Meaning()


class ResponsesReader:
    """Reads the blocks of one response: each by `shape.fit`, or by `read` where that gives None."""

    __slots__ = (
        "_identity",
        "_is_owed",
        "_item_began",
        "_last",
        "_long",
        "_read_events",
        "_terminal",
        "_usage",
        "_words",
        "counts",
        "response_id",
        "shape",
    )

    unfinished = closing.UNFINISHED
    finished = False  # the end of the body is a break, unless the terminal event came

    def __init__(self, identity: AnswerIdentity, memory: AnswerMemory | None = None) -> None:
        self._identity = identity
        self._last: bytes | dict[str, Any] = {}  # the last frame with a response; of a long one, what identifies it
        self._long: LongEvent | None = None  # the event that is being read in short
        self._read_events = 0  # events with text that did not fit the shape
        self._item_began = 0  # how many events with text had come when the present item began
        self._terminal: bytes | None = None  # the frame of the terminal event
        self._is_owed = False  # the terminal event came without its blank line, and was not relayed
        self._usage: ReportedUsage | None = None
        self._words: tuple[UpstreamMessage | None, int] = (None, 0)  # words of no event, behind how many with text
        self.response_id: str | None = None  # of the first event that names it
        self.counts = Counts()
        self.shape = NumberedShape(self.counts)

    @property
    def last_words(self) -> UpstreamMessage | None:
        """What an upstream said in place of an event, if nothing came after it."""
        words, at = self._words
        return words if at == self.counts.events else None

    def read_beginning(self, data: bytes) -> tuple[list[bytes], int] | None:
        """None: how answers begin is not remembered, since their first events repeat the request."""
        return None

    def read_rest(self, data: bytes) -> bytes | None:
        """None: how answers end is not remembered, since their last events repeat the answer."""
        return None

    def read(self, block: bytes) -> Meaning:
        """The meaning of any block. Never raises: a block that cannot be understood becomes an `error`."""
        if len(block) > MAX_LINES and block.count(b"\n") > MAX_LINES:
            return Meaning(error=f"the upstream sent an event of more than {MAX_LINES} lines")
        name, data, is_frame = events.taken_apart(block)
        if data is None:
            text = block.strip()  # an object in place of an event
            return self.read(b"data: " + text.replace(b"\n", b" ") + b"\n\n") if text[:1] == b"{" else _NOTHING
        if data.strip() == b"[DONE]":
            return Meaning(error="the upstream sent [DONE] before a terminal event")
        try:
            payload = json_text.loads(data)
        except ValueError:
            try:
                payload, data = json_text.loads_with_nulls(data), json_text.with_nulls(data)
            except ValueError:
                payload = None
            is_frame = False
        if not isinstance(payload, dict):
            return Meaning(error=REPORTED if name == b"error" else _NO_EVENT, told=words_of(data))
        try:
            if not is_frame:
                return self._read_object(payload, None, events.frame_of(data, name), name)
            return self._read_object(payload, block, json_text.escape_line_ends(block), name)
        except ValueError as problem:
            return Meaning(error=f"the upstream sent an event that cannot be relayed: {problem}")

    def read_in_steps(self, block: bytes) -> Generator[None, None, Meaning]:
        """The meaning of a long block: its short block is read as any other, and the frame filled with the rest."""
        event = LongEvent(block, EVENT, MAX_LINES)
        try:
            short = yield from event.shortened()
        except TooMuch as problem:
            return Meaning(error=str(problem))
        except ValueError:
            return self.read(event.beginning())
        yield
        counted, self._long = self.counts.events, event
        meaning = self.read(short) if short else _NOTHING
        self._long = None
        if meaning.told is not None:
            return meaning._replace(told=replace(meaning.told, text=event.words(meaning.told.text)))
        if meaning.frame is None:
            return meaning
        if self.counts.events > counted:
            self.counts.text_bytes += event.hidden_text_bytes(meaning.frame)
        yield
        frame = yield from event.frame(meaning.frame)
        if meaning.done:
            self._terminal = frame
        return meaning._replace(frame=frame)

    def is_terminal(self, rest: bytes) -> bool:
        """Whether the last bytes of a body, which lack their blank line, are the terminal event."""
        self._is_owed = self._terminal is not None or self.read(rest + b"\n\n").done
        return self._is_owed

    def usage(self, prompt_tokens: int) -> Usage:
        """The upstream's counts once they have come, else our own estimate."""
        own = estimate(prompt_tokens, self.counts.events, self.counts.text_bytes)
        return own if self._usage is None else self._usage.usage(own)

    def closing_frames(self, report: AnswerReport | None, finish_frame: bytes | None) -> list[bytes]:
        """The terminal event, if it was not relayed yet. It has the usage; there is no place for a report."""
        if finish_frame is not None:
            return [finish_frame]
        return [self._terminal] if self._is_owed and self._terminal is not None else []

    def break_frames(self, error: RivergateError) -> list[bytes]:
        """The two frames that every client understands as an error."""
        number, known = self.shape.next_number, self._last
        if isinstance(known, bytes):
            known = json_text.loads(events.taken_apart(known).data or b"")["response"]
        try:
            return closing.break_frames(error, number, closing.response_of(self._identity, known))
        except ValueError:  # the response is nested too deeply
            known = {name: known[name] for name in _IDENTITY if name in known}
            return closing.break_frames(error, number, closing.response_of(self._identity, known))

    # --- inside

    def _read_object(self, payload: dict[str, Any], block: bytes | None, frame: bytes, name: bytes | None) -> Meaning:
        """The meaning of an event, of which `frame` is the frame unless a member is missing.

        `block`: the block, if it is a frame as it stands.
        """
        kind, named = payload.get("type"), (name or b"").decode("utf-8", "replace")
        missing: dict[str, Any] = {}
        if not isinstance(kind, str):
            if not named.startswith((events.OWN, events.ERROR)):
                return self._read_untyped(payload)
            missing["type"] = kind = named
        if events.ERROR in (kind, named) or events.is_foreign_error(kind, payload):
            return Meaning(error=REPORTED, told=read_event_error(payload))
        if "." not in kind and self.response_id is None and kind.startswith(_FOREIGN_TYPE):
            return Meaning(error=_OTHER_API)
        number = events.number_in(payload)
        if number is None or number < self.shape.next_number:
            missing[events.NUMBER] = number = self.shape.next_number
        if missing:
            frame = events.mended(payload, missing, frame, name)
        meaning = self._read_numbered(kind, payload, block, frame)
        self.shape.expect(number + 1)
        return meaning

    def _read_numbered(self, kind: str, payload: dict[str, Any], block: bytes | None, frame: bytes) -> Meaning:
        """The meaning of an event of this type, which has nothing missing."""
        response = payload.get("response")
        if isinstance(response, dict):
            return self._read_lifecycle(kind, response, frame)
        if kind in events.TERMINAL:
            return Meaning(error=f"the upstream sent {kind} without a response")
        content = events.is_content(kind, payload)
        if content:
            self._count(kind, payload)
            if kind in events.TEXT_DELTAS and block is not None:
                self._keep_sample(block, frame)
        elif kind == events.ITEM_ADDED:
            self._item_began = self.counts.events
        return Meaning(frame, content=content)

    def _read_lifecycle(self, kind: str, response: dict[str, Any], frame: bytes) -> Meaning:
        """The meaning of an event that tells the whole response, as far as it has come."""
        if self.response_id is None and isinstance(found := response.get("id"), str):
            self.response_id = found
        self._last = frame if self._long is None else self._identified(response, self._long)
        told = read_failed(response)
        if kind in events.TERMINAL:
            self._usage = read_usage(response.get("usage"))
        if told is not None or kind == events.FAILED:
            return Meaning(error=REPORTED, told=told or read_event_error({}))
        if kind not in events.TERMINAL:
            return Meaning(frame, content=events.is_content(kind, response))
        size = output_bytes(response)
        if not self.counts.events and (size or self._long is not None):
            self._add(size)
        self._terminal = frame
        return Meaning(frame, content=True, finish=True, done=True)

    def _read_untyped(self, payload: dict[str, Any]) -> Meaning:
        """The meaning of an object that does not say what it is."""
        if is_error(payload):
            return Meaning(error=REPORTED, told=read_refusal(payload) or read_event_error({}))
        if payload.get("object") == "response":
            return Meaning(error="the upstream sent a whole response in place of events")
        if not payload.keys().isdisjoint(_FOREIGN):
            return Meaning(error=_OTHER_API)
        self._words = (read_refusal(payload), self.counts.events)
        return _NOTHING

    def _count(self, kind: str, payload: dict[str, Any]) -> None:
        """Count the text of an event with content: what comes in pieces, or the whole of what did not."""
        if kind in events.TEXT_DELTAS:
            self._add(text_bytes(payload["delta"]))
        elif self.counts.events == self._item_began:
            if kind in events.WHOLE_TEXTS:
                size = text_bytes(payload.get(events.WHOLE_TEXTS[kind]))
            else:
                size = item_bytes(payload.get("item")) if kind == events.ITEM_DONE else 0
            if size:
                self._add(size)

    def _add(self, size: int) -> None:
        """Count one more event, with `size` bytes of text."""
        self._read_events += 1
        self.counts.events += 1
        self.counts.text_bytes += size

    def _keep_sample(self, block: bytes, frame: bytes) -> None:
        if self._long is None and len(block) <= MAX_SAMPLE_BYTES and self.shape.wants_samples:
            hits = self.counts.events - self._read_events
            self.shape.learn_from(partial(Sample, block, frame, ("delta",), hits, events.NUMBER, "obfuscation"))

    def _identified(self, response: dict[str, Any], event: LongEvent) -> dict[str, Any]:
        """The members of a long response that a break repeats."""
        found = {name: response[name] for name in _IDENTITY if name in response}
        return {name: event.words(value) if isinstance(value, str) else value for name, value in found.items()}
