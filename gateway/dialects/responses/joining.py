"""Pure: the whole response that a streamed one tells: its terminal event holds all of it."""

from collections.abc import Callable, Iterator

from gateway.dialects.dialect import AnswerReport
from gateway.dialects.responses.events import response_in, taken_apart
from gateway.dialects.responses.shapes import JOINED_EVENT
from gateway.dialects.usage import Usage
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridged, Abridger
from gateway.wire.json_filling import FilledText
from gateway.wire.json_pieces import LongText


class JoinedResponse:
    """The response of a terminal event, and the usage as the reader of its events tells it."""

    __slots__ = ("_content", "_usage")

    def __init__(self, content: bytes | LongText, usage: Callable[[int], Usage]) -> None:
        self._content = content
        self._usage = usage

    def usage(self, prompt_tokens: int) -> Usage:
        return self._usage(prompt_tokens)

    def encode(self, report: AnswerReport) -> bytes | LongText:
        return self._content


class ResponseJoiner:
    """Keeps the last frame of one response, which is its terminal event."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: bytes | Abridged = b""

    def add(self, frame: bytes) -> None:
        """Take the next frame."""
        self._last = frame

    def add_in_steps(self, frame: bytes) -> Iterator[None]:
        """Take the next frame, a long one. Raises `ValueError` if it holds too much."""
        start = frame.index(b"data: ") + len(b"data: ")
        abridger = Abridger(frame, JOINED_EVENT, start, len(frame) - len(b"\n\n"))
        yield from abridger.steps()
        self._last = abridger.abridged()

    def document(self, usage: Callable[[int], Usage]) -> JoinedResponse:
        """The response; nothing is added after that."""
        last = self._last
        if isinstance(last, bytes):
            return JoinedResponse(response_in(taken_apart(last).data or b""), usage)
        response = json_text.loads(last.text)["response"]
        return JoinedResponse(FilledText(last, json_text.dumps(response)), usage)
