"""Pure: joins the events of one streamed text completion to a whole one.

In: frames as the reader gives them, repaired. Out: the document of an answer that is not streamed, as
dialects/choices/joining.py makes it.
"""

from typing import Any

from gateway.dialects.choices.joining import MEMBERS_OF_CHOICE, ChoicesJoiner
from gateway.dialects.completions.repair import OBJECT, TEXTS
from gateway.dialects.completions.shapes import JOINED_EVENT
from gateway.dialects.event_joining import PLAIN, Steps
from gateway.wire.json_pieces import Elements, Members, Text


class CompletionsJoiner(ChoicesJoiner):
    """Joins the events of one text completion."""

    __slots__ = ("_choices",)

    whole_object = OBJECT
    grows = JOINED_EVENT
    texts = frozenset(TEXTS)

    def __init__(self) -> None:
        super().__init__()
        self._choices: dict[int, Members] = {}

    def _whole_choices(self) -> Elements:
        return Elements(self._choices[index] for index in sorted(self._choices))

    def _add_choice(self, choice: dict[str, Any]) -> Steps:
        index = choice.pop("index")
        if (known := self._choices.get(index)) is None:
            self._count_more(MEMBERS_OF_CHOICE)
            null = PLAIN.write(None)
            known = self._choices[index] = {
                "text": Text(),
                "index": PLAIN.write(index),
                "logprobs": null,
                "finish_reason": null,
            }
        yield from self._merge(known, {name: value for name, value in choice.items() if value is not None})
