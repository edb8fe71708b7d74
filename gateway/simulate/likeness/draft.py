"""Pure: an answer in JSON before it is written: the quirks of a provider change it in place.

In: a script and the facts of a request. Out: a `Draft`, which holds the answer as `ChatAnswer` gives it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import orjson

from gateway.simulate.chat import ChatAnswer
from gateway.simulate.script import Script
from gateway.simulate.sse_style import Json
from gateway.simulate.steps import Facts


@dataclass(slots=True)
class Draft:
    """One answer: the events of its stream without `[DONE]`, and the document of a request that is not streamed."""

    opening: list[Json]
    reasoning: list[Json]
    content: list[Json]
    closing: list[Json]
    document: Json
    blank_lines: int = 0  # empty lines before the document

    def events(self) -> Iterator[Json]:
        """All events of the stream, in their order."""
        return chain(self.opening, self.reasoning, self.content, self.closing)

    def deltas(self) -> Iterator[Json]:
        """What is new in each event, and the whole message of the document."""
        for choice in self.choices():
            yield choice.get("delta") or choice.get("message") or {}

    def choices(self) -> Iterator[Json]:
        """The choices of all events, and of the document."""
        return chain.from_iterable(payload["choices"] for payload in (*self.events(), self.document))

    def usages(self) -> Iterator[Json]:
        """The usage of the stream and that of the document, as far as the script gives them."""
        return (payload["usage"] for payload in (*self.closing, self.document) if payload.get("usage"))

    def finishes(self) -> Iterator[Json]:
        """The event that finishes the stream, as far as the script gives it, and the document."""
        finish = next((event for event in self.closing if event["choices"]), None)
        return iter((self.document,) if finish is None else (finish, self.document))

    def ends(self) -> Iterator[Json]:
        """The last event of the stream, as far as there is one behind the content, and the document."""
        return iter((*self.closing[-1:], self.document))


def draft(script: Script, facts: Facts) -> Draft:
    """The answer to a request as the script describes it, without a quirk and without the style of its SSE."""
    plain = replace(script, line_end="\n", space=True, event_names=False, pretty=False, done=False)
    answer = ChatAnswer(plain, facts)
    return Draft(
        opening=_parsed(answer.opening()),
        reasoning=_parsed(answer.reasoning()),
        content=_parsed(answer.content()),
        closing=_parsed(answer.closing()),
        document=orjson.loads(answer.document()),
    )


def _parsed(frames: Iterable[bytes]) -> list[Json]:
    return [orjson.loads(frame.removeprefix(b"data: ")) for frame in frames]
