"""Pure: what is looked at of a long event or message: all that the reader acts on and repairs."""

from gateway.wire.json_abridged import Shape

_TEXT = Shape(is_text=True)
_READ = Shape(is_read_only=True)
_DETAIL = Shape({}, others=_READ, is_read_only=True)
_USAGE = Shape({}, others=Shape({}))
_ERROR = Shape({}, elements=_DETAIL, others=_DETAIL, is_read_only=True)
_BLOCK = Shape({"text": _TEXT, "thinking": _TEXT, "input": Shape(is_text=True)})
_MESSAGE = {"content": Shape(elements=_BLOCK), "usage": _USAGE}
_EVENT = {
    "message": Shape(_MESSAGE),
    "content_block": _BLOCK,
    "delta": Shape({"text": _TEXT, "thinking": _TEXT, "partial_json": _TEXT}),
    "usage": _USAGE,
    "error": _ERROR,
    "detail": _ERROR,
}
EVENT = Shape(_EVENT, elements=Shape(_EVENT))  # Google lists the object of an error
MESSAGE = Shape({**_MESSAGE, "error": _ERROR, "detail": _ERROR}, elements=Shape(_EVENT))
# The members that are joined, one by one.
JOINED_EVENT = Shape(
    {
        "message": Shape({"usage": Shape({})}),
        "content_block": Shape({}),
        "delta": Shape({}),
        "usage": Shape({}),
    }
)
