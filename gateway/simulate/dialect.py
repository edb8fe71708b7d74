"""Pure: the seam of simulated dialects: what a simulated provider has to know of one API to play a script in it.

A script says when things happen and what breaks; a dialect says what the events and the JSON look like. A new dialect
is a module beside `chat.py` and a line in `provider.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from gateway.simulate.script import Script
from gateway.simulate.steps import Facts


class SimulatedAnswer(Protocol):
    """One answer, as frames or as one document. The frames are in the style of SSE that the script asks for."""

    def opening(self) -> Iterator[bytes]:
        """The frames before the first token."""

    def reasoning(self) -> Iterator[bytes]:
        """The frames of the reasoning before the answer, one for each token."""

    def content(self) -> Iterator[bytes]:
        """The frames of the answer, one for each token."""

    def closing(self) -> Iterator[bytes]:
        """The frames after the last token, the terminal event included, as far as the script asks for them."""

    def error(self) -> bytes:
        """The frame of an error in the stream."""

    def count_tokens(self) -> int:
        """How many frames `reasoning` and `content` give together."""

    def document(self) -> bytes:
        """The whole answer as JSON, for a request that is not streamed."""


class SimulatedDialect(Protocol):
    """One API as a value without state."""

    path: str  # the path that clients post to

    def facts(self, body: Mapping[str, Any], *, keep_alive: bool, chunked: bool) -> Facts:
        """The facts of a request that a plan needs, from the JSON of its body and from its HTTP."""

    def answer(self, script: Script, facts: Facts) -> SimulatedAnswer:
        """The answer to a request, as the script describes it."""

    def error_document(self, status: int) -> bytes:
        """The JSON of an error answer with this status."""
