"""Pure: the end of a response that breaks off: an event `error`, and then `response.failed`.

Both are needed. Clients of one kind raise the message of `error`, some by its flat fields and some by the object in
it; to those of another kind the response has not ended before `response.failed`. In the other order the message is
lost.
"""

from collections.abc import Mapping
from typing import Any

from gateway.dialects.dialect import AnswerIdentity
from gateway.dialects.responses.events import ERROR, FAILED, NUMBER, frame
from gateway.errors import RivergateError

UNFINISHED = "no terminal event"  # what is missing of a body that ends too early
# The members that clients read of every response.
_EMPTY: Mapping[str, Any] = {
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "output": [],
    "parallel_tool_calls": True,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "usage": None,
}

# The other members that a response which broke off keeps of what is known of it. What an upstream adds of its own
# may be its words for the failure, which nobody has redacted.
_KEPT = frozenset(
    {
        *_EMPTY.keys() - {"incomplete_details"},
        "id",
        "object",
        "created_at",
        "completed_at",
        "model",
        "previous_response_id",
        "conversation",
    }
    | {"background", "store", "user", "safety_identifier", "prompt", "prompt_cache_key", "prompt_cache_retention"}
    | {"reasoning", "text", "truncation", "service_tier", "top_logprobs", "max_output_tokens", "max_tool_calls"}
)


def response_of(identity: AnswerIdentity, known: Mapping[str, Any]) -> dict[str, Any]:
    """A response of which no more is known than these members; without an id it gets one of the gateway's own."""
    own = {"id": f"resp_{identity.request_id}", "created_at": identity.created, "model": identity.model}
    return {"object": "response", **own, **_EMPTY, **_kept(known)}


def failed_response(known: Mapping[str, Any], code: Any, message: str) -> dict[str, Any]:
    """A response that has failed, of which these members are known, with this error."""
    return {**_kept(known), "status": "failed", "error": {"code": code, "message": message}}


def break_frames(error: RivergateError, number: int, response: Mapping[str, Any]) -> list[bytes]:
    """The frames of a break. `number`: of the first of them; `response`: as the last event has told it."""
    envelope = error.envelope()
    told = envelope["error"]
    flat = {name: told[name] for name in ("code", "message", "param")}
    event = {"type": ERROR, NUMBER: number, **flat, **envelope}
    failed = failed_response(response, told["code"], told["message"])
    return [frame(event), frame({"type": FAILED, NUMBER: number + 1, "response": failed})]


def _kept(known: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in known.items() if name in _KEPT}
