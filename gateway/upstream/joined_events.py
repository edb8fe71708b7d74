"""Pure: the reader of an answer that was not to be streamed, and came as events all the same.

In: the bytes of the body, read by read. Out: the whole answer that its events tell, or why there is none, in calls to
a `DocumentOwner`. The invariant: nothing is told before the answer is whole, so another upstream can take its place.
"""

from typing import Protocol

from gateway.dialects.dialect import AnswerDocument, AnswerIdentity, Dialect
from gateway.errors import RivergateError
from gateway.upstream.bodies import StreamBody


class DocumentOwner(Protocol):
    """Whoever waits for the whole answer."""

    def on_document(self, document: AnswerDocument) -> None:
        """The answer is whole."""

    def on_broken(self, error: RivergateError) -> None:
        """The answer is an error, or cannot be used."""


class JoinedEvents:
    """The events of one answer (`bodies.BodyOwner` and `bodies.FrameReceiver` of the body that reads them)."""

    __slots__ = ("_body", "_joiner", "_owner")

    singly = False

    def __init__(
        self, owner: DocumentOwner, dialect: Dialect, identity: AnswerIdentity, max_event_bytes: int
    ) -> None:
        self._owner = owner
        self._joiner = dialect.joiner()
        self._body = StreamBody(self, dialect.reader(identity), max_event_bytes=max_event_bytes)

    @property
    def body(self) -> StreamBody:
        """The body, which takes the bytes."""
        return self._body

    # --- the body's side

    def on_content(self) -> None:
        self._body.flow_to(self)

    def on_frame(self, frame: bytes, chunk: bytes = b"") -> None:
        self._joiner.add(frame)

    def on_frames(self, frames: list[bytes]) -> None:
        for frame in frames:
            self._joiner.add(frame)

    def on_complete(self) -> None:
        self.on_frames(self._body.closing_frames(None))
        self._owner.on_document(self._joiner.document(self._body.usage))

    def on_broken(self, error: RivergateError) -> None:
        self._owner.on_broken(error)

    def release(self) -> None:
        """Let go of the body and the owner, which know this object."""
        self._body.release()
        del self._owner
