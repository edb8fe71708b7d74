"""Pure: joins the chunk objects of a streamed chat completion to the whole completion that they tell.

In: frames as the reader of the dialect gives them, repaired. Out: the document of an answer that is not streamed.
"""

from collections.abc import Callable
from typing import Any

from gateway.dialects.chat.repair import COMPLETION_OBJECT
from gateway.dialects.dialect import AnswerReport
from gateway.dialects.usage import Usage
from gateway.wire import json_text

MAX_LEVELS = 4  # of objects whose texts come in pieces: a choice, its message, a call, its function
_TEXTS = frozenset(  # the members whose strings come in pieces
    {"content", "reasoning_content", "reasoning", "refusal", "name", "arguments", "transcript", "data"}
)


class JoinedCompletion:
    """The whole completion, and the usage as the reader of its events tells it."""

    __slots__ = ("_completion", "_usage")

    def __init__(self, completion: dict[str, Any], usage: Callable[[int], Usage]) -> None:
        self._completion = completion
        self._usage = usage

    def usage(self, prompt_tokens: int) -> Usage:
        return self._usage(prompt_tokens)

    def encode(self, report: AnswerReport) -> bytes:
        members = {"usage": report.usage.as_json(), "routing_metadata": report.metadata}
        return json_text.dumps_line({**self._completion, **members})


class ChatJoiner:
    """Joins the events of one completion. Texts are collected in pieces, and joined at the end."""

    __slots__ = ("_calls", "_choices", "_members")

    def __init__(self) -> None:
        self._members: dict[str, Any] = {}  # what stands beside the choices; the last event counts
        self._choices: dict[int, dict[str, Any]] = {}
        self._calls: dict[int, dict[int, dict[str, Any]]] = {}  # the tool calls of each choice, by their indexes

    def add(self, frame: bytes) -> None:
        """Add the next frame."""
        event = json_text.loads(frame[6:])
        choices = event.pop("choices")
        self._members.update(event)
        for choice in choices:
            self._add_choice(choice)

    def document(self, usage: Callable[[int], Usage]) -> JoinedCompletion:
        """The completion; nothing is added after that."""
        choices = [_joined(self._choices[index]) for index in sorted(self._choices)]
        for choice in choices:
            if calls := self._calls.get(choice["index"]):
                choice["message"]["tool_calls"] = [_joined(calls[index]) for index in sorted(calls)]
        return JoinedCompletion({**self._members, "object": COMPLETION_OBJECT, "choices": choices}, usage)

    def _add_choice(self, choice: dict[str, Any]) -> None:
        index, delta = choice.pop("index"), choice.pop("delta")
        whole = self._choices.get(index)
        if whole is None:
            message = {"role": "assistant", "content": None}
            whole = self._choices[index] = {"index": index, "message": message, "finish_reason": None}
        for fragment in delta.pop("tool_calls", None) or ():
            _merge(self._calls.setdefault(index, {}).setdefault(fragment.pop("index"), {}), fragment)
        choice.pop("message", None)
        _merge(whole["message"], delta)
        _merge(whole, {name: value for name, value in choice.items() if value is not None})


class _Pieces(list[str]):
    """A text that is not joined yet."""


class _Parts(list[Any]):
    """A list that grows with the events."""


def _merge(whole: dict[str, Any], part: dict[str, Any], levels: int = MAX_LEVELS) -> None:
    """Add a part to what has come before: texts, lists and objects grow, all else is replaced.

    Objects below so many levels are replaced, too.
    """
    for name, value in part.items():
        known = whole.get(name)
        if isinstance(value, str) and name in _TEXTS and not isinstance(known, _Parts):
            if isinstance(known, _Pieces):
                known.append(value)
            else:
                whole[name] = _Pieces([value])
        elif isinstance(value, list) or isinstance(known, _Parts):
            whole[name] = _grown(known, value)
        elif isinstance(value, dict) and levels:
            if not isinstance(known, dict):
                known = whole[name] = {}
            _merge(known, value, levels - 1)
        elif value is not None or name not in whole:
            whole[name] = value


def _grown(known: Any, value: Any) -> _Parts:
    """The list with what follows it; a text before or behind it becomes a part of it."""
    before = known if isinstance(known, _Parts) else _Parts()
    if isinstance(known, _Pieces) and any(known):
        before.append({"type": "text", "text": "".join(known)})
    if isinstance(value, list):
        before.extend(value)
    elif value:
        before.append({"type": "text", "text": value} if isinstance(value, str) else value)
    return before


def _joined(value: Any, levels: int = MAX_LEVELS + 1) -> Any:
    """The value with its texts joined."""
    if isinstance(value, _Pieces):
        return "".join(value)
    if isinstance(value, dict) and levels:
        return {name: _joined(inner, levels - 1) for name, inner in value.items()}
    return value
