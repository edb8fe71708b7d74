"""Pure: the finish of an answer, known by its bytes: the event that ends a choice and brings nothing else.

In: such an event of an answer that was read in full. Out: a `KnownFinish`, which finds the same event in a later
answer of the same upstream and model, where only the id and the time differ. What does not match byte by byte is read
in full, which takes ten times the bytecodes.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.dialects.chat.beginning import pattern_of
from gateway.dialects.chat.event_errors import FAILED_FINISHES
from gateway.dialects.chat.repair import PLAIN_CHOICE, PLAIN_DELTA, PLAIN_EVENT

MAX_FINISH_BYTES = 2048  # a larger event brings more than a finish


class KnownFinish(NamedTuple):
    """The pattern of the event; the index of the choice that it ends, and why that has finished."""

    pattern: "re.Pattern[bytes]"
    choice: int
    reason: str

    def answer_id(self, block: bytes) -> str | None:
        """The id in a block that is this event; None: it is another one."""
        found = self.pattern.fullmatch(block)
        return None if found is None else found["id"].decode()


def learn_finish(block: bytes, payload: Mapping[str, Any]) -> KnownFinish | None:
    """The finish that this block is. It needed no repair, and its object has one choice. None: it may bring more."""
    (choice,) = payload["choices"]
    delta, reason = choice["delta"], choice["finish_reason"]
    if not (payload.keys() <= PLAIN_EVENT and choice.keys() <= PLAIN_CHOICE and delta.keys() <= PLAIN_DELTA):
        return None
    if delta.get("content") or reason in FAILED_FINISHES or len(block) > MAX_FINISH_BYTES or not block.isascii():
        return None
    pattern = pattern_of(block)
    return None if pattern is None else KnownFinish(pattern, choice["index"], reason)
