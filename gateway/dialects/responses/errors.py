"""Pure: what an upstream says of a failure, in an event, in a response that failed, or in an error answer."""

from collections.abc import Mapping
from typing import Any

from gateway.dialects import error_shapes
from gateway.dialects.dialect import UpstreamMessage
from gateway.dialects.responses.events import NUMBER

REPORTED = "the upstream reported an error"
MAX_WORDS = 500  # characters of a text in place of an event that are passed on
_NO_WORDS = "the upstream gave no message"
_EVENTS_OWN = frozenset(
    {"type", NUMBER, "event_id", "response"}
)  # members of an event that tell nothing of the error
_MARKS = ("error", "errors", "detail")


def read_refusal(body: Mapping[str, Any]) -> UpstreamMessage | None:
    """The message of an answer with an error status, whatever shape it has; None if it holds no words."""
    return None if "output" in body else error_shapes.read_refusal(body)


def read_event_error(payload: Mapping[str, Any]) -> UpstreamMessage:
    """The message of an event of the type `error`, whose fields are flat, or in its member `error`, or both."""
    fields = {name: value for name, value in payload.items() if name not in _EVENTS_OWN}
    return error_shapes.read_refusal(fields) or UpstreamMessage(_NO_WORDS)


def read_failed(response: Mapping[str, Any]) -> UpstreamMessage | None:
    """The message of a response that failed; None: it has not failed."""
    error = response.get("error")
    if not error and response.get("status") != "failed":
        return None
    return error_shapes.read_refusal({"error": error}) if error else UpstreamMessage(_NO_WORDS)


def is_error(payload: Mapping[str, Any]) -> bool:
    """Whether an object without a type is an error, as servers of other APIs write it."""
    return any(payload.get(mark) for mark in _MARKS)


def words_of(data: bytes) -> UpstreamMessage | None:
    """The words of a text that stands in the place of an event; None: no client could read it."""
    words = data[: 4 * MAX_WORDS].decode("utf-8", "replace")[:MAX_WORDS].strip()
    if not words or words.startswith(("{", "[", '"')) or not words.isprintable():
        return None
    return UpstreamMessage(words)
