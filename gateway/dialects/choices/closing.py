"""Pure: the last frames of a completion: the usage and the metadata before `[DONE]`, or a break."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gateway.dialects.choices.envelope import SharedMembers
from gateway.dialects.choices.frames import encode
from gateway.dialects.dialect import AnswerReport
from gateway.dialects.long_event import LONG_BYTES
from gateway.errors import RivergateError
from gateway.wire import json_text

UNFINISHED = "neither a finish nor [DONE]"  # what is missing of a body that ends too early


class SilentEvent(NamedTuple):
    """The form of an event of a dialect that says nothing: its member `object`, and a choice without content."""

    object: str
    choice: Mapping[str, Any]


def closing_frames(
    shared: SharedMembers,
    silent: SilentEvent,
    report: AnswerReport | None,
    finish_frame: bytes | None,
    kept: Mapping[str, Any] | None = None,
) -> list[bytes]:
    """The report as members of the finish that was held back for it, else as an event of its own without choices.

    A finish that came in one event with a long text is not read again: the report follows it.

    An event without choices breaks clients that read the first choice unasked, so it is sent only with a report.
    `kept`: what upstreams told in events without choices, and no later event has carried.
    """
    if report is None:
        return _without_report(shared, silent, finish_frame, kept)
    members = {**(kept or {}), "usage": report.usage.as_json(), "routing_metadata": report.metadata}
    if finish_frame is not None and len(finish_frame) <= LONG_BYTES:
        return [encode({**json_text.loads(finish_frame[6:]), **members})]
    event = encode({**_members(shared, silent), "choices": [], **members})
    return [event] if finish_frame is None else [finish_frame, event]


def _without_report(
    shared: SharedMembers, silent: SilentEvent, finish_frame: bytes | None, kept: Mapping[str, Any] | None
) -> list[bytes]:
    """The finish, and what upstreams told at length beside the usage, such as timings: in an event without text."""
    members = {name: value for name, value in (kept or {}).items() if isinstance(value, (dict, list))}
    if finish_frame is not None and len(finish_frame) <= LONG_BYTES:
        return [encode({**json_text.loads(finish_frame[6:]), **members}) if members else finish_frame]
    event = [encode({**_members(shared, silent), "choices": [silent.choice], **members})] if members else []
    return event if finish_frame is None else [finish_frame, *event]


def _members(shared: SharedMembers, silent: SilentEvent) -> dict[str, Any]:
    return {"id": shared.id, "object": silent.object, "created": shared.created, "model": shared.model}


def break_frames(error: RivergateError) -> list[bytes]:
    """The frame of the one event that every SDK raises as an error: its data is the envelope of an HTTP error."""
    return [encode(error.envelope())]
