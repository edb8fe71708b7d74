"""Pure: what is looked at of a long chunk object or completion: all that the reader acts on and repairs."""

from gateway.dialects.chat.usage_places import PLACES, WRAPPERS
from gateway.wire.json_abridged import Shape

_TEXT = Shape(is_text=True)
_READ = Shape(is_read_only=True)
_DETAIL = Shape({}, others=_READ, is_read_only=True)
_ERROR = _USAGE = Shape({}, elements=_DETAIL, others=_DETAIL, is_read_only=True)
_FAULTS = Shape({}, elements=Shape({}, others=Shape({})), others=Shape({}))
_THOUGHTS = Shape(elements=Shape({"text": _TEXT}), is_text=True)
_PART = Shape({"text": _TEXT, "thinking": _THOUGHTS}, is_text=True)
_FUNCTION = Shape({"name": Shape(), "arguments": _TEXT})
_CALL = Shape({"function": _FUNCTION, "custom": Shape({"name": Shape(), "input": _TEXT})})
_BODY = Shape(
    {
        "content": Shape({"text": _TEXT}, elements=_PART, is_text=True),
        "reasoning_content": _TEXT,
        "reasoning": _TEXT,
        "refusal": _TEXT,
        "tool_calls": Shape(_CALL.members, elements=_CALL),
        "function_call": _FUNCTION,
        "error": _ERROR,
        "usage": _USAGE,
    }
)
_CHOICE = Shape({"delta": _BODY, "message": _BODY, "error": _ERROR, "usage": _USAGE})
_MEMBERS = {
    "id": _READ,
    "model": _READ,
    "choices": Shape(elements=_CHOICE),
    "error": _ERROR,
    "errors": _FAULTS,
    "detail": _FAULTS,
    "base_resp": Shape({}),
    "timings": Shape({}),
    **dict.fromkeys(PLACES, _USAGE),
    **dict.fromkeys(WRAPPERS, Shape({"usage": _USAGE})),
}
_OBJECT = Shape(_MEMBERS)

EVENT = COMPLETION = Shape(_MEMBERS, elements=_OBJECT)  # Google lists the object of an error

_JOINED_BODY = Shape({**(_BODY.members or {}), "audio": Shape({})})
_JOINED_CHOICE = Shape({"delta": _JOINED_BODY, "logprobs": Shape({}), "text": _TEXT})
JOINED_EVENT = Shape({"choices": Shape(elements=_JOINED_CHOICE)})  # and all that grows with the events, to be joined
