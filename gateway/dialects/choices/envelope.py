"""Pure: the members that all objects of one answer share, such as its id, and their repair for strict clients.

In: the object of an event or of a whole answer. Out: the object, changed in place, and whether anything changed.
"""

from dataclasses import dataclass, field
from typing import Any, TypeGuard

MAX_CHOICES = 256  # choices of one answer; OpenAI's API allows 128

# The keys that an event with nothing but text may have.
PLAIN_EVENT = frozenset({"id", "object", "created", "model", "choices", "system_fingerprint", "service_tier"})


@dataclass(slots=True)
class SharedMembers:
    """The values that all events of one answer share: those of the first event, else the values given here."""

    id: str
    created: int
    model: str
    id_seen: bool = False
    choices_seen: set[int] = field(default_factory=set)  # the choices that have begun; in chat, by their role

    def begin(self, answer_id: str, created: int, model: str, index: int) -> None:
        """Take the values of a first event, in which this choice begins."""
        self.id_seen = True
        self.id, self.created, self.model = answer_id, created, model
        self.choices_seen.add(index)


def is_int(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number; a truth value is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def body_of(choice: dict[str, Any]) -> dict[str, Any]:
    """The object that holds what a choice says: its delta, its message, or the choice itself where it is a text."""
    body = choice.get("delta", choice.get("message"))
    return body if isinstance(body, dict) else choice


def repair_envelope(payload: dict[str, Any], shared: SharedMembers, kind: str) -> bool:
    """Repair what an object has beside its choices; `kind`: what its member `object` has to be."""
    changed = False
    if "error" in payload:  # it is null: an event with a true error was handled before
        del payload["error"]
        changed = True
    if not shared.id_seen:
        shared.id_seen = True
        _adopt(payload, shared)
    if payload.get("id") != shared.id:
        payload["id"] = shared.id
        changed = True
    if not is_int(payload.get("created")):
        payload["created"] = shared.created
        changed = True
    if not isinstance(payload.get("model"), str):
        payload["model"] = shared.model
        changed = True
    if payload.get("object") != kind:
        payload["object"] = kind
        changed = True
    return changed


def move_stray_finish(payload: dict[str, Any]) -> bool:
    """Move a `finish_reason` that stands beside the choices into the first one."""
    stray_finish = payload.pop("finish_reason", None)
    if stray_finish is None:
        return False
    choices = payload["choices"]
    if isinstance(choices[0], dict):
        choices[0]["finish_reason"] = choices[0].get("finish_reason") or stray_finish
    return True


def _adopt(payload: dict[str, Any], shared: SharedMembers) -> None:
    given_id, created, model = payload.get("id"), payload.get("created"), payload.get("model")
    if isinstance(given_id, str) and given_id:
        shared.id = given_id
    if isinstance(created, int | float) and not isinstance(created, bool):
        shared.created = int(created)
    if isinstance(model, str) and model:
        shared.model = model
