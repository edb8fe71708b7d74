"""Pure: the reader of events that come in the place of an answer which is never streamed: every event is a fault.

In: blocks. Out: meanings that break the answer, in the upstream's words if it reports an error. Dialects without
streams have this reader, and a joiner that is given nothing.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

from gateway.dialects.dialect import AnswerDocument, AnswerReport, Meaning, UpstreamMessage
from gateway.dialects.learned_shape import Counts, LearnedShape
from gateway.dialects.usage import Usage
from gateway.errors import RivergateError
from gateway.wire import json_text, sse

NO_STREAM = "the upstream sent events in the place of an answer that is not streamed"
_MUCH_BYTES = 65536  # a longer event is not read
_NO_EVENT = Meaning()

ReadError = Callable[[Mapping[str, Any]], UpstreamMessage | None]


class NoEventsReader:
    """Refuses the first event. `read_error` finds the upstream's message in an event that is an error."""

    __slots__ = ("_read_error", "counts", "shape")

    unfinished = "no answer"
    finished = False
    last_words: UpstreamMessage | None = None

    def __init__(self, read_error: ReadError) -> None:
        self._read_error = read_error
        self.counts = Counts()
        self.shape = LearnedShape(self.counts)

    def read_beginning(self, data: bytes) -> tuple[list[bytes], int] | None:
        """None: no answer begins with an event."""
        return None

    def read_rest(self, data: bytes) -> bytes | None:
        """None: no answer ends with an event."""
        return None

    def read(self, block: bytes) -> Meaning:
        """A fault, if the block is an event; the upstream's words count if it is short and reports an error."""
        data = sse.decode(block).data if len(block) <= _MUCH_BYTES else b""
        if data is None:
            return _NO_EVENT
        try:
            value = json_text.loads(data)
        except ValueError:
            value = None
        told = self._read_error(value) if isinstance(value, dict) else None
        return Meaning(error=NO_STREAM if told is None else "the upstream reported an error", told=told)

    def read_in_steps(self, block: bytes) -> Generator[None, None, Meaning]:
        """The meaning of a long block: a fault."""
        yield
        return self.read(block)

    def is_terminal(self, rest: bytes) -> bool:
        """False: nothing ends an answer that is none."""
        return False

    def usage(self, prompt_tokens: int) -> Usage:
        """Our own estimate."""
        return Usage(prompt_tokens, 0, estimated=True)

    def closing_frames(self, report: AnswerReport | None, finish_frame: bytes | None) -> list[bytes]:
        """No frames: nothing is streamed."""
        return []

    def break_frames(self, error: RivergateError) -> list[bytes]:
        """No frames: nothing is streamed."""
        return []


class NoEventsJoiner:
    """Joins nothing, since every event breaks the answer before."""

    __slots__ = ()

    def add(self, frame: bytes) -> None:
        """Refuse a frame."""
        raise ValueError(NO_STREAM)

    def add_in_steps(self, frame: bytes) -> Iterator[None]:
        """Refuse a frame."""
        raise ValueError(NO_STREAM)

    def document(self, usage: Callable[[int], Usage]) -> AnswerDocument:
        """Refuse an answer."""
        raise ValueError(NO_STREAM)
