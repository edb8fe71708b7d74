"""Pure: finds the failure that an upstream reports inside of a stream, in any of the known shapes.

In: the JSON object of an event. Out: the upstream's message, or None. The invariant: an event with choices is an
error only if it says so by `error`, by a status of its own, or by the finish of a choice.
"""

from collections.abc import Mapping
from typing import Any

from gateway.dialects.choices.envelope import body_of
from gateway.dialects.choices.errors import read_error
from gateway.dialects.dialect import UpstreamMessage

_CODES = ("code", "error_code", "errorCode", "err_code", "status_code", "statusCode", "status")
_WORDS = ("message", "msg", "error_msg", "errorMessage", "error_message", "err_msg", "status_msg", "Message", "title")
_FINE = frozenset({"", "0", "200", "ok", "success", "succeeded", "normal", "true"})  # codes of events that went well
_OVER = frozenset({"done", "completed", "complete", "finished", "end", "stop"})
_FAILED = frozenset({"error", "failed", "failure"})
# The members by which an event with choices may be an error.
EVENT_MARKS = frozenset({"error", "base_resp", "x_groq"})
# Finishes that tell of a failure of the upstream: OpenRouter's, Zhipu's, DeepSeek's.
FAILED_FINISHES = frozenset({"error", "network_error", "insufficient_system_resource"})


def read_event_error(payload: Mapping[str, Any], *, named: bool = False) -> UpstreamMessage | None:
    """The message of an event that reports a failure; `named`: the event is called `error`."""
    if payload.get("choices"):
        return read_error(payload, named=named) or _status_error(payload) or _groq_error(payload)
    rest = {key: value for key, value in payload.items() if key != "choices"}
    return read_error(rest, named=named) or _status_error(rest) or _groq_error(rest) or _flat_error(rest)


def read_words(payload: Mapping[str, Any]) -> UpstreamMessage | None:
    """The message of an event that says neither that it is an error nor anything else; None if it has none.

    Such an event is an error only if the answer ends behind it without a finish.
    """
    words = next((words for key in _WORDS if isinstance(words := payload.get(key), str) and words.strip()), None)
    if words is None or words.strip().lower().rstrip(".!") in _FINE | _OVER:
        return None
    return read_error({"error": {"message": words, "type": payload.get("type")}})


def read_choice_error(choices: list[dict[str, Any]]) -> UpstreamMessage | None:
    """The message of a choice that failed; the choices were repaired before."""
    for choice in choices:
        error = choice.get("error") or body_of(choice).get("error")
        if error:
            return read_error({"error": error})
        if choice["finish_reason"] in FAILED_FINISHES:
            return UpstreamMessage(f"finish_reason {choice['finish_reason']}")
    return None


def _status_error(payload: Mapping[str, Any]) -> UpstreamMessage | None:
    """The message in MiniMax's `base_resp`, which stands in good events too."""
    status = payload.get("base_resp")
    if not isinstance(status, dict) or _is_fine(status.get("status_code")):
        return None
    return read_error({"error": {"message": status.get("status_msg"), "code": status.get("status_code")}})


def _groq_error(payload: Mapping[str, Any]) -> UpstreamMessage | None:
    """The message under `x_groq.error`, by which Groq says why it has stopped a stream."""
    own = payload.get("x_groq")
    error = own.get("error") if isinstance(own, dict) else None
    return read_error({"error": error}) if error else None


def _flat_error(payload: Mapping[str, Any]) -> UpstreamMessage | None:
    """The message of an object without choices whose code, status or success says that it is an error."""
    errors = payload.get("errors")
    if errors:
        return read_error({"error": errors[0] if isinstance(errors, list) else errors})
    words = next((payload[key] for key in _WORDS if payload.get(key)), None)
    status = payload.get("status")
    failed = payload.get("success") is False or (isinstance(status, str) and status.lower() in _FAILED)
    code = next((payload[key] for key in _CODES if payload.get(key) is not None), None)
    if not failed and (words is None or code is None or _is_fine(code) or _is_progress(payload, code)):
        return None
    return read_error({"error": {"message": words, "code": code, "type": payload.get("type")}})


def _is_fine(code: Any) -> bool:
    return code is None or (isinstance(code, str | int | float) and str(code).lower() in _FINE)


def _is_progress(payload: Mapping[str, Any], code: Any) -> bool:
    """Whether the only code is a word under `status`, such as `queued`, that tells how far an upstream is."""
    return code is payload.get("status") and isinstance(code, str)
