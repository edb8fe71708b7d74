"""Pure: finds the usage in the JSON objects of completions, in any of the places where upstreams put it."""

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.dialects.choices.envelope import body_of
from gateway.dialects.reported_usage import MAX_BYTES_OF_TOKEN, ReportedUsage, read_usage, summed
from gateway.dialects.usage import Usage

# The members of an event or of a completion that may hold a usage object: OpenAI's, Gemini's, Bedrock's, and others'.
PLACES = ("usage", "usageMetadata", "usage_metadata", "amazon-bedrock-invocationMetrics", "token_usage")
WRAPPERS = ("x_groq",)  # members that hold a usage object under `usage`
_MAX_EVENTS_OF_TOKEN = 16  # an upstream that cuts its answer into single letters sends fewer events for a token
_OLLAMA = ("prompt_eval_count", "eval_count")
_TIMINGS = "timings"
_NO_ESTIMATE = Usage(0, 0, estimated=True)
OTHER_PLACES = frozenset((*PLACES[1:], *WRAPPERS, *_OLLAMA, _TIMINGS))  # all but OpenAI's own


class SeenUsage:
    """The usage of one answer, as far as its upstream has reported it."""

    __slots__ = ("_by_choice", "_events", "_told", "_whole")

    def __init__(self) -> None:
        self._whole: ReportedUsage | None = None
        self._by_choice: dict[int, ReportedUsage] = {}  # Moonshot reports the usage inside of each choice
        self._events = 0  # how many events with content had come when it was reported
        self._told: Usage | None = None  # the usage that `told` has made of `_whole`

    def take(self, payload: dict[str, Any], events: int, *, is_part: bool = False) -> None:
        """Remember what an object reports whose choices were repaired.

        `events`: how many events with content have come, this one included. `is_part`: there are several choices,
        and this is an event of some of them: its usage may be theirs alone (vLLM's continuous usage is).
        """
        found = _at_top(payload) if payload.get("usage") or not OTHER_PLACES.isdisjoint(payload) else None
        if found is not None:
            self.take_whole(found, events, is_part=is_part)
        for choice in payload["choices"]:
            body = body_of(choice)
            if "usage" in choice or "usage" in body:
                self._take_of_choice(choice, body, events)

    @property
    def completion(self) -> int:
        """The tokens of the answer, as far as they are reported."""
        whole = self._whole.completion if self._whole is not None else None
        return whole or sum(report.completion or 0 for report in self._by_choice.values())

    def take_whole(self, found: ReportedUsage, events: int, *, is_part: bool = False) -> None:
        """Remember a report of the whole answer. Upstreams that tell a count once, or then zero, have told it.

        A count of the completion that does not grow, while more events come than it counts, is one of an event or of
        the beginning, and so is one of far less than a token for each event. One that shrinks to less than a token
        for each event is not believed.
        """
        earlier, self._told = self._whole, None
        had = (earlier.completion if earlier is not None else 0) or 0
        if (found.completion or had) < had and (found.completion or had) < events:
            found = found._replace(completion=None)
        self._whole = found if earlier is None else found.over(earlier)
        if completion := found.completion:
            grows = completion > had or completion >= events
            if grows and not is_part and completion * _MAX_EVENTS_OF_TOKEN >= events:
                self._events = events
        elif found.total:
            self._events = events

    def _take_of_choice(self, choice: dict[str, Any], body: dict[str, Any], events: int) -> None:
        found = read_usage(choice.get("usage")) or read_usage(body.get("usage"))
        if found is not None:
            self._by_choice[choice["index"]] = found
            self._events = events

    def told(self, events: int, text_bytes: int) -> Usage | None:
        """The usage after this many events with content, if the upstream has told all of it; it needs no estimate."""
        whole = self._whole
        if whole is None or not whole.prompt or not whole.completion or events > self._events:
            return None
        if text_bytes // MAX_BYTES_OF_TOKEN > whole.completion:
            return None
        if self._told is None:
            self._told = whole.usage(_NO_ESTIMATE)
        return self._told

    def usage(self, own: Usage, events: int) -> Usage:
        """The usage after this many events with content; `own` is the gateway's estimate of it."""
        reported = self._whole
        if reported is None or not reported.tells:
            reported = summed(self._by_choice.values()) or reported
        return own if reported is None else reported.usage(own, stale=events > self._events)


def has_inner_usage(payload: Mapping[str, Any]) -> bool:
    """Whether a choice of an event holds a usage object; as a rule it comes with the finish of the choice."""
    for choice in payload["choices"]:
        if "usage" in choice or (type(delta := choice.get("delta")) is dict and "usage" in delta):
            return True
    return False


def _at_top(payload: Mapping[str, Any]) -> ReportedUsage | None:
    """The first report among the members that tells a count, else the first one."""
    first: ReportedUsage | None = None
    for value in _values(payload):
        if value and (found := read_usage(value)) is not None:
            if found.tells:
                return found
            first = first or found
    return first


def _values(payload: Mapping[str, Any]) -> Iterator[Any]:
    """What stands in the places of a usage object, the likeliest first."""
    yield from (payload.get(place) for place in PLACES)
    yield from (inner.get("usage") for wrapper in WRAPPERS if isinstance(inner := payload.get(wrapper), dict))
    yield {name: payload[name] for name in _OLLAMA if name in payload}
    if isinstance(timings := payload.get(_TIMINGS), dict):
        yield _of_timings(timings)


def _of_timings(timings: Mapping[str, Any]) -> dict[str, Any]:
    """llama.cpp's counts: those of the prompt only if its part in the cache is told, which `prompt_n` leaves out."""
    counts = {"completion_tokens": timings.get("predicted_n")}
    read, cached = timings.get("prompt_n"), timings.get("cache_n")
    if type(read) is int and type(cached) is int:
        counts["prompt_tokens"] = read + cached
    return counts
