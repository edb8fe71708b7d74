"""Pure: the count of a prompt's tokens, as an upstream answers it: one JSON object, never a stream.

The invariant: the answer goes out as the very bytes that came, and is billed as nothing.
"""

from collections.abc import Callable, Generator, Iterator
from typing import NoReturn

from gateway.dialects.dialect import AnswerReport, Meaning, ReportedFailure, UpstreamMessage
from gateway.dialects.learned_shape import Counts, LearnedShape
from gateway.dialects.messages import errors, frames
from gateway.dialects.usage import Usage
from gateway.errors import RivergateError, UpstreamError
from gateway.wire import json_text, sse

MAX_ANSWER_BYTES = 65536  # a longer answer is no count
_FREE = Usage(0, 0, estimated=False)
_NO_EVENTS = "a count does not come as events"


class CountDocument:
    """An answer with the count under `input_tokens`."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def usage(self, prompt_tokens: int) -> Usage:
        """Nothing: no model was asked."""
        return _FREE

    def encode(self, report: AnswerReport) -> bytes:
        """The answer as it came."""
        return self._content


def read_document(content: bytes | bytearray) -> CountDocument:
    """Read an answer. Raises `UpstreamError` if it is no count, or an error object."""
    if len(content) > MAX_ANSWER_BYTES:
        raise UpstreamError(f"the upstream's answer is not a count: it has more than {MAX_ANSWER_BYTES} bytes")
    try:
        answer = json_text.loads(content)
    except ValueError:
        raise UpstreamError("the upstream's answer is not JSON") from None
    if not isinstance(answer, dict):
        raise UpstreamError("the upstream's answer is not a JSON object")
    if type(answer.get("input_tokens")) is int:
        return CountDocument(bytes(content))
    if answer.get("type") == "error" or answer.get("error") or answer.get("detail"):
        raise ReportedFailure.of(errors.read_error(answer))
    raise UpstreamError("the upstream's answer is not a count: it has no input_tokens")


class CountReader:
    """Reads events that an upstream sends in place of a count: none of them is an answer."""

    __slots__ = ("_request_id", "counts", "shape")

    unfinished = "events in place of a count"
    finished = False
    last_words: UpstreamMessage | None = None

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self.counts = Counts()
        self.shape = LearnedShape(self.counts)

    def read_beginning(self, data: bytes) -> tuple[list[bytes], int] | None:
        """None: no answer begins with events."""
        return None

    def read_rest(self, data: bytes) -> bytes | None:
        """None: no answer ends with events."""
        return None

    def read(self, block: bytes) -> Meaning:
        """The error that an event is, in the upstream's words if it tells of a failure."""
        event = sse.decode(block)
        if event.data is None:
            return Meaning()
        told = None
        if len(event.data) <= MAX_ANSWER_BYTES:
            try:
                payload = json_text.loads(event.data)
            except ValueError:
                payload = None
            if isinstance(payload, dict):
                told = errors.read_event_error(payload, named=event.name == b"error")
        return Meaning(error=_NO_EVENTS, told=told)

    def read_in_steps(self, block: bytes) -> Generator[None, None, Meaning]:
        """The error that a long event is."""
        yield
        return Meaning(error=_NO_EVENTS)

    def is_terminal(self, rest: bytes) -> bool:
        """False: no answer ends with events."""
        return False

    def usage(self, prompt_tokens: int) -> Usage:
        """Nothing: no model was asked."""
        return _FREE

    def closing_frames(self, report: AnswerReport | None, finish_frame: bytes | None) -> list[bytes]:
        """None: no answer ends with events."""
        return []

    def break_frames(self, error: RivergateError) -> list[bytes]:
        """The frame of the event that every client raises as an error."""
        return [frames.encode(errors.envelope(error, self._request_id))]


class CountJoiner:
    """Refuses the events that an upstream sends in place of a count."""

    def add(self, frame: bytes) -> NoReturn:
        """Raises `ValueError`."""
        raise ValueError(_NO_EVENTS)

    def add_in_steps(self, frame: bytes) -> Iterator[None]:
        """Raises `ValueError`."""
        self.add(frame)

    def document(self, usage: Callable[[int], Usage]) -> NoReturn:
        """Raises `UpstreamError`: there is none."""
        raise UpstreamError(_NO_EVENTS)
