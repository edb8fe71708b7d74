"""Pure: joins the objects of the events of a streamed completion, chat or text, to the whole one that they tell.

In: frames as the reader of the dialect gives them, repaired. Out: the document of an answer that is not streamed. The
invariant: what events hold is kept as JSON, not as values, so that it takes no more memory than the events did.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from gateway.dialects.dialect import AnswerReport
from gateway.dialects.usage import Usage
from gateway.wire import json_text
from gateway.wire.json_abridged import Abridger, Shape
from gateway.wire.json_pieces import Elements, JoinedText, LongText, Members, Node, PieceWriter, Text

MAX_LEVELS = 4  # of objects whose texts come in pieces: a choice, its message, a call, its function
MAX_MEMBERS = 100_000  # of all choices, calls and objects whose texts come in pieces
MEMBERS_OF_CHOICE = 8  # as which a choice counts
_MEMBERS_OF_STEP = 1000  # 4 ms
# Bytes of events, and members, of which a document is written in one step: 3 ms.
_AT_ONCE, _MEMBERS_AT_ONCE = 1 << 18, 1000
_SAYS_NOTHING = (None, "")  # such a value replaces none that came before
PLAIN = PieceWriter()

Steps = Iterator[None]


class JoinedCompletion:
    """The whole completion, and the usage as the reader of its events tells it."""

    __slots__ = ("_completion", "_is_short", "_usage")

    def __init__(self, completion: Members, usage: Callable[[int], Usage], *, is_short: bool) -> None:
        self._completion = completion
        self._usage = usage
        self._is_short = is_short

    def usage(self, prompt_tokens: int) -> Usage:
        return self._usage(prompt_tokens)

    def encode(self, report: AnswerReport) -> bytes | LongText:
        members = {"usage": report.usage.as_json(), "routing_metadata": report.metadata}
        text = JoinedText(self._completion | {name: PLAIN.write(value) for name, value in members.items()})
        return bytes(text) if self._is_short else text


class ChoicesJoiner(ABC):
    """Joins the events of one completion. Texts and lists are collected in pieces, which are never joined here.

    A subclass is the joiner of a dialect. `whole_object`: the member `object` of its whole answers; `grows`: what
    grows in its events; `texts`: the names of the members whose strings come in pieces.
    """

    whole_object: ClassVar[str]
    grows: ClassVar[Shape]
    texts: ClassVar[frozenset[str]]

    __slots__ = ("_count", "_members", "_size", "_writer")

    def __init__(self) -> None:
        self._members: Members = {}  # what stands beside the choices; the last event that says something counts
        self._count = 0  # of members
        self._size = 0  # of all frames
        self._writer = PLAIN  # of the event that is being added

    def add(self, frame: bytes) -> None:
        """Add the next frame. Raises `ValueError` if it is too much."""
        self._size += len(frame)
        for _ in self._add(json_text.loads(frame[6:])):
            pass

    def add_in_steps(self, frame: bytes) -> Steps:
        """Add the next frame, a long one: the pieces of its event are filled when they are written."""
        self._size += len(frame)
        abridger = Abridger(frame, self.grows, len(b"data: "), len(frame) - len(b"\n\n"))
        yield from abridger.steps()
        abridged = abridger.abridged()
        yield
        self._writer = PieceWriter(abridged)
        yield from self._add(json_text.loads(abridged.text))
        self._writer = PLAIN

    def document(self, usage: Callable[[int], Usage]) -> JoinedCompletion:
        """The completion; nothing is added after that."""
        completion: Members = {
            **self._members,
            "object": PLAIN.write(self.whole_object),
            "choices": self._whole_choices(),
        }
        is_short = self._size <= _AT_ONCE and self._count <= _MEMBERS_AT_ONCE
        return JoinedCompletion(completion, usage, is_short=is_short)

    # --- what a dialect knows

    @abstractmethod
    def _whole_choices(self) -> Elements:
        """The choices as they stand in the whole completion."""

    @abstractmethod
    def _add_choice(self, choice: dict[str, Any]) -> Steps:
        """Add a choice of an event to what the choice with its index has brought before."""

    # --- inside

    def _add(self, event: dict[str, Any]) -> Steps:
        choices = event.pop("choices")
        for name, value in event.items():
            if value not in _SAYS_NOTHING or name not in self._members:
                self._set(self._members, name, value)
        for choice in choices:
            yield from self._add_choice(choice)

    def _merge(self, whole: Members, part: dict[str, Any], levels: int = MAX_LEVELS) -> Steps:
        """Add a part to what has come before: texts, lists and objects grow, all else is replaced.

        Objects below so many levels are replaced, too.
        """
        for number, (name, value) in enumerate(part.items(), 1):
            if number % _MEMBERS_OF_STEP == 0:
                yield
            known = whole.get(name)
            if isinstance(value, str) and name in self.texts and not isinstance(known, Elements):
                if not isinstance(known, Text):
                    known = Text()
                    self._put(whole, name, known)
                piece = self._writer.write_inner(value)
                if name != "name" or known != [piece]:  # some upstreams repeat the whole name in each event
                    known.append(piece)
            elif isinstance(value, list) or isinstance(known, Elements):
                self._put(whole, name, self._grown(known, value))
            elif isinstance(value, dict) and levels:
                if not isinstance(known, dict):
                    known = {}
                    self._put(whole, name, known)
                yield from self._merge(known, value, levels - 1)
            elif value not in _SAYS_NOTHING or name not in whole:
                self._set(whole, name, value)

    def _grown(self, known: Node | None, value: Any) -> Elements:
        """The list with what follows it; a text before or behind it becomes a part of it."""
        before = known if isinstance(known, Elements) else Elements()
        if isinstance(known, Text) and any(known):
            before.append({"type": PLAIN.write("text"), "text": known})
        if isinstance(value, list):
            if value:
                before.append(self._writer.write_inner(value))
        elif value:
            before.append(self._writer.write({"type": "text", "text": value} if isinstance(value, str) else value))
        return before

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
