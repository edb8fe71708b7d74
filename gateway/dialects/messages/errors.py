"""Pure: the errors of the messages API: those that upstreams write, and those that clients are told.

In: the JSON of an event or an answer, or an error of the gateway. Out: an `UpstreamMessage`, or the envelope
`{"type": "error", "error": {"type", "message"}, "request_id"}`. The invariant: the type of an error is one that
Anthropic documents ("Errors"), since clients choose by it what to do.
"""

from collections.abc import Mapping
from typing import Any

from gateway.dialects import error_shapes
from gateway.dialects.dialect import ReportedFailure, UpstreamMessage
from gateway.errors import RivergateError, UpstreamError

OVERLOADED_STATUS = 529  # Anthropic's own: clients wait longer than after another failure, or take a smaller model
_OVERLOADED = "overloaded_error"
_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: _OVERLOADED,
    504: "timeout_error",
    OVERLOADED_STATUS: _OVERLOADED,
}
_PASSED_ON = frozenset({"api_error", "rate_limit_error", "timeout_error", _OVERLOADED})  # an upstream's own types
_ENVELOPE = frozenset({"type", "message"})
ERROR_END = "_error"  # how the types of errors end, which proxies give to an event
_NO_WORDS = UpstreamMessage("the upstream gave no message")


def read_error(payload: Mapping[str, Any]) -> UpstreamMessage:
    """The message of an object that is known to be an error, which its own type does not tell more of."""
    told = {name: value for name, value in payload.items() if name != "type" or value != "error"}
    return error_shapes.read_refusal(told) or _NO_WORDS


def read_inner_error(holder: Mapping[str, Any]) -> UpstreamMessage | None:
    """The message of the error that a message, or a change of it, holds; None: it holds none."""
    return read_error({"error": holder["error"]}) if holder.get("error") else None


def read_event_error(payload: Mapping[str, Any], *, named: bool = False) -> UpstreamMessage | None:
    """The message of an event that is an error, whatever shape it has; `named`: the event is called `error`.

    An event with a type of its own is an error only if the type says so, as `overloaded_error` does, or if it holds
    an error. An object without one is an error if it
    holds words where errors have them.
    """
    kind = payload.get("type")
    if named or kind == "error" or (isinstance(kind, str) and kind.endswith(ERROR_END)):
        return read_error(payload)
    return error_shapes.read_refusal(payload) if not isinstance(kind, str) or payload.get("error") else None


def status_of(error: RivergateError) -> int:
    """The HTTP status of an error: 529 if the upstream that failed last was overloaded."""
    if not isinstance(error, UpstreamError):
        return error.status
    is_overloaded = error.upstream_status == OVERLOADED_STATUS or _told_kind(error) == _OVERLOADED
    return OVERLOADED_STATUS if is_overloaded else error.status


def type_of(error: RivergateError) -> str:
    """The type of an error, as Anthropic names it: an upstream's own if it told one, else by the status."""
    if (kind := _told_kind(error)) in _PASSED_ON:
        return kind
    status = status_of(error)
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def envelope(error: RivergateError, request_id: str) -> dict[str, Any]:
    """The error as clients read it, in an answer and in an event alike.

    The code of the gateway's own error stands where Anthropic's SDKs look for one, unless an upstream has told its
    own details.
    """
    told = {name: value for name, value in error.quoted_details.items() if name not in _ENVELOPE}
    return {
        "type": "error",
        "error": {
            "type": type_of(error),
            "message": error.message,
            "details": {"error_code": error.code},
            **told,
        },
        "request_id": request_id,
        **error.details,
    }


def _told_kind(error: RivergateError) -> str:
    """The type that an upstream gave its error inside of an answer; "" if it told none."""
    return error.told.kind if isinstance(error, ReportedFailure) else ""
