"""Pure: tells the tool calls of a streamed completion apart, where an upstream gives no index or one index to all.

In: the fragments of tool calls, in order. Out: fragments whose `index` is the number of their call in its choice. The
invariant: clients join the fragments of one index, so two calls never share one, and one call never has two.
"""

from dataclasses import dataclass, field
from typing import Any

from gateway.wire import json_text

MAX_CALLS = 512  # tool calls of one choice; beyond it an upstream is broken
_CALL_MEMBERS = frozenset(("function", "custom", "id", "type"))
_MAX_DIGITS = 9  # of an index that came as a text
_MAX_WHOLE_BYTES = 65536  # longer arguments are not looked at: whether they are whole decides only doubtful cases


@dataclass(slots=True)
class _ToolCall:
    index: int
    id: str
    name: str
    is_whole: bool  # its first fragment held all of its arguments


@dataclass(slots=True)
class ToolCalls:
    """The calls of one choice so far, in the order in which they began."""

    _calls: list[_ToolCall] = field(default_factory=list)
    # The last call under each index of the upstream, and the first one under each id.
    _by_given_index: dict[int, _ToolCall] = field(default_factory=dict)
    _by_id: dict[str, _ToolCall] = field(default_factory=dict)
    _indexes: set[int] = field(default_factory=set)  # those that clients are told
    _following: int = 0  # the next index after all of these

    @property
    def count(self) -> int:
        """How many calls have begun."""
        return len(self._calls)

    def number(self, fragments: list[dict[str, Any]], own_id: str) -> bool:
        """Give each fragment of one event its call's index, and each new call an id and a type.

        `own_id` begins the ids of calls that came without one. Returns whether anything changed. Raises `ValueError`
        for more than `MAX_CALLS`.
        """
        changed = False
        for position, fragment in enumerate(fragments):
            call = self._known(fragment, position)
            if call is None:
                call = self._begin(fragment)
                changed |= _complete(fragment, call, own_id)
            if fragment.get("index") != call.index or isinstance(fragment["index"], bool):
                fragment["index"] = call.index
                changed = True
        return changed

    def _known(self, fragment: dict[str, Any], position: int) -> _ToolCall | None:
        """The call that a fragment continues; None: it begins a call."""
        given, call_id, name = _given_index(fragment), _text(fragment, "id"), _name(fragment)
        if given is not None:
            call = self._by_given_index.get(given)
        elif call_id and (name or not self._calls):
            return self._by_id.get(call_id)
        elif call_id:
            call = self._by_id.get(call_id, self._calls[-1])
        else:
            call = self._calls[-1] if self._calls and (position == 0 or not name) else None
        if call is None or not name:
            return call  # some upstreams draw a new id for each fragment: only a name can begin another call
        if call_id and call.id:
            return call if call_id == call.id else None
        if name != call.name and type(fragment.get("index")) is not int:
            return None  # an index of another type may be the same for all calls
        return None if call.is_whole and _is_whole(fragment) else call

    def _begin(self, fragment: dict[str, Any]) -> _ToolCall:
        given = _given_index(fragment)
        if len(self._calls) >= MAX_CALLS:
            raise ValueError(f"more than {MAX_CALLS} tool calls")
        index = self._following if given is None or given in self._indexes else given
        call = _ToolCall(index, _text(fragment, "id"), _name(fragment), _is_whole(fragment))
        self._calls.append(call)
        self._indexes.add(index)
        self._following = max(self._following, index + 1)
        if call.id:
            self._by_id.setdefault(call.id, call)
        if given is not None:
            self._by_given_index[given] = call
        return call


def calls_of(tool_calls: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls of an object in place of their list: it is one call, or has calls under their indexes; [] if not."""
    if not _CALL_MEMBERS.isdisjoint(tool_calls):
        return [tool_calls]
    calls = [(index, call) for index, call in tool_calls.items() if isinstance(call, dict)]
    return [{"index": index, **call} for index, call in calls if index.isascii() and index.isdigit()]


def complete_calls(calls: list[dict[str, Any]], own_id: str) -> bool:
    """Give each call of a whole message an id and a type. Returns whether anything changed."""
    changed = False
    for position, fragment in enumerate(calls):
        changed |= _complete(fragment, _ToolCall(position, _text(fragment, "id"), _name(fragment), True), own_id)
    return changed


def _complete(fragment: dict[str, Any], call: _ToolCall, own_id: str) -> bool:
    """Give a call that has a name an id and a type, without which clients cannot answer it."""
    if not call.name or (call.id and fragment.get("type")):
        return False
    if not call.id:
        fragment["id"] = f"{own_id}_{call.index}"
    fragment.setdefault("type", "function")
    return True


def _given_index(fragment: dict[str, Any]) -> int | None:
    """The index that an upstream has given; some write it as a text, or as 0.0."""
    index = fragment.get("index")
    if isinstance(index, str) and index.isascii() and index.isdigit() and len(index) <= _MAX_DIGITS:
        return int(index)
    if isinstance(index, float) and index.is_integer():
        index = int(index)
    return index if isinstance(index, int) and not isinstance(index, bool) and index >= 0 else None


def _text(mapping: dict[str, Any], key: str) -> str:
    value = mapping.get(key)
    return value if isinstance(value, str) else ""


def _name(fragment: dict[str, Any]) -> str:
    function = fragment.get("function")
    return _text(function, "name") if isinstance(function, dict) else ""


def _is_whole(fragment: dict[str, Any]) -> bool:
    """Whether a fragment holds all arguments of its call: a JSON object."""
    function = fragment.get("function")
    arguments = _text(function, "arguments") if isinstance(function, dict) else ""
    if not arguments.lstrip().startswith("{") or len(arguments) > _MAX_WHOLE_BYTES:
        return False
    try:
        return isinstance(json_text.loads(arguments.encode("utf-8", "surrogatepass")), dict)
    except ValueError:
        return False
