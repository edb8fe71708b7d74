"""Pure: reads the event blocks of one text completion: what its choices hold, and how they are repaired.

In: blocks, and the JSON objects of their events. Out: their meaning, as the reader of all completions asks for it
(dialects/choices/reader.py).
"""

from typing import Any

from gateway.dialects.choices.closing import SilentEvent
from gateway.dialects.choices.event_errors import FAILED_FINISHES
from gateway.dialects.choices.reader import ChoicesReader
from gateway.dialects.completions.repair import (
    OBJECT,
    PLAIN_CHOICE,
    TextMembers,
    has_content,
    plain_text,
    repair_event,
)
from gateway.dialects.completions.samples import remembered, sample_of, text_bytes
from gateway.dialects.completions.shapes import EVENT
from gateway.dialects.dialect import Meaning
from gateway.dialects.learned_shape import AnswerMemory
from gateway.wire import json_text
from gateway.wire.media_text import WINDOW_BYTES, spoken_bytes

SILENT = SilentEvent(OBJECT, {"index": 0, "text": "", "logprobs": None, "finish_reason": None})
# The members of a choice that tell nothing new alone.
_SILENT_CHOICE = frozenset({"index", "finish_reason", "usage"})


class CompletionsReader(ChoicesReader[TextMembers]):
    """Reads the blocks of one text completion."""

    __slots__ = ()

    looks_at = EVENT
    silent = SILENT
    _sample_of = staticmethod(sample_of)
    _remembered = staticmethod(remembered)

    def __init__(self, identity: TextMembers, memory: AnswerMemory | None = None) -> None:
        super().__init__(identity, memory)
        self.counts.text_bytes = -identity.echoed_bytes  # so that 0 is where the answer's own text begins

    def read_beginning(self, data: bytes) -> tuple[list[bytes], int] | None:
        """The frame of the first text, if a read begins with it as an earlier answer did, and its length.

        None: the read begins in another way.
        """
        memory = self._memory
        if memory is None or (beginning := memory.beginning) is None:
            return None
        found = beginning.pattern.match(data)
        if found is None:
            memory.on_miss()
            return None
        memory.on_hit()
        (start, end), length = found.span("text"), found.end()
        self._identity.begin(found["id"].decode(), int(found["created"]), beginning.model, beginning.choice)
        self.shape.follow(data[:start], data[end:length])
        self._add(end - start)
        return [data[:length]], length

    def _read_plain(self, payload: dict[str, Any], block: bytes) -> Meaning | None:
        """The meaning of an event that is plain text; None: it may be another one."""
        is_first = not self._identity.id_seen
        if (text := plain_text(payload, self._identity)) is None:
            return None
        frame = json_text.escape_line_ends(block)
        if not text:
            return Meaning(frame)
        if is_first:
            self._first = block
        self._add(len(text) if len(text) < WINDOW_BYTES and text.isascii() else spoken_bytes(text))
        self._keep_sample(payload, block, frame)
        return Meaning(frame, content=True)

    def _repair(self, payload: dict[str, Any]) -> tuple[bool, bool]:
        """Repair an event; returns whether it changed. What begins in it looks as what follows."""
        return repair_event(payload, self._identity), False

    def _count(self, choices: list[dict[str, Any]]) -> tuple[bool, bool, bool]:
        """Count what choices bring; returns whether there is content, a finish, and what may be an error."""
        content = finish = suspect = False
        for choice in choices:
            if has_content(choice):
                content = True
                self._add(text_bytes(choice))
            if (reason := choice.get("finish_reason")) is not None:
                finish = self._in_full = True
                self._closed[choice["index"]] = reason
                suspect |= reason in FAILED_FINISHES
            suspect |= "error" in choice
        return content, finish, suspect

    def _tells_more(self, choices: list[dict[str, Any]]) -> bool:
        """Whether choices tell more than that they go on, or that they have finished as it is known."""
        for choice in choices:
            if choice.get("finish_reason") not in (None, self._closed.get(choice["index"])):
                return True
            if any(value for key, value in choice.items() if key not in _SILENT_CHOICE):
                return True
        return False

    def _is_bare(self, choice: dict[str, Any]) -> bool:
        """Whether a choice that has finished bears nothing beside the finish."""
        return choice.keys() <= PLAIN_CHOICE and not choice["text"]
