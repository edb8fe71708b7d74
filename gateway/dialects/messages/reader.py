"""Pure: reads the event blocks of one streamed message and says what each means to the relay.

In: blocks from `sse.BlockDecoder`. Out: the frame to relay, which is the very block if official clients accept it,
and what the relay acts on: content, the reason of the stop, an error, `message_stop`. The invariant: every frame has
the `event:` line by which clients go, with the `type` of its JSON.
"""

from collections.abc import Generator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from gateway.dialects.dialect import AnswerIdentity, AnswerReport, Meaning, UpstreamMessage
from gateway.dialects.learned_shape import AnswerMemory, Counts, LearnedShape, Sample
from gateway.dialects.long_event import LongEvent, TooMuch
from gateway.dialects.messages import errors, frames
from gateway.dialects.messages.repair import (
    TEXTS,
    block_bytes,
    delta_bytes,
    is_empty_block,
    repair_block,
    repair_message,
    repair_usage,
)
from gateway.dialects.messages.shapes import EVENT
from gateway.dialects.messages.told_usage import ToldUsage
from gateway.dialects.usage import Usage, estimate
from gateway.errors import RivergateError
from gateway.wire import json_text, sse

MAX_EVENT_VALUES = 60_000  # JSON values of one event: more would take the event loop for over 20 ms
MAX_LINES = 20_000  # lines of one event
MAX_GROWTH_BYTES = 65536  # what repair may add to an event, beside escapes, which at most double it
MAX_SAMPLE_BYTES = 16384  # a larger event is no token, and teaches no shape
MAX_SILENT = 1000  # pings and unknown events in a row that are relayed; more are a flood
MAX_KIND = 64  # characters of the name of an event
MAX_REPAIRED_BYTES = 1 << 18  # of an event with NaN in it, which takes 20 ms to read
MAX_WORDS = 500  # characters of an upstream's words that are passed on
_MUCH = MAX_EVENT_VALUES // 5  # bytes; a shorter event cannot hold too many values
REPORTED = "the upstream reported an error"
_NOTHING = Meaning()
_DONE = Meaning(done=True)
_FOREIGN = ("response.", "chat.")  # how the types of other APIs' events begin


class _MessageEvent(NamedTuple):
    """One event: its JSON object, the `type` of that, and what its frame is made of.

    `data`: its JSON as it came; None: it cannot be relayed. `is_frame`: its block is a frame as it stands.
    """

    payload: dict[str, Any]
    kind: str
    data: bytes | None
    block: bytes
    is_frame: bool

    def frame(self, *, changed: bool = False) -> bytes:
        """The frame for subscribers; `changed`: the object is not what came any more. Raises `ValueError`."""
        if self.is_frame and not changed:
            return json_text.escape_line_ends(self.block)
        if self.data is not None and not changed:
            return sse.frame(json_text.escape_line_ends(self.data.replace(b"\n", b" ")), self.kind.encode())
        frame = frames.encode(self.payload)
        if len(frame) > 2 * len(self.block) + MAX_GROWTH_BYTES:
            raise ValueError("its repair would be many times its size")
        return frame


