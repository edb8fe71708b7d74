"""Pure: repairs the JSON objects of lax upstreams, so that strict clients accept them.

In: the objects of events and of whole completions. Out: each `repair_*` changes its object in place, and returns
whether it changed anything.
"""

from dataclasses import dataclass, field
from typing import Any, TypeGuard

from gateway.dialects.usage import Usage
from gateway.wire import json_text

CHUNK_OBJECT = "chat.completion.chunk"
COMPLETION_OBJECT = "chat.completion"
MAX_TOKENS = 1 << 31  # tokens of one completion; a larger count is nonsense

# The members of a delta that a client waits for: any of them, if it is not empty, is content.
_CONTENT_KEYS = frozenset(
    {
        "content",
        "reasoning_content",
        "reasoning",
        "refusal",
        "tool_calls",
        "function_call",
        "images",
        "audio",
        "reasoning_details",
    }
)


@dataclass(slots=True)
class Identity:
    """The values that all events of one completion share: those of the first event, else the values given here."""

    id: str
    created: int
    model: str
    id_seen: bool = False
    roles_seen: set[int] = field(default_factory=set)
    tool_ids: dict[str, int] = field(default_factory=dict)  # tool calls that came without an index, by their ids


def has_content(delta: dict[str, Any]) -> bool:
    """Whether a delta bears content; a role, an empty string or an empty list is none."""
    for key, value in delta.items():  # noqa: SIM110 -- an `any` over a generator takes twice as long
        if value and key in _CONTENT_KEYS:
            return True
    return False


# The keys that an event with nothing but text may have, and the keys of its only choice and of its delta.
_PLAIN_EVENT = frozenset({"id", "object", "created", "model", "choices", "system_fingerprint", "service_tier"})
_PLAIN_CHOICE = frozenset({"index", "delta", "logprobs", "finish_reason"})
_PLAIN_DELTA = frozenset({"role", "content"})


def plain_text(payload: dict[str, Any], identity: Identity) -> str | None:
    """The text of an event that needs no repair and bears nothing but text; None: the event has to be read in full.

    Nearly every event is such an event, and this is the shortest check that proves it: with cold caches, as after a
    sleep, the full reading of an event takes 15 us (bench/README.md). Only the identity changes, by the first event.
    """
    try:
        (choice,) = payload["choices"]
        delta, created = choice["delta"], payload["created"]
        if (
            not (payload.keys() <= _PLAIN_EVENT and choice.keys() <= _PLAIN_CHOICE and delta.keys() <= _PLAIN_DELTA)
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
    if index not in identity.roles_seen and not role:
        return None
    if not identity.id_seen:
        if not (isinstance(given_id, str) and given_id and model):
            return None
        identity.id_seen = True
        identity.id, identity.created, identity.model = given_id, created, model
    elif given_id != identity.id:
        return None
    identity.roles_seen.add(index)
    return text or ""


def repair_event(payload: dict[str, Any], identity: Identity) -> bool:
    """Repair an event of a stream, so that strict clients accept it. Raises `ValueError` if that is impossible."""
    choices = payload["choices"]
    changed = _repair_envelope(payload, identity, CHUNK_OBJECT)
    stray_finish = payload.pop("finish_reason", None)
    if stray_finish is not None:
        changed = True
        if isinstance(choices[0], dict):
            choices[0]["finish_reason"] = choices[0].get("finish_reason") or stray_finish
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict):
            raise ValueError(f"choices[{position}] is not an object")
        changed |= _repair_choice(choice, position, "delta")
        changed |= _repair_tool_indexes(choice["delta"], identity)
        changed |= _repair_role(choice, identity)
    return changed


def repair_completion(completion: dict[str, Any], identity: Identity) -> bool:
    """Repair a whole completion, so that strict clients accept it. Raises `ValueError` if that is impossible."""
    choices = completion.get("choices")
    if not isinstance(choices, list):
        raise ValueError("a completion without choices")
    changed = _repair_envelope(completion, identity, COMPLETION_OBJECT)
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict):
            raise ValueError(f"choices[{position}] is not an object")
        changed |= _repair_choice(choice, position, "message")
        if not choice["message"].get("role"):
            choice["message"]["role"] = "assistant"
            changed = True
    return changed


