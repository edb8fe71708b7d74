"""Pure: what is looked at of a long event or completion beside what its choices say."""

from gateway.dialects.choices.usage_places import PLACES, WRAPPERS
from gateway.wire.json_abridged import Shape

TEXT = Shape(is_text=True)
_READ = Shape(is_read_only=True)
_DETAIL = Shape({}, others=_READ, is_read_only=True)
ERROR = USAGE = Shape({}, elements=_DETAIL, others=_DETAIL, is_read_only=True)
_FAULTS = Shape({}, elements=Shape({}, others=Shape({})), others=Shape({}))


def shape_with(choice: Shape) -> Shape:
    """The shape of an event or completion whose choices have this shape."""
    members = {
        "id": _READ,
        "model": _READ,
        "choices": Shape(elements=choice),
        "error": ERROR,
        "errors": _FAULTS,
        "detail": _FAULTS,
        "base_resp": Shape({}),
        "timings": Shape({}),
        **dict.fromkeys(PLACES, USAGE),
        **dict.fromkeys(WRAPPERS, Shape({"usage": USAGE})),
    }
    return Shape(members, elements=Shape(members))  # Google lists the object of an error
