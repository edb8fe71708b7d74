"""A stream of a hub whose producer is the test."""

from collections.abc import Callable
from typing import Any

from gateway.config import StreamSettings
from gateway.endings import Ending
from gateway.errors import RivergateError
from gateway.stream.description import AnswerFacts, AnswerProgress, StreamFacts, answer_headers, describe
from gateway.stream.hub import Hub
from gateway.stream.stream import Stream


def new_hub(retain_seconds: float, max_retained_bytes: int) -> Hub:
    return Hub(StreamSettings(retain_seconds=retain_seconds, max_retained_bytes=max_retained_bytes))


class Talk:
    """A production: a stream, and its owner."""

    def __init__(self, hub: Hub, name: str, *, owner: str = "me", key: str | None = None, **limits: Any) -> None:
        self.id = name
        self.owner = owner
        self.key = key
        self.fingerprint = b""
        self.announced = True
        self.stops: list[Ending] = []
        self._hub = hub
        self.stream = Stream(name, "e1", StreamSettings(**limits), self)

    def headers(self) -> dict[str, str]:
        return answer_headers(self.facts().answer)

    def describe(self) -> dict[str, Any]:
        state = "streaming" if self.stream.ending is None else "ended"
        return describe(self.id, state, self.stream.statistics(), self.facts())

    def progress(self) -> AnswerProgress:
        return AnswerProgress()

    def facts(self) -> StreamFacts:
        return StreamFacts(1, "m", "chat", AnswerFacts("alpha"))

    def announce(self) -> None:
        self.announced = True

    def when_decided(self, call: Callable[[RivergateError | None], None]) -> None:
        call(None)

    def pause(self) -> None:
        """The log is full."""

    def resume(self) -> None:
        """There is room again."""

    def stop(self, ending: Ending) -> None:
        self.stops.append(ending)
        self.end(ending)

    def end(self, ending: Ending = Ending.COMPLETED, size: int = 0) -> None:
        self.stream.close(ending, [b"x" * size] if size else [])
        self._hub.end(self.id)


def started(hub: Hub, name: str, **fields: Any) -> Talk:
    talk = Talk(hub, name, **fields)
    hub.add_stream(talk)
    return talk