def complete_usage(usage: Any) -> dict[str, Any] | None:
    """The usage with all three counts; None if they cannot be known, since clients need complete usage or none."""
    if not isinstance(usage, dict):
        return None
    prompt, completion, total = (usage.get(key) for key in ("prompt_tokens", "completion_tokens", "total_tokens"))
    if completion is None and _is_int(total) and _is_int(prompt):
        completion = total - prompt
    if not (_is_count(prompt) and _is_count(completion)):
        return None
    if not _is_int(total):
        total = prompt + completion
    return {**usage, "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def reported_usage(usage: Any) -> Usage | None:
    """The counts of an upstream's usage object, with the object completed; None if they cannot be known."""
    counts = complete_usage(usage)
    if counts is None:
        return None
    return Usage(counts["prompt_tokens"], counts["completion_tokens"], estimated=False, reported=counts)


def _is_count(value: Any) -> TypeGuard[int]:
    """Whether a value can be a count of tokens, which are paid for: a nonsense value must not become money."""
    return _is_int(value) and 0 <= value <= MAX_TOKENS


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _repair_envelope(payload: dict[str, Any], identity: Identity, kind: str) -> bool:
    changed = False
    if "error" in payload:  # it is null: an event with a true error was handled before
        del payload["error"]
        changed = True
    if not identity.id_seen:
        identity.id_seen = True
        _adopt(payload, identity)
    if payload.get("id") != identity.id:
        payload["id"] = identity.id
        changed = True
    if not _is_int(payload.get("created")):
        payload["created"] = identity.created
        changed = True
    if not isinstance(payload.get("model"), str):
        payload["model"] = identity.model
        changed = True
    if payload.get("object") != kind:
        payload["object"] = kind
        changed = True
    return changed


def _adopt(payload: dict[str, Any], identity: Identity) -> None:
    given_id, created, model = payload.get("id"), payload.get("created"), payload.get("model")
    if isinstance(given_id, str) and given_id:
        identity.id = given_id
    if isinstance(created, int | float) and not isinstance(created, bool):
        identity.created = int(created)
    if isinstance(model, str) and model:
        identity.model = model


def _repair_choice(choice: dict[str, Any], position: int, body_key: str) -> bool:
    changed = False
    if not _is_int(choice.get("index")):
        choice["index"] = position
        changed = True
    body = choice.get(body_key)
    if not isinstance(body, dict):
        other = choice.pop("message" if body_key == "delta" else "delta", None)
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
    if index not in identity.roles_seen:
        identity.roles_seen.add(index)
        if not delta.get("role"):
            delta["role"] = "assistant"
            changed = True
    return changed


def _repair_body(body: dict[str, Any]) -> bool:
    changed = False
    content = body.get("content")
    if content is not None and not isinstance(content, str):
        body["content"] = _flatten(content, "text")
        if thoughts := _flatten(content, "thinking"):  # Mistral's way to send reasoning
            body["reasoning_content"] = thoughts
        changed = True
    calls = body.get("tool_calls")
    if isinstance(calls, list):
        for call in calls:
            changed |= _repair_tool_call(call)
    elif calls is not None:
        del body["tool_calls"]
        changed = True
    return changed


def _flatten(content: Any, kind: str) -> str:
    """The joined text of the content parts that have the key `kind`; all other parts are left out.

    Under the key `thinking`, Mistral sends a list of text parts.
    """
    texts: list[Any] = []
    for part in content if isinstance(content, list) else [content]:
        value = part.get(kind) if isinstance(part, dict) else part if kind == "text" else None
        texts += (
            [inner.get("text") for inner in value if isinstance(inner, dict)] if isinstance(value, list) else [value]
        )
    return "".join(str(text) for text in texts if isinstance(text, str | int | float))


def _repair_tool_indexes(delta: dict[str, Any], identity: Identity) -> bool:
    """Give tool calls without an index one: each new id is the next call, a fragment without an id the last call."""
    changed = False
    for call in delta.get("tool_calls") or ():
        if not _is_int(call.get("index")):
            known, call_id = identity.tool_ids, call.get("id")
            last = max(len(known) - 1, 0)
            call["index"] = known.setdefault(call_id, len(known)) if isinstance(call_id, str) and call_id else last
            changed = True
    return changed


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
