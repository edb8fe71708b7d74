"""Pure: joins the objects of the events of a streamed completion, chat or text, to the whole one that they tell.

In: frames as the reader of the dialect gives them, repaired. Out: the document of an answer that is not streamed. The
invariant: what events hold is kept as JSON, not as values, so that it takes no more memory than the events did.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from gateway.dialects.dialect import AnswerReport
from gateway.dialects.event_joining import AT_ONCE, MEMBERS_OF_STEP, PLAIN, EventJoiner, JoinedAnswer, Steps
from gateway.dialects.usage import Usage
from gateway.wire.json_pieces import Elements, Members, Node, Text

MAX_LEVELS = 4  # of objects whose texts come in pieces: a choice, its message, a call, its function
MEMBERS_OF_CHOICE = 8  # as which a choice counts
_MEMBERS_AT_ONCE = 1000  # members of which a document is written in one step: 3 ms
_SAYS_NOTHING = (None, "")  # such a value replaces none that came before


class ChoicesJoiner(EventJoiner):
    """Joins the events of one completion. Texts and lists are collected in pieces, which are never joined here.

    A subclass is the joiner of a dialect. `whole_object`: the member `object` of its whole answers; `texts`: the
    names of the members whose strings come in pieces.
    """

    whole_object: ClassVar[str]
    texts: ClassVar[frozenset[str]]

    __slots__ = ("_members",)

    def __init__(self) -> None:
        super().__init__()
        self._members: Members = {}  # what stands beside the choices; the last event that says something counts

    def document(self, usage: Callable[[int], Usage]) -> JoinedAnswer:
        """The completion; nothing is added after that."""
        completion: Members = {
            **self._members,
            "object": PLAIN.write(self.whole_object),
            "choices": self._whole_choices(),
        }

        def complete(report: AnswerReport) -> Members:
            members = {"usage": report.usage.as_json(), "routing_metadata": report.metadata}
            return completion | {name: PLAIN.write(value) for name, value in members.items()}

        is_short = self._size <= AT_ONCE and self._count <= _MEMBERS_AT_ONCE
        return JoinedAnswer(complete, usage, is_short=is_short)

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
            if number % MEMBERS_OF_STEP == 0:
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
