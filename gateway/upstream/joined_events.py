"""Pure: the reader of an answer that was not to be streamed, and came as events all the same.

In: the bytes of the body, read by read. Out, in short steps: the whole answer that its events tell, or why there is
none, in calls to a `DocumentOwner`. The invariant: nothing is told before the answer is whole, so that another
upstream can take its place.
"""

from collections.abc import Iterator
from typing import Protocol

from gateway.dialects.dialect import AnswerDocument, AnswerIdentity, Dialect
from gateway.dialects.learned_shape import Counts
from gateway.dialects.usage import Usage
from gateway.errors import RivergateError, UpstreamError
from gateway.upstream.bodies import Steps, StreamBody

_STEP_BYTES = 32768  # of the frames that are joined in one step, and one frame more
_LONG_FRAME_BYTES = 16384  # a longer frame is joined in steps of its own; this one takes 5 ms at most


class DocumentOwner(Protocol):
    """Whoever waits for the whole answer."""

    def on_document(self, document: AnswerDocument) -> None:
        """The answer is whole."""

    def on_broken(self, error: RivergateError) -> None:
        """The answer is an error, or cannot be used."""


class JoinedEvents:
    """The events of one answer (`bodies.BodyOwner` and `bodies.FrameReceiver` of the body that reads them)."""

    __slots__ = ("_body", "_frames", "_is_over", "_is_whole", "_joiner", "_owner")

    singly = False

    def __init__(
        self, owner: DocumentOwner, dialect: Dialect, identity: AnswerIdentity, max_event_bytes: int
    ) -> None:
        self._owner = owner
        self._joiner = dialect.joiner()
        self._body = StreamBody(self, dialect.reader(identity), max_event_bytes=max_event_bytes)
        self._frames: list[bytes] = []  # those that are not joined yet
        self._is_whole = False  # all frames have come
        self._is_over = False  # the owner is told nothing more

    @property
    def counts(self) -> Counts:
        """What came so far."""
        return self._body.counts

    def usage(self, prompt_tokens: int) -> Usage:
        """The tokens so far."""
        return self._body.usage(prompt_tokens)

    def feed(self, data: bytes) -> Steps:
        """Take the next bytes of the body."""
        return self._begun(self._body.feed(data))

    def finish(self) -> Steps:
        """Take the end of the body."""
        return self._begun(self._body.finish())

    def stop(self) -> None:
        """Tell the owner nothing more."""
        self._is_over = True
        self._body.stop()

    def release(self) -> None:
        """Let go of the body and the owner, which know this object."""
        self._body.release()
        del self._owner

    # --- the body's side

    def on_content(self) -> None:
        self._body.flow_to(self)

    def on_frame(self, frame: bytes, chunk: bytes = b"") -> None:
        self._frames.append(frame)

    def on_frames(self, frames: list[bytes]) -> None:
        self._frames += frames

    def on_complete(self) -> None:
        self._frames += self._body.closing_frames(None)
        self._is_whole = True

    def on_broken(self, error: RivergateError) -> None:
        if not self._is_over:
            self._is_over = True
            self._owner.on_broken(error)

    # --- inside

    def _begun(self, reading: Steps) -> Steps:
        """The steps that are left after the first one."""
        steps = self._read_and_join(reading)
        return steps if next(steps, self) is not self else None

    def _read_and_join(self, reading: Steps) -> Iterator[None]:
        for _ in reading or ():
            yield from self._join()
            yield
            if self._is_over:
                return
        yield from self._join()
        if self._is_whole and not self._is_over:
            self._is_over = True
            self._owner.on_document(self._joiner.document(self._body.usage))

    def _join(self) -> Iterator[None]:
        """Join the frames that have come."""
        frames, self._frames = self._frames, []
        size = 0
        try:
            for frame in frames:
                if self._is_over:
                    return
                if size > _STEP_BYTES:
                    size = 0
                    yield
                if len(frame) > _LONG_FRAME_BYTES:
                    for _ in self._joiner.add_in_steps(frame):
                        yield
                        if self._is_over:
                            return
                else:
                    size += len(frame)
                    self._joiner.add(frame)
        except ValueError as problem:
            self._body.stop()
            self.on_broken(UpstreamError(f"the upstream's events cannot be joined to one answer: {problem}"))
