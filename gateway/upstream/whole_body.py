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
from gateway.errors import BALANCE_SPENT, CostExceeded, UpstreamError
from gateway.upstream.blame import blame_report
from gateway.upstream.bodies import BodyOwner, Steps

MAX_COMPLETION_BYTES = 67108864  # the largest answer that is not streamed, images in base64 included


class WholeBody:
    """An answer that is not streamed: collected to its end, then read by its dialect.

    `is_spent` says whether the bytes that have come cost too much already; then no more of the answer is read.
    """

    __slots__ = ("_data", "_dialect", "_identity", "_is_spent", "_owner", "counts", "document", "over")

    def __init__(
        self,
        owner: BodyOwner,
        dialect: Dialect,
        identity: AnswerIdentity,
        is_spent: Callable[[int], bool] | None = None,
    ) -> None:
        self._owner = owner
        self._dialect = dialect
        self._identity = identity
        self._is_spent = is_spent
        self._data = bytearray()
        self.counts = Counts()
        self.document: AnswerDocument | None = None  # the answer, once it is whole
        self.over = False

    def feed(self, data: bytes) -> None:
        self._data += data
        if self.over:
            return
        if len(self._data) > MAX_COMPLETION_BYTES:
            self.over = True
            self._owner.on_broken(UpstreamError(f"the upstream's answer is over {MAX_COMPLETION_BYTES} bytes"))
        elif self._is_spent is not None and self._is_spent(len(self._data)):
            self.over = True
            owner = self._owner  # the first call may release this body
            owner.on_content()  # the bytes that have come are the answer, and are paid for
            owner.on_broken(CostExceeded(BALANCE_SPENT))

    def finish(self) -> Steps:
        if self.over:
            return None
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
        self.over, self.document, self._data = True, document, bytearray()
        owner = self._owner  # the first call may release this body
        owner.on_content()
        owner.on_complete()

    def _break(self, error: UpstreamError | RecursionError) -> None:
        self.over = True
        if isinstance(error, ReportedFailure):
            self._owner.on_broken(blame_report(error.told, begun=False))
        elif isinstance(error, UpstreamError):
            self._owner.on_broken(error.with_traceback(None))  # the traceback would keep this body in memory
        else:
            self._owner.on_broken(UpstreamError("the upstream's answer is nested too deeply"))

    def stop(self) -> None:
        self.over = True

    def usage(self, prompt_tokens: int) -> Usage:
        """The tokens of the answer; an estimate by the bytes that came if it was cut, or is nested too deeply."""
        if self.document is not None:
            with contextlib.suppress(ValueError, RecursionError):
                return self.document.usage(prompt_tokens)
        return estimate(prompt_tokens, 0, len(self._data))

    def release(self) -> None:
        del self._owner
        self._is_spent = None
