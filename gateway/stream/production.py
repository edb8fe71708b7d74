"""Pure: what a hub holds: a completion that runs, and a stream together with its producer."""

from collections.abc import Callable
from typing import Any, Protocol

from gateway.endings import Ending
from gateway.errors import RivergateError
from gateway.stream.description import AnswerProgress, StreamFacts
from gateway.stream.stream import Stream


class Running(Protocol):
    """A completion or a feed that runs and can be ended."""

    @property
    def id(self) -> str:
        """Its id, which no other has."""

    def stop(self, ending: Ending) -> None:
        """End it for this reason."""


class Production(Running, Protocol):
    """A stream together with its producer, which may have ended."""

    @property
    def stream(self) -> Stream:
        """The log and its subscribers."""

    @property
    def owner(self) -> str:
        """Whose it is: the id of an API key, "" for the machine's own users."""

    @property
    def key(self) -> str | None:
        """The X-Stream-Key of its request."""

    @property
    def fingerprint(self) -> bytes:
        """The digest of its request; another request with this key is refused."""

    @property
    def announced(self) -> bool:
        """Whether a client was told its id, and may ask for it after its end."""

    def announce(self) -> None:
        """Somebody was told the id: the stream is kept for replay after its end."""

    def when_decided(self, call: Callable[[RivergateError | None], None]) -> None:
        """Call `call` with the failure, or with None when there is content; at once if that is known already."""

    def headers(self) -> dict[str, str]:
        """The response headers that say who answers; empty while that is not known."""

    def facts(self) -> StreamFacts:
        """What is told of it beside the counts of its stream."""

    def progress(self) -> AnswerProgress:
        """How far its answer has come."""

    def describe(self) -> dict[str, Any]:
        """The JSON object of `GET /v1/streams/{id}`, a new one for each call."""
