"""Pure: repairs the JSON objects of lax upstreams, so that strict clients accept them.

In: the objects of events and of whole completions. Out: each `repair_*` changes its object in place, and returns
whether it changed anything.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from gateway.dialects.chat.content_parts import flatten
from gateway.dialects.chat.tool_calls import MAX_CALLS, ToolCalls, calls_of, complete_calls
from gateway.dialects.choices.envelope import (
    MAX_CHOICES,
    PLAIN_EVENT,
    SharedMembers,
    is_int,
    move_stray_finish,
    repair_envelope,
)
from gateway.wire import json_text

CHUNK_OBJECT = "chat.completion.chunk"
COMPLETION_OBJECT = "chat.completion"
MAX_CALLS_OF_EVENT = 1024  # tool calls of all choices of one event, which take 6 us each

# The members of a delta that a client waits for, and the kind of content that each is: several are names of one kind.
_CONTENT_KINDS = {
    "content": "content",
    "reasoning_content": "reasoning",
    "reasoning": "reasoning",
    "reasoning_details": "reasoning",
    "refusal": "refusal",
    "tool_calls": "calls",
    "function_call": "calls",
    "images": "images",
    "audio": "audio",
}
_NO_CALL_ID = re.compile("[^A-Za-z0-9]+")


@dataclass(slots=True)
class Identity(SharedMembers):
    """The values that all events of one completion share, and what its choices have brought so far."""

    # The choices that have brought content, and pairs of a choice and any other kind that it has brought.
    spoken: set[int | tuple[int, str]] = field(default_factory=set)
    tool_calls: dict[int, ToolCalls] = field(default_factory=dict)  # by the choice
    calls_begun: int = 0  # tool calls of all choices

    def note_spoken(self, index: int, delta: dict[str, Any]) -> None:
        """Remember what kinds of content a choice has brought."""
        for key, value in delta.items():
            if value and (kind := _CONTENT_KINDS.get(key)) is not None:
                self.spoken.add(index if kind == "content" else (index, kind))

    def has_spoken(self, index: int, key: str) -> bool:
        """Whether a choice has brought the kind of content that stands under this key."""
        kind = _CONTENT_KINDS.get(key)
        return (index if kind == "content" else (index, kind)) in self.spoken


def has_content(delta: dict[str, Any]) -> bool:
    """Whether a delta bears content; a role, an empty string or an empty list is none."""
    for key, value in delta.items():  # noqa: SIM110 -- an `any` over a generator takes twice as long
        if value and key in _CONTENT_KINDS:
            return True
    return False


# The keys that the only choice of an event with nothing but text may have, and the keys of its delta.
PLAIN_CHOICE = frozenset({"index", "delta", "logprobs", "finish_reason"})
PLAIN_DELTA = frozenset({"role", "content"})


def plain_text(payload: dict[str, Any], identity: Identity) -> str | None:
    """The text of an event that needs no repair and bears nothing but text; None: the event has to be read in full.

    Nearly every event is such an event, and this is the shortest check that proves it: with cold caches, as after a
    sleep, the full reading of an event takes 15 us (bench/README.md). Only the identity changes, by the first event.
    """
    try:
        (choice,) = payload["choices"]
        delta, created = choice["delta"], payload["created"]
        if (
            not (payload.keys() <= PLAIN_EVENT and choice.keys() <= PLAIN_CHOICE and delta.keys() <= PLAIN_DELTA)
            or choice["finish_reason"] is not None
            or payload["object"] != CHUNK_OBJECT
            or not (type(created) is int and type(choice["index"]) is int)
        ):
            return None
        given_id, model, index = payload["id"], payload["model"], choice["index"]
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    text, role = delta.get("content"), delta.get("role")
    if not (isinstance(text, str | None) and isinstance(role, str | None) and isinstance(model, str)):
        return None
    if index not in identity.choices_seen and (not role or len(identity.choices_seen) >= MAX_CHOICES):
        return None
    if not identity.id_seen:
        if not (isinstance(given_id, str) and given_id and model):
            return None
        identity.id_seen = True
        identity.id, identity.created, identity.model = given_id, created, model
    elif given_id != identity.id:
        return None
    identity.choices_seen.add(index)
    return text or ""


def repair_event(payload: dict[str, Any], identity: Identity) -> bool:
    """Repair an event of a stream, so that strict clients accept it. Raises `ValueError` if that is impossible."""
    choices = payload["choices"]
    if len(choices) > MAX_CHOICES:
        raise ValueError(f"more than {MAX_CHOICES} choices")
    changed = repair_envelope(payload, identity, CHUNK_OBJECT)
    changed |= move_stray_finish(payload)
    calls = 0
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict):
            raise ValueError(f"choices[{position}] is not an object")
        if "message" in choice:
            changed |= _take_message(choice, position, identity)
        changed |= _repair_choice(choice, position, "delta")
        if choice["delta"].get("tool_calls"):
            calls += len(choice["delta"]["tool_calls"])
            if calls > MAX_CALLS_OF_EVENT:
                raise ValueError(f"more than {MAX_CALLS_OF_EVENT} tool calls in one event")
            changed |= _number_calls(choice, identity)
        changed |= _repair_role(choice, identity)
    return changed


def repair_completion(completion: dict[str, Any], identity: Identity) -> bool:
    """Repair a whole completion, so that strict clients accept it. Raises `ValueError` if that is impossible."""
    choices = completion.get("choices")
    if not isinstance(choices, list):
        raise ValueError("a completion without choices")
    if len(choices) > MAX_CHOICES:
        raise ValueError(f"more than {MAX_CHOICES} choices")
    changed = repair_envelope(completion, identity, COMPLETION_OBJECT)
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict):
            raise ValueError(f"choices[{position}] is not an object")
        changed |= _repair_choice(choice, position, "message")
        if not choice["message"].get("role"):
            choice["message"]["role"] = "assistant"
            changed = True
        if calls := choice["message"].get("tool_calls"):
            changed |= complete_calls(calls, _call_id(identity, choice["index"]))
    return changed


def _repair_choice(choice: dict[str, Any], position: int, body_key: str) -> bool:
    changed = False
    if not is_int(choice.get("index")):
        choice["index"] = position
        changed = True
    body = choice.get(body_key)
    if not isinstance(body, dict):
        other = choice.pop("message" if body_key == "delta" else "delta", None)
        if not isinstance(other, dict) and isinstance(choice.get("text"), str):
            raise ValueError(f"choices[{position}] has no {body_key}: it is of a text completion")
        body = choice[body_key] = other if isinstance(other, dict) else {}
        changed = True
    changed |= _repair_finish(choice, body)
    return _repair_body(body) or changed


def _repair_finish(choice: dict[str, Any], body: dict[str, Any]) -> bool:
    stray = body.pop("finish_reason", choice)  # the default `choice` marks a member that is not there
    reason = choice.get("finish_reason", choice)
    if stray is choice and ((isinstance(reason, str) and reason) or reason is None):
        return False
    reason = next((r for r in (reason, stray) if isinstance(r, str) and r), None)
    choice["finish_reason"] = reason
    return True


def _repair_role(choice: dict[str, Any], identity: Identity) -> bool:
    index, delta = choice["index"], choice["delta"]
    changed = False
    if not isinstance(delta.get("role"), str | None):
        del delta["role"]
        changed = True
    if index not in identity.choices_seen:
        if len(identity.choices_seen) >= MAX_CHOICES:
            raise ValueError(f"more than {MAX_CHOICES} choices")
        identity.choices_seen.add(index)
        if not delta.get("role"):
            delta["role"] = "assistant"
            changed = True
    return changed


def _repair_body(body: dict[str, Any]) -> bool:
    changed = False
    content = body.get("content")
    if content is not None and not isinstance(content, str):
        changed = flatten(body, content)
    calls = body.get("tool_calls")
    if isinstance(calls, dict) and (listed := calls_of(calls)):
        calls = body["tool_calls"] = listed
        changed = True
    if isinstance(calls, list):
        if len(calls) > MAX_CALLS:
            raise ValueError(f"more than {MAX_CALLS} tool calls")
        for call in calls:
            changed |= _repair_tool_call(call)
    elif calls is not None:
        del body["tool_calls"]
        changed = True
    return changed


def _take_message(choice: dict[str, Any], position: int, identity: Identity) -> bool:
    """Make a delta of a whole message in an event, without what deltas of its choice have brought already.

    MiniMax ends its deltas with the whole message; others send nothing but whole messages.
    """
    message, delta = choice.get("message"), choice.get("delta")
    if not isinstance(message, dict):
        return False
    index = choice.get("index")
    index = index if is_int(index) else position
    unsaid = {key: value for key, value in message.items() if not identity.has_spoken(index, key)}
    told = {key: value for key, value in delta.items() if value} if isinstance(delta, dict) else {}
    del choice["message"]
    choice["delta"] = {**unsaid, **told}
    return True


def _number_calls(choice: dict[str, Any], identity: Identity) -> bool:
    """Tell the tool calls of a choice apart by their indexes."""
    index = choice["index"]
    calls = identity.tool_calls.setdefault(index, ToolCalls())
    before = calls.count
    changed = calls.number(choice["delta"]["tool_calls"], _call_id(identity, index))
    identity.calls_begun += calls.count - before
    return changed


def _call_id(identity: Identity, index: int) -> str:
    """The beginning of the ids of tool calls that came without one."""
    answer = _NO_CALL_ID.sub("", identity.id)[-24:]
    return f"call_{answer}" if index == 0 else f"call_{answer}_{index}"


def _repair_tool_call(call: Any) -> bool:
    if not isinstance(call, dict):
        raise ValueError("a tool call is not an object")
    changed = _drop_nulls(call, ("type", "id", "function"))
    if call.get("type") == "":
        del call["type"]
        changed = True
    function = call.get("function")
    if isinstance(function, dict):
        changed |= _drop_nulls(function, ("name", "arguments"))
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            function["arguments"] = json_text.dumps(arguments).decode()
            changed = True
    return changed


def _drop_nulls(mapping: dict[str, Any], keys: tuple[str, ...]) -> bool:
    found = [key for key in keys if key in mapping and mapping[key] is None]
    for key in found:
        del mapping[key]
    return bool(found)
