"""Pure: the reader of the body of an answer that is not streamed.

In: the bytes of the body, read by read. Out: calls to its `BodyOwner` at the end. What the document means is the
dialect's business (dialects/dialect.py).
"""

import contextlib
from collections.abc import Callable, Iterator

from gateway.dialects.dialect import AnswerDocument, AnswerIdentity, Dialect, ReportedFailure
from gateway.dialects.learned_shape import Counts
from gateway.dialects.long_event import LONG_BYTES
from gateway.dialects.usage import Usage, estimate
from gateway.errors import BALANCE_SPENT, CostExceeded, RivergateError, UpstreamError
from gateway.upstream.blame import blame_report
from gateway.upstream.bodies import BodyOwner, Steps
from gateway.upstream.body_kind import ENOUGH, begins_events_alone
from gateway.upstream.joined_events import JoinedEvents
from gateway.wire import sse
from gateway.wire.media_text import WINDOW_BYTES, is_media

MAX_COMPLETION_BYTES = 67108864  # the largest answer that is not streamed, images in base64 included


class WholeBody:
    """An answer that is not streamed: collected to its end, then read by its dialect.

    Where events come in its place, they are read as they come, and joined. `is_spent` says whether the bytes that
    have come cost too much already; then no more of the answer is read.
    """

    __slots__ = (
        "_data",
        "_dialect",
        "_events",
        "_identity",
        "_is_decided",
        "_is_spent",
        "_looked_at",
        "_max_event_bytes",
        "_media_bytes",
        "_owner",
        "_size",
        "counts",
        "document",
        "over",
    )

    def __init__(
        self,
        owner: BodyOwner,
        dialect: Dialect,
        identity: AnswerIdentity,
        is_spent: Callable[[int], bool] | None = None,
        max_event_bytes: int = sse.MAX_EVENT_BYTES,
    ) -> None:
        self._owner = owner
        self._dialect = dialect
        self._identity = identity
        self._is_spent = is_spent
        self._max_event_bytes = max_event_bytes
        self._data = bytearray()
        self._size = 0
        self._looked_at = 0  # the bytes that `_find_media` has looked at
        self._media_bytes = 0  # bytes of images and sounds
        self._is_decided = False  # it is known whether the body is a document or events
        self._events: JoinedEvents | None = None  # what reads the body, if it is events
        self.counts = Counts()
        self.document: AnswerDocument | None = None  # the answer, once it is whole
        self.over = False

    def feed(self, data: bytes) -> Steps:
        self._size += len(data)
        if self._events is None:
            self._data += data
        if self.over:
            return None
        if self._size > MAX_COMPLETION_BYTES:
            self.on_broken(UpstreamError(f"the upstream's answer is over {MAX_COMPLETION_BYTES} bytes"))
            return None
        if not self._is_decided:
            data = self._decide()
        steps = self._events.feed(data) if self._events is not None else None
        self._find_media()
        # Events take many more bytes than their text, which is all that is sure to have cost something.
        text_bytes = self.counts.text_bytes if self._events else self._size - self._media_bytes
        if self._is_spent is not None and self._is_spent(text_bytes):
            self._spend()
        return steps

    def finish(self) -> Steps:
        if self.over:
            return None
        if self._events is not None:
            return self._events.finish()
        if len(self._data) > LONG_BYTES:
            return self._finish_in_steps()
        try:
            document = self._dialect.read_document(self._data, self._identity)
        except (UpstreamError, RecursionError) as error:
            self._break(error)
        else:
            self._complete(document)
        return None

    def _finish_in_steps(self) -> Iterator[None]:
        reading = self._dialect.read_long_document(self._data, self._identity)
        while not self.over:
            try:
                next(reading)
            except StopIteration as end:
                self._complete(end.value)
            except (UpstreamError, RecursionError) as error:
                self._break(error)
            else:
                yield

    def _complete(self, document: AnswerDocument) -> None:
        self._data = bytearray()
        self.on_document(document)

    def _break(self, error: UpstreamError | RecursionError) -> None:
        if isinstance(error, ReportedFailure):
            self.on_broken(blame_report(error.told, begun=False))
        elif isinstance(error, UpstreamError):
            self.on_broken(error.with_traceback(None))  # the traceback would keep this body in memory
        else:
            self.on_broken(UpstreamError("the upstream's answer is nested too deeply"))

    def stop(self) -> None:
        self.over = True
        if self._events is not None:
            self._events.stop()

    def usage(self, prompt_tokens: int) -> Usage:
        """The tokens of the answer; an estimate by the bytes that came if it was cut, or is nested too deeply."""
        if self._events is not None:
            return self._events.usage(prompt_tokens)
        if self.document is not None:
            with contextlib.suppress(ValueError, RecursionError):
                return self.document.usage(prompt_tokens)
        return estimate(prompt_tokens, 0, max(len(self._data) - self._media_bytes, 0))

    def release(self) -> None:
        del self._owner
        self._is_spent = None
        if self._events is not None:
            self._events.release()

    # --- the document (DocumentOwner)

    def on_document(self, document: AnswerDocument) -> None:
        """Tell the owner that the answer is whole."""
        if self.over:
            return
        self.over, self.document = True, document
        owner = self._owner  # the first call may release this body
        owner.on_content()
        owner.on_complete()

    def on_broken(self, error: RivergateError) -> None:
        """Tell the owner that there is no answer."""
        if not self.over:
            self.over = True
            self._owner.on_broken(error)

    # --- inside

    def _decide(self) -> bytes:
        """Look whether the body is events; returns the bytes for what reads them."""
        head = bytes(self._data[:ENOUGH])
        are_events = begins_events_alone(head)
        self._is_decided = are_events is not None or len(self._data) >= ENOUGH
        if not are_events:
            return b""
        self._events = JoinedEvents(self, self._dialect, self._identity, self._max_event_bytes)
        self.counts = self._events.counts
        data, self._data = bytes(self._data), bytearray()
        return data

    def _find_media(self) -> None:
        """Look at what has come, window by window; a window takes 4 us."""
        data = self._data
        while len(data) - self._looked_at >= WINDOW_BYTES:
            if is_media(data, self._looked_at):
                self._media_bytes += WINDOW_BYTES
            self._looked_at += WINDOW_BYTES

    def _spend(self) -> None:
        if self.over:
            return
        self.stop()
        owner = self._owner  # the first call may release this body
        owner.on_content()  # what has come is the answer, and is paid for
        owner.on_broken(CostExceeded(BALANCE_SPENT))