class MessagesReader:
    """Reads the blocks of one message: each by `shape.fit`, or by `read` where that gives None."""

    __slots__ = (
        "_began",
        "_block",
        "_ended",
        "_identity",
        "_long",
        "_read_events",
        "_silent",
        "_stopped",
        "_usage",
        "counts",
        "shape",
    )

    unfinished = "neither a stop reason nor message_stop"
    last_words: UpstreamMessage | None = None

    def __init__(self, identity: AnswerIdentity, memory: AnswerMemory | None = None) -> None:
        self._identity = identity
        self._began = False  # `message_start` has come
        self._block = -1  # the index of the block that events were read of last
        self._stopped = False  # the reason of the stop has come
        self._ended = False  # `message_stop` has come
        self._silent = 0  # how many pings and unknown events have come in a row
        self._long = False  # the event that is being read is a long one, in short
        self._usage = ToldUsage()
        self.counts = Counts()
        self.shape = LearnedShape(self.counts)
        self._read_events = 0  # events with text that did not fit the shape

    @property
    def finished(self) -> bool:
        """Whether the reason of the stop was seen: nothing but `message_stop` can be missing."""
        return self._stopped or self._ended

    def read_beginning(self, data: bytes) -> tuple[list[bytes], int] | None:
        """None: the beginning of a message is read in full."""
        return None

    def read_rest(self, data: bytes) -> bytes | None:
        """None: the end of a message is read in full."""
        return None

    def read(self, block: bytes) -> Meaning:
        """The meaning of any block. Never raises: a block that cannot be understood becomes an `error`."""
        name: bytes | None
        plain = sse.is_named_frame(block)
        if plain:
            line = block.find(b"\n")
            name, data = block[7:line], block[line + 7 : -2]
        else:
            if len(block) > MAX_LINES and block.count(b"\n") > MAX_LINES:
                return Meaning(error=f"the upstream sent an event of more than {MAX_LINES} lines")
            event = sse.decode(block)
            if event.data is None:
                return self._read_without_data(block)
            name, data = event.name, event.data
        if len(data) > _MUCH and json_text.holds_more_than(data, MAX_EVENT_VALUES):
            return Meaning(error=f"the upstream sent an event of more than {MAX_EVENT_VALUES} values")
        relayed: bytes | None = data
        try:
            payload = json_text.loads(data)
        except ValueError:
            payload, relayed = _loads_with_nulls(data), None
        if not isinstance(payload, dict):
            return self._read_odd(payload, data, named=name == b"error")
        if name is not None and not isinstance(payload.get("type"), str):
            payload, relayed = {**payload, "type": name.decode("utf-8", "replace")}, None
        kind = payload.get("type")
        message = errors.read_event_error(payload, named=name == b"error")
        if message is not None:
            return Meaning(error=REPORTED, told=message)
        if not isinstance(kind, str) or kind.startswith(_FOREIGN):
            return Meaning(error=f"the upstream sent an event that no message has{_begun(kind)}")
        if not 0 < len(kind) <= MAX_KIND or not kind.isprintable():
            return _NOTHING
        is_frame = plain and relayed is not None and name == kind.encode()
        return self._read_event(_MessageEvent(payload, kind, relayed, block, is_frame))

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
        self._long = True
        meaning = self.read(short) if short else _NOTHING
        self._long = False
        if meaning.told is not None:
            return meaning._replace(told=replace(meaning.told, text=event.words(meaning.told.text)))
        if meaning.frame is None:
            return meaning
        if meaning.content:
            self.counts.text_bytes += event.hidden_text_bytes(meaning.frame)
        yield
        frame = yield from event.frame(meaning.frame)
        return meaning._replace(frame=frame)

    def is_terminal(self, rest: bytes) -> bool:
        """Whether the last bytes of a body are `message_stop` without its blank line."""
        event = sse.decode(rest)
        try:
            payload = json_text.loads(event.data or b"{}")
        except ValueError:
            return False
        kind = payload.get("type") if isinstance(payload, dict) else None
        return kind == "message_stop" or (kind is None and event.name == b"message_stop")

    def usage(self, prompt_tokens: int) -> Usage:
        """The upstream's counts as far as they have come, with our own estimate where they tell nothing."""
        counts = self.counts
        return self._usage.usage(estimate(prompt_tokens, counts.events, counts.text_bytes), counts.events)

    def closing_frames(self, report: AnswerReport | None, finish_frame: bytes | None) -> list[bytes]:
        """The finish if it was held back, and `message_stop` if the upstream has left it out.

        The report has no place here: clients are told it by header fields.
        """
        frames_before = [] if finish_frame is None else [finish_frame]
        return frames_before if self._ended else [*frames_before, frames.STOP]

    def break_frames(self, error: RivergateError) -> list[bytes]:
        """The frame of the event that every client raises as an error."""
        return [frames.encode(errors.envelope(error, self._identity.request_id))]

    def _read_without_data(self, block: bytes) -> Meaning:
        """The meaning of a block without a `data` line: nothing, unless it is a JSON object in place of an event."""
        text = block.strip()
        if not text.startswith(b"{") or len(text) < 2:
            return _NOTHING
        return self.read(b"data: " + text.replace(b"\n", b" ") + b"\n\n")

    def _read_odd(self, value: Any, data: bytes, *, named: bool) -> Meaning:
        """The meaning of an event whose data is no JSON object: an error, in the upstream's words if it has any."""
        if data.strip() == b"[DONE]":  # a habit of gateways, which says nothing here
            return _DONE if self.finished else _NOTHING
        first = value[0] if isinstance(value, list) and value else None
        told = errors.read_event_error(first, named=named) if isinstance(first, dict) else None
        if told is not None:
            return Meaning(error=REPORTED, told=told)
        words = _words(value, data)
        told = UpstreamMessage(words) if words else None
        return Meaning(error=REPORTED if named else "the upstream sent an event that is not a JSON object", told=told)

    # --- one event of each type

    def _read_event(self, event: _MessageEvent) -> Meaning:
        try:
            match event.kind:
                case "content_block_delta":
                    return self._read_delta(event)
                case "content_block_start":
                    return self._read_block_start(event)
                case "content_block_stop":
                    return self._read_block_stop(event)
                case "message_start":
                    return self._read_start(event)
                case "message_delta":
                    return self._read_message_delta(event)
                case "message_stop":
                    return self._read_stop(event)
                case "message":
                    return Meaning(error="the upstream sent a whole message in place of events")
                case _:
                    return self._read_silent(event)
        except ValueError as problem:
            return Meaning(error=f"the upstream sent a {event.kind} that is not one: {problem}")

    def _read_start(self, event: _MessageEvent) -> Meaning:
        message = event.payload.get("message")
        if not isinstance(message, dict):
            raise ValueError("it has no message")
        if (told := errors.read_inner_error(message)) is not None:
            return Meaning(error=REPORTED, told=told)
        self._silent = 0
        self._take_usage(message)
        if self._began:
            return _NOTHING  # a second one ends the stream in some clients
        self._began = True
        changed = repair_message(message, self._identity)
        changed |= repair_usage(message, {"input_tokens": 0, "output_tokens": 0})
        return Meaning(event.frame(changed=changed))

    def _read_block_start(self, event: _MessageEvent) -> Meaning:
        block = event.payload.get("content_block")
        if not isinstance(block, dict):
            raise ValueError("it has no content_block")
        self._expect_beginning()
        changed = repair_block(block)
        if self._repair_index(event, begins=True):
            self.shape.forget()  # the events of this block may look as those of the last one do
            changed = True
        size = block_bytes(block)
        if size:
            self._add(size)
        return Meaning(event.frame(changed=changed), content=not is_empty_block(block))

    def _read_delta(self, event: _MessageEvent) -> Meaning:
        delta = event.payload.get("delta")
        if not isinstance(delta, dict):
            raise ValueError("it has no delta")
        self._expect_beginning()
        frame = event.frame(changed=self._repair_index(event))
        texts = [name for name in TEXTS if isinstance(delta.get(name), str) and delta[name]]
        if not texts:
            return Meaning(frame, content=any(value for name, value in delta.items() if name != "type"))
        self._add(delta_bytes(delta))
        if len(texts) == 1 and self.shape.wants_samples and not self._long and len(event.block) <= MAX_SAMPLE_BYTES:
            hits = self.counts.events - self._read_events
            if event.data is not None and b"\n" not in event.data:
                self.shape.learn_from(partial(Sample, event.block, frame, ("delta", texts[0]), hits))
        return Meaning(frame, content=True)

    def _read_block_stop(self, event: _MessageEvent) -> Meaning:
        self._expect_beginning()
        return Meaning(event.frame(changed=self._repair_index(event)))

    def _read_message_delta(self, event: _MessageEvent) -> Meaning:
        delta = event.payload.get("delta")
        if not isinstance(delta, dict):
            raise ValueError("it has no delta")
        self._expect_beginning()
        if (told := errors.read_inner_error(delta)) is not None:
            return Meaning(error=REPORTED, told=told)
        stops = bool(delta.get("stop_reason"))
        self._stopped |= stops
        self._take_usage(event.payload)
        counted = max(
            self._usage.completion, estimate(0, self.counts.events, self.counts.text_bytes).completion_tokens
        )
        changed = repair_usage(event.payload, {"output_tokens": counted})
        return Meaning(event.frame(changed=changed), content=True, finish=stops)

    def _read_stop(self, event: _MessageEvent) -> Meaning:
        self._expect_beginning()
        self._ended = True
        return Meaning(event.frame(), done=True)

    def _read_silent(self, event: _MessageEvent) -> Meaning:
        """A ping, or an event that nobody here knows: Anthropic adds types, and clients go past them."""
        self._silent += 1
        return Meaning(event.frame()) if self._silent <= MAX_SILENT else _NOTHING

    def _expect_beginning(self) -> None:
        self._silent = 0
        if not self._began:
            raise ValueError("no message_start came before it")

    def _repair_index(self, event: _MessageEvent, *, begins: bool = False) -> bool:
        """Give an event of a block the index of that, if it has none; `begins`: the block begins with it."""
        index = event.payload.get("index")
        if type(index) is int:
            self._block = index
            return False
        self._block = max(self._block + begins, 0)
        event.payload["index"] = self._block
        return True

    def _add(self, text_bytes: int) -> None:
        """Count one more event, with `text_bytes` bytes of text."""
        self._read_events += 1
        self.counts.events += 1
        self.counts.text_bytes += text_bytes

    def _take_usage(self, holder: dict[str, Any]) -> None:
        self._usage.take(holder.get("usage"), self.counts.events)
        if not self._stopped:  # an answer that is whole is not cut any more, whatever it has cost
            self.counts.reported = max(self.counts.reported, self._usage.completion)


def _begun(kind: Any) -> str:
    """How the type of another API's event begins, in brackets; the type itself is a word of the upstream."""
    begins = next((start for start in _FOREIGN if isinstance(kind, str) and kind.startswith(start)), None)
    return "" if begins is None else f" ({begins}...)"


def _words(value: Any, data: bytes) -> str:
    """The words in an event that is a JSON string, or no JSON at all; half an object has none for a client."""
    if not isinstance(value, str | None):
        return ""
    words = data[: 4 * MAX_WORDS].decode("utf-8", "replace") if value is None else value
    words = words[:MAX_WORDS].strip()
    return "" if words.startswith(("{", "[", '"')) or not words.isprintable() else words


def _loads_with_nulls(data: bytes) -> Any:
    """The value of data that is JSON but for NaN and infinities, which become null; None if it is not."""
    try:
        return json_text.loads_with_nulls(data, MAX_REPAIRED_BYTES)
    except ValueError:
        return None
