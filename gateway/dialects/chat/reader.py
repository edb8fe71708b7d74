"""Pure: reads the event blocks of one chat completion: what its choices hold, and how they are repaired.

In: blocks, and the JSON objects of their events. Out: their meaning, as the reader of all completions asks for it
(dialects/choices/reader.py).
"""

from typing import Any

from gateway.dialects.chat.repair import (
    CHUNK_OBJECT,
    PLAIN_CHOICE,
    PLAIN_DELTA,
    Identity,
    has_content,
    plain_text,
    repair_event,
)
from gateway.dialects.chat.samples import remembered, sample_of, text_bytes
from gateway.dialects.chat.shapes import EVENT
from gateway.dialects.choices.closing import SilentEvent
from gateway.dialects.choices.event_errors import FAILED_FINISHES
from gateway.dialects.choices.reader import ChoicesReader
from gateway.dialects.dialect import Meaning
from gateway.wire import json_text
from gateway.wire.media_text import WINDOW_BYTES, spoken_bytes

SILENT = SilentEvent(CHUNK_OBJECT, {"index": 0, "delta": {}, "finish_reason": None})
# The members of a choice that tell nothing new alone.
_SILENT_CHOICE = frozenset({"index", "delta", "finish_reason", "usage"})


class ChatReader(ChoicesReader[Identity]):
    """Reads the blocks of one chat completion."""

    __slots__ = ()

    looks_at = EVENT
    silent = SILENT
    _sample_of = staticmethod(sample_of)
    _remembered = staticmethod(remembered)

    def read_beginning(self, data: bytes) -> tuple[list[bytes], int] | None:
        """The frames of the role and of the first text, as far as a read begins with them, and their length.

        They are found as an earlier answer had them. None: the read begins in another way.
        """
        memory = self._memory
        if memory is None or (beginning := memory.beginning) is None:
            return None
        identity, at, frames = self._identity, 0, []
        if self._first is None:
            role = beginning.role.match(data)
            if role is None:
                memory.on_miss()
                return None
            memory.on_hit()
            at = role.end()
            self._first = data[:at]
            frames.append(self._first)
            identity.begin(role["id"].decode(), int(role["created"]), beginning.model, beginning.choice)
        text = beginning.text.match(data, at)
        if text is not None and text["id"].decode() == identity.id:
            begun, (start, end), at = at, text.span("text"), text.end()
            self.shape.follow(data[begun:start], data[end:at])
            self._add(end - start)
            identity.spoken.add(beginning.spoken)
            frames.append(data[begun:at])
        return frames, at

    def _read_plain(self, payload: dict[str, Any], block: bytes) -> Meaning | None:
        """The meaning of an event that is plain text; None: it may be another one."""
        identity = self._identity
        choices = len(identity.choices_seen)
        if (text := plain_text(payload, identity)) is None:
            return None
        is_first = choices != len(identity.choices_seen)  # the first event of its choice
        frame = json_text.escape_line_ends(block)
        if not text:
            if is_first and not self.counts.events:
                self._first = block
            return Meaning(frame)
        self._identity.spoken.add(payload["choices"][0]["index"])
        self._add(len(text) if len(text) < WINDOW_BYTES and text.isascii() else spoken_bytes(text))
        if not is_first:
            self._keep_sample(payload, block, frame)
        return Meaning(frame, content=True)

    def _repair(self, payload: dict[str, Any]) -> tuple[bool, bool]:
        """Repair an event; returns whether it changed, and whether a choice or a tool call begins in it."""
        identity = self._identity
        choices, calls = len(identity.choices_seen), identity.calls_begun
        changed = repair_event(payload, identity)
        return changed, choices != len(identity.choices_seen) or calls != identity.calls_begun

    def _count(self, choices: list[dict[str, Any]]) -> tuple[bool, bool, bool]:
        """Count what choices bring; returns whether there is content, a finish, and what may be an error."""
        content = finish = suspect = False
        for choice in choices:
            delta, index = choice["delta"], choice["index"]
            if has_content(delta):
                content = True
                if len(delta) > 1 or "content" not in delta or index not in self._identity.spoken:
                    self._identity.note_spoken(index, delta)
                self._add(text_bytes(delta))
            if (reason := choice["finish_reason"]) is not None:
                finish = self._in_full = True
                self._closed[index] = reason
                suspect |= reason in FAILED_FINISHES
            if "error" in choice or "error" in delta:
                suspect = True
        return content, finish, suspect

    def _tells_more(self, choices: list[dict[str, Any]]) -> bool:
        """Whether choices tell more than that they go on, or that they have finished as it is known."""
        for choice in choices:
            if choice["finish_reason"] not in (None, self._closed.get(choice["index"])):
                return True
            if any(value for key, value in choice.items() if key not in _SILENT_CHOICE):
                return True
            if any(value for key, value in choice["delta"].items() if key != "role"):
                return True
        return False

    def _is_bare(self, choice: dict[str, Any]) -> bool:
        """Whether a choice that has finished bears nothing beside the finish."""
        delta = choice["delta"]
        return choice.keys() <= PLAIN_CHOICE and delta.keys() <= PLAIN_DELTA and not delta.get("content")
