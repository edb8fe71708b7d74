"""Pure: what is looked at of a long event, or of a long response: all that the reader acts on."""

from gateway.wire.json_abridged import Shape

_TEXT = Shape(is_text=True)
_READ = Shape(is_read_only=True)
_DETAIL = Shape({}, others=_READ, is_read_only=True)
_ERROR = _USAGE = Shape({}, elements=_DETAIL, others=_DETAIL, is_read_only=True)
_ITEM = Shape({"content": _TEXT, "summary": _TEXT, "arguments": _TEXT, "input": _TEXT})
_MEMBERS = {"error": _ERROR, "usage": _USAGE, "output": Shape(elements=_ITEM)}  # the image of an item is no text
_OF_EVENT = ("delta", "text", "refusal", "arguments", "input")  # members that hold the text of an event

RESPONSE = Shape({**_MEMBERS, "detail": _ERROR})
EVENT = Shape(
    {
        "response": Shape(_MEMBERS),
        "item": _ITEM,
        "error": _ERROR,
        "detail": _ERROR,
        **dict.fromkeys(_OF_EVENT, _TEXT),
    }
)
JOINED_EVENT = Shape({"response": Shape({})})  # whose response is all of the answer
RETOLD_EVENT = Shape({"response": Shape({"error": Shape({})}), "item": Shape({})})
