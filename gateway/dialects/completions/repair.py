"""Pure: repairs the JSON objects of lax upstreams, so that strict clients of text completions accept them.

In: the objects of events and of whole completions. Out: each `repair_*` changes its object in place, and returns
whether it changed anything. An object of another dialect, such as a chat completion, is not repaired: it is refused.
"""

from dataclasses import dataclass
from typing import Any

from gateway.dialects.choices.envelope import (
    MAX_CHOICES,
    PLAIN_EVENT,
    SharedMembers,
    is_int,
    move_stray_finish,
    repair_envelope,
)

OBJECT = "text_completion"  # of events and of whole completions
TEXTS = ("text", "reasoning_content", "reasoning")  # the members of a choice that a client waits for
# The keys that the only choice of an event with nothing but text may have.
PLAIN_CHOICE = frozenset({"index", "text", "logprobs", "finish_reason", "stop_reason"})


@dataclass(slots=True)
class TextMembers(SharedMembers):
    """The values that all events of a text completion share. `echoed_bytes`: of the prompt, with which it begins."""

    echoed_bytes: int = 0


def has_content(choice: dict[str, Any]) -> bool:
    """Whether a choice bears content; an empty text is none."""
    return any(choice.get(name) for name in TEXTS)


def plain_text(payload: dict[str, Any], shared: SharedMembers) -> str | None:
    """The text of an event that needs no repair and bears nothing but text; None: the event has to be read in full.

    Only the shared members change, by the first event.
    """
    try:
        (choice,) = payload["choices"]
        created, index, text = payload["created"], choice["index"], choice["text"]
        if (
            not (payload.keys() <= PLAIN_EVENT and choice.keys() <= PLAIN_CHOICE)
            or choice["finish_reason"] is not None
            or payload["object"] != OBJECT
            or not (type(created) is int and type(index) is int and type(text) is str)
        ):
            return None
        given_id, model = payload["id"], payload["model"]
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    if not isinstance(model, str):
        return None
    if not shared.id_seen:
        if not (isinstance(given_id, str) and given_id and model):
            return None
        shared.begin(given_id, created, model, index)
    elif given_id != shared.id:
        return None
    if index not in shared.choices_seen:
        if len(shared.choices_seen) >= MAX_CHOICES:
            return None
        shared.choices_seen.add(index)
    return text


def repair_event(payload: dict[str, Any], shared: SharedMembers) -> bool:
    """Repair an event of a stream. Raises `ValueError` if that is impossible."""
    changed = _repair(payload, shared)
    shared.choices_seen.update(choice["index"] for choice in payload["choices"])
    if len(shared.choices_seen) > MAX_CHOICES:
        raise ValueError(f"more than {MAX_CHOICES} choices")
    return changed


def repair_completion(completion: dict[str, Any], shared: SharedMembers) -> bool:
    """Repair a whole completion. Raises `ValueError` if that is impossible."""
    if not isinstance(completion.get("choices"), list):
        raise ValueError("a completion without choices")
    return _repair(completion, shared)


def _repair(payload: dict[str, Any], shared: SharedMembers) -> bool:
    choices = payload["choices"]
    if len(choices) > MAX_CHOICES:
        raise ValueError(f"more than {MAX_CHOICES} choices")
    changed = repair_envelope(payload, shared, OBJECT)
    changed |= bool(choices) and move_stray_finish(payload)
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict):
            raise ValueError(f"choices[{position}] is not an object")
        changed |= _repair_choice(choice, position)
    return changed


def _repair_choice(choice: dict[str, Any], position: int) -> bool:
    changed = False
    text = choice.get("text")
    if not isinstance(text, str):
        if "delta" in choice or "message" in choice:
            raise ValueError(f"choices[{position}] has no text: it is of a chat completion")
        if text is not None:
            raise ValueError(f"choices[{position}].text is no text")
        choice["text"] = ""
        changed = True
    if not is_int(choice.get("index")):
        choice["index"] = position
        changed = True
    reason = choice.get("finish_reason", choice)  # the default `choice` marks a member that is not there
    if not (reason is None or (isinstance(reason, str) and reason)):
        choice["finish_reason"] = None
        changed = True
    return changed
