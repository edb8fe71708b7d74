"""Pure: the types of events of the Responses API, and how their blocks are taken apart and written anew.

A client goes by the `type` in the JSON of an event, so the name of the event is kept as it came, or left out as it
came. `sequence_number` goes up from event to event; a client asks by it for what it has not seen yet.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.wire import json_text, sse
from gateway.wire.json_members import members_of

NUMBER = "sequence_number"
ERROR = "error"
FAILED = "response.failed"
COMPLETED = "response.completed"
TERMINAL = frozenset({COMPLETED, "response.incomplete", "response.cancelled", FAILED})
ITEM_ADDED, ITEM_DONE = "response.output_item.added", "response.output_item.done"
# Events that a client does not wait for: they announce an answer, or a part of it that is still empty.
SILENT = frozenset(
    {
        *("response.created", "response.queued", "response.in_progress"),
        *(ITEM_ADDED, "response.content_part.added", "response.reasoning_summary_part.added"),
    }
)
# Events that hold one piece of text, which is all that differs from one to the next.
TEXT_DELTAS = frozenset(
    {
        *("response.output_text.delta", "response.refusal.delta", "response.reasoning_text.delta"),
        *("response.reasoning_summary_text.delta", "response.function_call_arguments.delta"),
        *("response.custom_tool_call_input.delta", "response.mcp_call_arguments.delta"),
        *("response.code_interpreter_call_code.delta", "response.audio.transcript.delta"),
    }
)
# Events that tell the whole text of what came in pieces, and the member that holds it.
WHOLE_TEXTS: Mapping[str, str] = {
    "response.output_text.done": "text",
    "response.refusal.done": "refusal",
    "response.reasoning_text.done": "text",
    "response.reasoning_summary_text.done": "text",
    "response.function_call_arguments.done": "arguments",
    "response.custom_tool_call_input.done": "input",
}
OWN = "response."  # begins the types of all events that tell something of the answer


class Block(NamedTuple):
    """A block of an event: its name, its data, and whether it is a frame as it stands."""

    name: bytes | None
    data: bytes | None
    is_frame: bool


def taken_apart(block: bytes) -> Block:
    """The name and the data of the event in a block."""
    if block.startswith(b"event: "):
        end = block.find(b"\n")
        if block.startswith(b"data: ", end + 1) and block.find(b"\n", end + 1) == len(block) - 2:
            return Block(block[7:end], block[end + 7 : -2], is_frame=True)
    elif sse.is_frame(block):
        return Block(None, block[6:-2], is_frame=True)
    event = sse.decode(block)
    return Block(event.name, event.data, is_frame=False)


def mended(payload: Mapping[str, Any], missing: Mapping[str, Any], frame: bytes, name: bytes | None) -> bytes:
    """The frame with members that were missing, or had no use. All other bytes stay as they are, if that can be."""
    data = taken_apart(frame).data
    if not payload or data is None or not payload.keys().isdisjoint(missing):
        return sse.frame(json_text.dumps_line({**payload, **missing}), name)
    return sse.frame(data.rstrip()[:-1] + b"," + json_text.dumps_line(missing)[1:], name)


def frame_of(data: bytes, name: bytes | None) -> bytes:
    """The frame of an event; raw line ends in a JSON text are blanks."""
    return sse.frame(json_text.escape_line_ends(data.replace(b"\n", b" ")), name)


def frame(members: Mapping[str, Any]) -> bytes:
    """The frame of an event that the gateway writes. Raises `ValueError` for nesting that no client could read."""
    return sse.frame(json_text.dumps_line(members), str(members["type"]).encode())


def response_in(data: bytes) -> bytes:
    """The response in the data of a terminal event, as it came."""
    try:
        places = [(member.start, member.end) for member in members_of(data) if member.name == "response"]
    except ValueError:  # it is nested too deeply for Python's own reader
        return json_text.dumps(json_text.loads(data)["response"])
    start, end = places[-1]
    return data[start:end]


def is_content(kind: str, payload: Mapping[str, Any]) -> bool:
    """Whether an event of this type brings something that a client waits for."""
    if not kind.startswith(OWN) or kind in SILENT:
        return False
    return bool(payload.get("delta")) if kind.endswith(".delta") else True


def is_foreign_error(kind: str, payload: Mapping[str, Any]) -> bool:
    """Whether an event of a type that tells nothing of the answer is an error, by its type or by what it holds."""
    return not kind.startswith(OWN) and (kind.endswith("_error") or bool(payload.get("error")))


def number_in(payload: Mapping[str, Any]) -> int | None:
    """The number of an event; None if it has none that could be one."""
    number = payload.get(NUMBER)
    return number if type(number) is int and number >= 0 else None
