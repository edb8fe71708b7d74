"""Pure: joins the events of one streamed chat completion, whose choices have messages and tool calls, to a whole one.

In: frames as the reader gives them, repaired. Out: the document of an answer that is not streamed, as
dialects/choices/joining.py makes it.
"""

from typing import Any

from gateway.dialects.chat.repair import COMPLETION_OBJECT
from gateway.dialects.chat.shapes import JOINED_EVENT
from gateway.dialects.choices.joining import MEMBERS_OF_CHOICE, ChoicesJoiner
from gateway.dialects.event_joining import PLAIN, Steps
from gateway.wire.json_pieces import Elements, Members

_CALLS_OF_STEP = 100  # fragments of tool calls: 2 ms


class ChatJoiner(ChoicesJoiner):
    """Joins the events of one chat completion."""

    __slots__ = ("_calls", "_choices")

    whole_object = COMPLETION_OBJECT
    grows = JOINED_EVENT
    texts = frozenset(
        (
            *("content", "text", "reasoning_content", "reasoning", "refusal", "transcript", "data"),
            *("name", "arguments", "input"),
        )
    )

    def __init__(self) -> None:
        super().__init__()
        self._choices: dict[int, tuple[Members, Members]] = {}  # with the message of each
        self._calls: dict[int, dict[int, Members]] = {}  # the tool calls of each choice, by their indexes

    def _whole_choices(self) -> Elements:
        choices = Elements()
        for index in sorted(self._choices):
            choice, message = self._choices[index]
            if calls := self._calls.get(index):
                message["tool_calls"] = Elements(calls[number] for number in sorted(calls))
            choices.append(choice)
        return choices

    def _add_choice(self, choice: dict[str, Any]) -> Steps:
        index, delta = choice.pop("index"), choice.pop("delta")
        if (known := self._choices.get(index)) is None:
            self._count_more(MEMBERS_OF_CHOICE)
            null = PLAIN.write(None)
            message: Members = {"role": PLAIN.write("assistant"), "content": null}
            begun: Members = {"index": PLAIN.write(index), "message": message, "finish_reason": null}
            known = self._choices[index] = begun, message
        for number, fragment in enumerate(delta.pop("tool_calls", None) or (), 1):
            if number % _CALLS_OF_STEP == 0:
                yield
            self._count_more(1)
            yield from self._merge(self._calls.setdefault(index, {}).setdefault(fragment.pop("index"), {}), fragment)
        choice.pop("message", None)
        whole, message = known
        yield from self._merge(message, delta)
        yield from self._merge(whole, {name: value for name, value in choice.items() if value is not None})
