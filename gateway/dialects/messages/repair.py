"""Pure: what official clients need of a message and its events, and what their texts count.

In: the objects of events and of whole messages. Out: each `repair_*` puts in what is missing, and returns whether it
changed anything; what is there stays as it is.
"""

from collections.abc import Mapping
from typing import Any

from gateway.dialects.dialect import AnswerIdentity
from gateway.wire import json_text
from gateway.wire.media_text import spoken_bytes

TEXTS = ("text", "thinking", "partial_json")  # the members of a delta in which the answer's text stands
# The members that clients add to, or read, when a block has begun.
_BLOCK_MEMBERS: Mapping[str, Mapping[str, Any]] = {
    "text": {"text": ""},
    "thinking": {"thinking": ""},
    "tool_use": {"input": {}},
    "server_tool_use": {"input": {}},
}


def repair_message(message: dict[str, Any], identity: AnswerIdentity) -> bool:
    """Complete a message whose `content` is a list, or that has only begun."""
    changed = False
    members = {
        "id": f"msg_{identity.request_id}",
        "type": "message",
        "role": "assistant",
        "model": identity.model,
        "content": [],
    }
    for name, value in members.items():
        if not isinstance(message.get(name), type(value)):
            message[name] = value
            changed = True
    for name in ("stop_reason", "stop_sequence"):
        if name not in message:
            message[name] = None
            changed = True
    return changed


def repair_usage(holder: dict[str, Any], counts: Mapping[str, int]) -> bool:
    """Put these counts into the usage of a message or an event where it has none."""
    usage = holder.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    missing = {name: count for name, count in counts.items() if usage.get(name) is None}
    if missing:
        holder["usage"] = {**usage, **missing}
    return bool(missing)


def repair_block(block: dict[str, Any]) -> bool:
    """Complete the block with which `content_block_start` begins."""
    kind = block.get("type")
    members = _BLOCK_MEMBERS.get(kind, {}) if isinstance(kind, str) else {}
    missing = {name: value for name, value in members.items() if block.get(name) is None}
    block.update(missing)
    return bool(missing)


def is_empty_block(block: Mapping[str, Any]) -> bool:
    """Whether a block that has begun is one of which all content comes later."""
    return block.get("type") in ("text", "thinking") and not any(block.get(name) for name in TEXTS)


def delta_bytes(delta: Mapping[str, Any]) -> int:
    """The bytes of the text in a delta."""
    return sum(spoken_bytes(text) for name in TEXTS if isinstance(text := delta.get(name), str))


def block_bytes(block: Mapping[str, Any]) -> int:
    """The bytes of what a model has written of a block: its text, or the input of a tool.

    The results of a server's own tools are not the model's.
    """
    size = delta_bytes(block)
    if block.get("input"):
        size += len(json_text.dumps(block["input"]))
    return size
