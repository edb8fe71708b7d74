"""Pure: reads the event blocks of one completion, chat or text, and says what each means to the relay.

In: blocks from `sse.BlockDecoder`. Out: the frame to relay, which is the very block if strict clients accept it, and
what the relay acts on: content, finish, error, `[DONE]`. The reader takes the usage out of the objects; the client
gets it once, at the end, in the closing frames. What a choice holds only the reader of its dialect knows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from gateway.dialects.choices import closing
from gateway.dialects.choices.envelope import SharedMembers
from gateway.dialects.choices.event_errors import EVENT_MARKS, read_choice_error, read_event_error, read_words
from gateway.dialects.choices.frames import DONE, encode
from gateway.dialects.choices.known_end import MAX_EVENTS, FoundRest, learn_finish, learn_rest
from gateway.dialects.choices.odd_events import REPORTED, loads_with_nulls, read_odd
from gateway.dialects.choices.usage_places import OTHER_PLACES, SeenUsage, has_inner_usage
from gateway.dialects.dialect import AnswerReport, Meaning, UpstreamMessage
from gateway.dialects.learned_shape import AnswerMemory, Counts, LearnedShape, Sample
from gateway.dialects.long_event import LongEvent, TooMuch
from gateway.dialects.usage import Usage, estimate
from gateway.errors import RivergateError
from gateway.wire import json_text, sse
from gateway.wire.json_abridged import Shape

MAX_EVENT_VALUES = 60_000  # JSON values of one event: more would take the event loop for over 20 ms
MAX_LINES = 20_000  # lines of one event; a whole answer that is printed prettily has fewer
MAX_GROWTH_BYTES = 65536  # what repair may add to an event, beside escapes, which at most double it
MAX_SAMPLE_BYTES = 16384  # a larger event is no token, and teaches no shape
# Of events without choices that are together larger nothing more is kept for the next one: as lists beside half a
# surrogate pair, which only the slower codec writes, these take 6 ms.
MAX_KEPT_BYTES = 1 << 16
MAX_KEPT = 64  # members of events without choices that are kept for the next event
_SHORT = 64  # bytes; a terminal event is shorter
_MUCH = MAX_EVENT_VALUES // 5  # bytes; a shorter event cannot hold too many values
_NOTHING = Meaning()
_DONE = Meaning(done=True)
# The members that events share or that no later event needs.
_SHARED = frozenset(
    {"id", "object", "created", "model", "choices", "system_fingerprint", "service_tier", "obfuscation"}
)
_SHARED |= {"usage", "routing_metadata", "error", "usageMetadata", "usage_metadata", "x_groq", "base_resp"}

Shared = TypeVar("Shared", bound=SharedMembers)


class ChoicesReader(ABC, Generic[Shared]):
    """Reads the blocks of one completion: each by `shape.fit`, or by `read` where that gives None.

    A subclass is the reader of a dialect. `looks_at`: what it looks at of a long event. `silent`: its event without
    content.
    """

    looks_at: ClassVar[Shape]
    silent: ClassVar[closing.SilentEvent]

    __slots__ = (
        "_closed",
        "_first",
        "_identity",
        "_in_full",
        "_kept",
        "_kept_bytes",
        "_long",
        "_memory",
        "_read_events",
        "_tail",
        "_usage",
        "_words",
        "counts",
        "shape",
    )

    unfinished = closing.UNFINISHED

    def __init__(self, identity: Shared, memory: AnswerMemory | None = None) -> None:
        self._identity = identity
        self._memory = memory  # shared with the readers of other answers; None: nothing is remembered
        self._first: bytes | None = None  # the first event, if it had nothing but what all events share
        self._closed: dict[int, str] = {}  # choices that have finished, and why
        # The finish, and the blocks behind it, while the memory may learn from them.
        self._tail: tuple[bytes, ...] = ()
        self._in_full = False  # an event may mean more than its text: a choice has finished, or something was kept
        self._kept: dict[str, Any] = {}  # members of events without choices, which the next event carries
        self._kept_bytes = 0  # the size of these events
        self._long: LongEvent | None = None  # the event that is being read in short
        self._words: tuple[UpstreamMessage | None, int] = (None, 0)  # words of no event, behind how many with content
        self._usage: SeenUsage | None = None  # from the first report on
        self.counts = Counts()
        self.shape = LearnedShape(self.counts)
        self._read_events = 0  # events with content that did not fit the shape

    @property
    def finished(self) -> bool:
        """Whether a finish was seen and no choice is left open."""
        return bool(self._closed) and self._closed.keys() >= self._identity.choices_seen

    @property
    def last_words(self) -> UpstreamMessage | None:
        """What an upstream said in place of an event, if nothing came after it, and no finish before it."""
        words, at = self._words
        return words if words is not None and at == self.counts.events and not self.finished else None

    @abstractmethod
    def read_beginning(self, data: bytes) -> tuple[list[bytes], int] | None:
        """The frames of the first events, as far as a read begins as an earlier answer did, and their length.

        None: the read begins in another way.
        """

    def read_rest(self, data: bytes) -> bytes | None:
        """The finish in a read that is all the rest of an answer, as the rest of an earlier answer was.

        None: the read is something else. With the finish, the usage and the terminal event count as read.
        """
        memory, identity = self._memory, self._identity
        if memory is None or (known := memory.rest) is None or self._in_full or not data.endswith(DONE):
            return None
        found = FoundRest.find(known, data, identity.id)
        if found is None or identity.choices_seen != {known.finish.choice}:
            return None
        memory.on_known_finish()
        self._closed[known.finish.choice], self._in_full = known.finish.reason, True
        if found.usage is not None:
            self._usage = self._usage or SeenUsage()
            self._usage.take_whole(found.usage, self.counts.events)
        return found.finish

    def read(self, block: bytes) -> Meaning:
        """The meaning of any block. Never raises: a block that cannot be understood becomes an `error`."""
        if self._tail:
            self._on_tail(block)
        name, data = None, block[6:-2]
        plain = sse.is_frame(block)
        if not plain:
            if len(block) > MAX_LINES and block.count(b"\n") > MAX_LINES:
                return Meaning(error=f"the upstream sent an event of more than {MAX_LINES} lines")
            event = sse.decode(block)
            if event.data is None:
                return self._read_without_data(block)
            name, data = event.name, event.data
        elif not self._in_full and (finish := self._read_known_finish(block)) is not None:
            return finish
        if not _SHORT <= len(data) <= _MUCH:
            if data.strip() == b"[DONE]":
                return _DONE if self.last_words is None else Meaning(error=REPORTED, told=self.last_words)
            if len(data) > _MUCH and json_text.holds_more_than(data, MAX_EVENT_VALUES):
                return Meaning(error=f"the upstream sent an event of more than {MAX_EVENT_VALUES} values")
        try:
            payload = json_text.loads(data)
        except ValueError:
            payload, plain = loads_with_nulls(data), False
        if not isinstance(payload, dict):
            return read_odd(payload, data, named=name == b"error")
        if plain and not self._in_full and (meaning := self._read_plain(payload, block)) is not None:
            return meaning
        return self._read_object(payload, block, plain=plain, named=name == b"error")

    def read_in_steps(self, block: bytes) -> Generator[None, None, Meaning]:
        """The meaning of a long block: its short block is read as any other, and the frame filled with the rest."""
        event = LongEvent(block, self.looks_at, MAX_LINES, json_text.dumps(self._kept) if self._kept else b"")
        try:
            short = yield from event.shortened()
        except TooMuch as problem:
            return Meaning(error=str(problem))
        except ValueError:
            return self.read(event.beginning())
        yield
        kept, self._long = self._kept_bytes, event
        meaning = self.read(short) if short else _NOTHING
        self._long = None
        if meaning.content and meaning.frame is not None:
            self.counts.text_bytes += event.hidden_text_bytes(meaning.frame)
        if self._kept_bytes > kept:
            self._kept = {name: event.value(value) for name, value in self._kept.items()}
        if meaning.told is not None:
            return meaning._replace(told=replace(meaning.told, text=event.words(meaning.told.text)))
        if meaning.frame is None:
            return meaning
        yield
        frame = yield from event.frame(meaning.frame)
        return meaning._replace(frame=frame)

    def is_terminal(self, rest: bytes) -> bool:
        """Whether the last bytes of a body are `[DONE]` without its blank line."""
        return sse.decode(rest).data == b"[DONE]"

    def usage(self, prompt_tokens: int) -> Usage:
        """The upstream's counts once they have come, else our own estimate."""
        events, text_bytes, seen = self.counts.events, self.counts.text_bytes, self._usage
        if seen is not None and (told := seen.told(events, text_bytes)) is not None:
            return told
        own = estimate(prompt_tokens, events, text_bytes)
        return own if seen is None else seen.usage(own, events)

    def closing_frames(self, report: AnswerReport | None, finish_frame: bytes | None) -> list[bytes]:
        """The frames before `[DONE]`: the finish if it was held back, and the report, in it or as an event."""
        return closing.closing_frames(self._identity, self.silent, report, finish_frame, self._kept)

    def break_frames(self, error: RivergateError) -> list[bytes]:
        """The frame of the one event that every SDK raises as an error."""
        return closing.break_frames(error)

    def _read_without_data(self, block: bytes) -> Meaning:
        """The meaning of a block without a `data` line: nothing, unless it is a JSON object in place of an event."""
        text = block.strip()
        if not text.startswith(b"{") or len(text) < 2:
            return _NOTHING
        return self.read(b"data: " + text.replace(b"\n", b" ") + b"\n\n")

    def _read_object(self, payload: dict[str, Any], block: bytes, *, plain: bool, named: bool) -> Meaning:
        """The meaning of an event that is no plain text. `plain`: its block is a frame as it stands."""
        # An event with choices or with usage is an error only if it says so by one of these members.
        if not (payload.get("choices") or payload.get("usage")) or not EVENT_MARKS.isdisjoint(payload):
            message = read_event_error(payload, named=named)
            if message is not None:
                return Meaning(error=REPORTED, told=message)
        if not isinstance(payload.get("choices"), list):
            is_chunk = "choices" in payload
            payload["choices"] = []
        else:
            is_chunk = True
        try:
            if payload["choices"]:
                return self._read_payload(payload, block, plain=plain)
        except ValueError as problem:
            return Meaning(error=f"the upstream sent a chunk that is not one: {problem}")
        # An event without choices breaks clients that read the first choice unasked; usage is sent at the end.
        self._take_usage(payload)
        if is_chunk:
            self._keep(payload, len(block))
        else:
            self._words = (read_words(payload), self.counts.events)
        return _NOTHING

    def _read_payload(self, payload: dict[str, Any], block: bytes, *, plain: bool) -> Meaning:
        repaired, begins = self._repair(payload)
        changed = repaired or not plain
        over = self.finished
        tells = over and self._tells_more(payload["choices"])
        content, finish, suspect = self._count(payload["choices"])
        if suspect and (failure := read_choice_error(payload["choices"])) is not None:
            return Meaning(error=REPORTED, told=failure)
        if payload.get("usage") or not OTHER_PLACES.isdisjoint(payload) or has_inner_usage(payload):
            self._take_usage(payload)
        members = len(payload)
        payload.pop("usage", None)
        payload.pop("routing_metadata", None)  # an upstream may be a gateway, and speak of its own routing
        changed = changed or len(payload) != members
        if over and not content and not tells and self.finished:
            # An event after the last finish is dropped, unless it tells more than the finish did.
            self._keep(payload, len(block))
            return _NOTHING
        room = 2 * (len(block) + self._kept_bytes) + MAX_GROWTH_BYTES
        if self._kept:
            payload.update({**self._kept, **payload})
            self._kept, self._kept_bytes, self._in_full, changed = {}, 0, bool(self._closed), True
        if not changed:
            frame = json_text.escape_line_ends(block)
            if finish and not content and not over and len(payload["choices"]) == 1:
                self._remember_finish(payload, block)
        elif len(frame := encode(payload)) > room:
            raise ValueError("its repair would be many times its size")
        if begins:
            # What follows may look the same, and yet belong to another call, or lack what this event was given.
            self.shape.forget()
        elif content and not finish and plain:
            self._keep_sample(payload, block, frame)
        return Meaning(frame, content=content, finish=finish)

    def _remember_finish(self, payload: dict[str, Any], block: bytes) -> None:
        memory = self._memory
        if memory is None or not memory.wants_finish or not self._is_bare(payload["choices"][0]):
            return
        if (known := learn_finish(block, payload)) is not None:
            memory.learn_finish(known)
            self._tail = (block,) if memory.wants_rest else ()

    def _on_tail(self, block: bytes) -> None:
        """Take one more block behind the finish; the memory learns from all of them."""
        tail, memory = (*self._tail, block), self._memory
        self._tail = tail if len(tail) < MAX_EVENTS and block != DONE else ()
        if block == DONE and memory is not None and memory.finish is not None:
            memory.learn_rest(learn_rest(memory.finish, tail))

    def _read_known_finish(self, block: bytes) -> Meaning | None:
        """The meaning of the event by which an earlier answer has finished; None: it is another event."""
        memory, identity = self._memory, self._identity
        if memory is None or (known := memory.finish) is None or known.choice not in identity.choices_seen:
            return None
        if known.answer_id(block) != identity.id:
            return None
        memory.on_known_finish()
        self._closed[known.choice], self._in_full = known.reason, True
        if memory.rest is None and memory.wants_rest:
            self._tail = (block,)
        return Meaning(block, finish=True)

    def _add(self, text_bytes: int) -> None:
        """Count one more event, with `text_bytes` bytes of text."""
        self._read_events += 1
        self.counts.events += 1
        self.counts.text_bytes += text_bytes

    def _take_usage(self, payload: dict[str, Any]) -> None:
        if self._usage is None:
            self._usage = SeenUsage()
        is_part = len(self._identity.choices_seen) > 1 and bool(payload["choices"]) and not self.finished
        self._usage.take(payload, self.counts.events, is_part=is_part)
        if not self._closed:  # an answer that is whole is not cut any more, whatever it has cost
            self.counts.reported = max(self.counts.reported, self._usage.completion)

    def _keep(self, payload: dict[str, Any], size: int) -> None:
        """Keep what an event of this size tells beside its choices, since the event itself is not relayed."""
        if self._long is not None:
            size = self._long.size
        if payload.keys() <= _SHARED or self._kept_bytes + size > MAX_KEPT_BYTES:
            return
        self._kept_bytes += size
        for key, value in payload.items():
            if value and key not in _SHARED and len(self._kept) < MAX_KEPT:
                self._kept[key] = value
                self._in_full = True
                self.shape.forget()  # the next event is read, to carry what was kept

    def _keep_sample(self, payload: dict[str, Any], block: bytes, frame: bytes) -> None:
        """Let the shape learn from an event with content, if it is a token as the next one may be."""
        if self._long is not None or len(payload["choices"]) != 1 or len(block) > MAX_SAMPLE_BYTES:
            return
        if self.shape.wants_samples:
            hits, memory, first = self.counts.events - self._read_events, self._memory, self._first
            give: Callable[[], Sample | None] = partial(self._sample_of, payload, block, frame, hits)
            if self.counts.events == 1 and first is not None and memory is not None and memory.wants_beginning:
                give = partial(self._remembered, memory, first, give)
            self.shape.learn_from(give)

    # --- what a dialect knows

    @abstractmethod
    def _read_plain(self, payload: dict[str, Any], block: bytes) -> Meaning | None:
        """The meaning of an event that is a frame as it stands, with nothing but text; None: it may be another."""

    @abstractmethod
    def _repair(self, payload: dict[str, Any]) -> tuple[bool, bool]:
        """Repair an event; returns whether it changed, and whether a choice or a part of one begins in it.

        Raises `ValueError` if the event cannot be repaired.
        """

    @abstractmethod
    def _count(self, choices: list[dict[str, Any]]) -> tuple[bool, bool, bool]:
        """Count what repaired choices bring; returns whether there is content, a finish, and what may be an error."""

    @abstractmethod
    def _tells_more(self, choices: list[dict[str, Any]]) -> bool:
        """Whether choices tell more than that they go on, or that they have finished as it is known."""

    @abstractmethod
    def _is_bare(self, choice: dict[str, Any]) -> bool:
        """Whether a choice that has finished bears nothing beside the finish."""

    @staticmethod
    @abstractmethod
    def _sample_of(payload: dict[str, Any], block: bytes, frame: bytes, hits: int) -> Sample | None:
        """The sample that a shape learns from; None if this event has not exactly one string that may change."""

    @staticmethod
    @abstractmethod
    def _remembered(memory: AnswerMemory, first: bytes, give: Callable[[], Sample | None]) -> Sample | None:
        """The sample of the first text of an answer; the memory learns from it how answers begin."""
