"""Pure: finds the usage in the JSON objects of chat completions, in any of the places where upstreams put it."""

from collections.abc import Mapping
from typing import Any

from gateway.dialects.reported_usage import ReportedUsage, read_usage, summed
from gateway.dialects.usage import Usage

# The members of an event or of a completion that may hold a usage object: OpenAI's, Gemini's, Bedrock's, and others'.
_PLACES = ("usage", "usageMetadata", "usage_metadata", "amazon-bedrock-invocationMetrics", "token_usage")
_WRAPPERS = ("x_groq",)  # members that hold a usage object under `usage`
OTHER_PLACES = frozenset((*_PLACES[1:], *_WRAPPERS))  # all but OpenAI's own


class SeenUsage:
    """The usage of one answer, as far as its upstream has reported it."""

    __slots__ = ("_by_choice", "_events", "_whole")

    def __init__(self) -> None:
        self._whole: ReportedUsage | None = None
        self._by_choice: dict[int, ReportedUsage] = {}  # Moonshot reports the usage inside of each choice
        self._events = 0  # how many events with content had come when it was reported

    def take(self, payload: dict[str, Any], events: int) -> None:
        """Remember what an object reports whose choices were repaired.

        `events`: how many events with content have come, this one included.
        """
        found = _at_top(payload) if payload.get("usage") or not OTHER_PLACES.isdisjoint(payload) else None
        # Zeros do not replace counts.
        if found is not None and (self._whole is None or found.prompt or found.completion):
            self._whole, self._events = found, events
        for choice in payload["choices"]:
            body = choice["delta"] if "delta" in choice else choice["message"]
            if "usage" in choice or "usage" in body:
                self._take_of_choice(choice, body, events)

    def _take_of_choice(self, choice: dict[str, Any], body: dict[str, Any], events: int) -> None:
        found = read_usage(choice.get("usage")) or read_usage(body.get("usage"))
        if found is not None:
            self._by_choice[choice["index"]] = found
            self._events = events

    def usage(self, own: Usage, events: int) -> Usage:
        """The usage after this many events with content; `own` is the gateway's estimate of it."""
        reported = self._whole or summed(self._by_choice.values())
        return own if reported is None else reported.usage(own, stale=events > self._events)


def has_inner_usage(payload: Mapping[str, Any]) -> bool:
    """Whether a choice of an event holds a usage object: it comes with the finish of the choice."""
    for choice in payload["choices"]:  # noqa: SIM110 -- an `any` over a generator takes twice as long
        if "usage" in choice or "usage" in choice["delta"]:
            return True
    return False


def _at_top(payload: Mapping[str, Any]) -> ReportedUsage | None:
    for place in _PLACES:
        if (value := payload.get(place)) and (found := read_usage(value)) is not None:
            return found
    for wrapper in _WRAPPERS:
        if isinstance(inner := payload.get(wrapper), dict) and (found := read_usage(inner.get("usage"))) is not None:
            return found
    return None
