"""Pure: what the dialects share in joining the events of a streamed answer to the whole one that they tell.

In: frames as the reader of the dialect gives them, repaired. Out: the document of an answer that is not streamed. The
invariant: what events hold is kept as JSON, not as values, so that it takes no more memory than the events did; and
there is a limit to the objects in which it is kept.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from gateway.dialects.dialect import AnswerReport
from gateway.dialects.usage import Usage
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridger, Shape
from gateway.wire.json_pieces import JoinedText, LongText, Members, Node, PieceWriter

MAX_MEMBERS = 100_000  # of all objects of the answer that are kept in pieces
MEMBERS_OF_STEP = 1000  # 4 ms
AT_ONCE = 1 << 18  # bytes of events from which a document is written in one step: 3 ms
PLAIN = PieceWriter()
_DATA = b"data: "

Steps = Iterator[None]


class JoinedAnswer:
    """The whole answer, and the usage as the reader of its events tells it.

    `complete`: the answer with what the report tells of it.
    """

    __slots__ = ("_complete", "_is_short", "_usage")

    def __init__(
        self, complete: Callable[[AnswerReport], Members], usage: Callable[[int], Usage], *, is_short: bool
    ) -> None:
        self._complete = complete
        self._usage = usage
        self._is_short = is_short

    def usage(self, prompt_tokens: int) -> Usage:
        return self._usage(prompt_tokens)

    def encode(self, report: AnswerReport) -> bytes | LongText:
        text = JoinedText(self._complete(report))
        return bytes(text) if self._is_short else text


class EventJoiner(ABC):
    """Joins the events of one answer. Texts are collected in pieces, which are never joined here.

    A subclass is the joiner of a dialect. `grows`: what grows in its events.
    """

    grows: ClassVar[Shape]

    __slots__ = ("_count", "_size", "_writer")

    def __init__(self) -> None:
        self._count = 0  # of members
        self._size = 0  # of all frames
        self._writer = PLAIN  # of the event that is being added

    def add(self, frame: bytes) -> None:
        """Add the next frame. Raises `ValueError` if it is too much, or does not fit to those before."""
        self._size += len(frame)
        for _ in self._add(json_text.loads(frame[_data_at(frame) :])):
            pass

    def add_in_steps(self, frame: bytes) -> Steps:
        """Add the next frame, a long one: the pieces of its event are filled when they are written."""
        self._size += len(frame)
        abridger = Abridger(frame, self.grows, _data_at(frame), len(frame) - len(b"\n\n"))
        yield from abridger.steps()
        abridged = abridger.abridged()
        yield
        self._writer = PieceWriter(abridged)
        yield from self._add(json_text.loads(abridged.text))
        self._writer = PLAIN

    @abstractmethod
    def _add(self, event: dict[str, Any]) -> Steps:
        """Add an event to what has come before. Raises `ValueError`."""

    def _set(self, whole: Members, name: str, value: Any) -> None:
        """Replace a member; members that were left out of a long event get a number of their own."""
        if self._writer.is_left_out(name):
            whole[len(whole)] = self._writer.write_inner({name: value})
            self._count_more(1)
        else:
            self._put(whole, name, self._writer.write(value))

    def _put(self, whole: Members, name: str, node: Node) -> None:
        if name not in whole:
            self._count_more(1)
        whole[name] = node

    def _count_more(self, members: int) -> None:
        self._count += members
        if self._count > MAX_MEMBERS:
            raise ValueError(f"more than {MAX_MEMBERS} members")


def _data_at(frame: bytes) -> int:
    """Where the JSON of a frame begins, behind its name if it has one."""
    return len(_DATA) if frame.startswith(_DATA) else frame.index(b"\n" + _DATA) + 1 + len(_DATA)
