"""Pure: the usage of one message: cumulative counts, of which later ones replace earlier ones.

In: the usage objects of `message_start` and of each `message_delta`. Out: the counts so far. The prompt is what was
read, what was written into the cache, and what was read from it, which stand in three members.
"""

from typing import Any

from gateway.dialects.reported_usage import read_usage
from gateway.dialects.usage import Usage

MAX_FIELDS = 64  # members of a usage object that are kept; Anthropic has ten
MAX_WORD = 64  # characters of a name or a text in it


class ToldUsage:
    """What an upstream has reported of one message so far."""

    __slots__ = ("_events", "_fields", "completion")

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._events = 0  # how many events with text had come when the answer's count was reported
        self.completion = 0  # the tokens of the answer, as far as they are reported

    def take(self, value: Any, events: int) -> None:
        """Remember a usage object, unless it is none, or nonsense; `events`: how many events with text have come.

        A zero or a null replaces no count, and an answer's count that shrinks to less than has come is nonsense. The
        count in `message_start` is one of the beginning: it tells of the whole answer only if no more events with
        text come than it counts.
        """
        found = read_usage(value)
        if found is None or not isinstance(value, dict):
            return
        if (found.completion or events) < min(self.completion, events):
            return
        for name, count in value.items():
            is_new = name not in self._fields
            if (is_new or count) and (not is_new or len(self._fields) < MAX_FIELDS) and _is_kept(name, count):
                self._fields[name] = count
        if found.completion and (found.completion > self.completion or found.completion >= events):
            self._events = events
        self.completion = found.completion or self.completion

    def usage(self, own: Usage, events: int) -> Usage:
        """The usage after this many events with text; `own` is the gateway's estimate of it."""
        found = read_usage(self._fields)
        return own if found is None else found.usage(own, stale=events > self._events)


def _is_kept(name: str, value: Any) -> bool:
    """Whether a member is one of a usage object: a number, a word, or an object of numbers."""
    if isinstance(value, dict):
        return len(value) <= MAX_FIELDS and all(isinstance(count, int | float | None) for count in value.values())
    short = not isinstance(value, str) or len(value) <= MAX_WORD
    return short and len(name) <= MAX_WORD and isinstance(value, int | float | str | None)


def usage_of(message: dict[str, Any], own: Usage) -> Usage:
    """The usage that a whole message tells; `own` is the gateway's estimate of it."""
    told = read_usage(message.get("usage"))
    return own if told is None else told.usage(own)


def as_told(usage: Usage) -> dict[str, Any]:
    """The usage object for a message to which its upstream gave none."""
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
