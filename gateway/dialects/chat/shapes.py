"""Pure: what is looked at of a long chunk object or completion: all that the reader acts on and repairs."""

from gateway.wire.json_abridged import Shape

_TEXT = Shape(is_text=True)
_THOUGHTS = Shape(elements=Shape({"text": Shape()}))  # they stand in the text a second time once they are joined
_PART = Shape({"text": _TEXT, "thinking": _THOUGHTS})
_CALL = Shape({"function": Shape({"name": Shape(), "arguments": _TEXT})})
_BODY = Shape(
    {
        "content": Shape({"text": _TEXT}, elements=_PART, is_text=True),
        "reasoning_content": _TEXT,
        "reasoning": _TEXT,
        "refusal": _TEXT,
        "tool_calls": Shape(elements=_CALL),
        "error": Shape({}),
        "usage": Shape({}),
    }
)
_CHOICE = Shape({"delta": _BODY, "message": _BODY, "error": Shape({}), "usage": Shape({})})
_MEMBERS = {"choices": Shape(elements=_CHOICE), "error": Shape({}), "errors": Shape(elements=Shape({}))}
_OBJECT = Shape(_MEMBERS)

EVENT = COMPLETION = Shape(_MEMBERS, elements=_OBJECT)  # Google lists the object of an error

_JOINED_BODY = Shape({**(_BODY.members or {}), "audio": Shape({})})
_JOINED_CHOICE = Shape({"delta": _JOINED_BODY, "logprobs": Shape({})})
JOINED_EVENT = Shape({"choices": Shape(elements=_JOINED_CHOICE)})  # and all that grows with the events, to be joined
