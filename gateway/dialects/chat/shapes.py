"""Pure: what is looked at of a long chunk object or completion: all that the reader acts on and repairs."""

from gateway.dialects.choices.shapes import ERROR, TEXT, USAGE, shape_with
from gateway.wire.json_abridged import Shape

_THOUGHTS = Shape(elements=Shape({"text": TEXT}), is_text=True)
_PART = Shape({"text": TEXT, "thinking": _THOUGHTS}, is_text=True)
_FUNCTION = Shape({"name": Shape(), "arguments": TEXT})
_CALL = Shape({"function": _FUNCTION, "custom": Shape({"name": Shape(), "input": TEXT})})
_BODY = Shape(
    {
        "content": Shape({"text": TEXT}, elements=_PART, is_text=True),
        "reasoning_content": TEXT,
        "reasoning": TEXT,
        "refusal": TEXT,
        "tool_calls": Shape(_CALL.members, elements=_CALL),
        "function_call": _FUNCTION,
        "error": ERROR,
        "usage": USAGE,
    }
)

EVENT = COMPLETION = shape_with(Shape({"delta": _BODY, "message": _BODY, "error": ERROR, "usage": USAGE}))

_JOINED_BODY = Shape({**(_BODY.members or {}), "audio": Shape({})})
_JOINED_CHOICE = Shape({"delta": _JOINED_BODY, "logprobs": Shape({}), "text": TEXT})
JOINED_EVENT = Shape({"choices": Shape(elements=_JOINED_CHOICE)})  # and all that grows with the events, to be joined
