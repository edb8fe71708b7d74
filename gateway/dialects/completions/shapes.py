"""Pure: what is looked at of a long event or completion whose choices are texts."""

from gateway.dialects.choices.shapes import ERROR, TEXT, USAGE, shape_with
from gateway.wire.json_abridged import Shape

_CHOICE = {"text": TEXT, "reasoning_content": TEXT, "reasoning": TEXT, "error": ERROR, "usage": USAGE}

EVENT = COMPLETION = shape_with(Shape(_CHOICE))
JOINED_EVENT = Shape({"choices": Shape(elements=Shape({**_CHOICE, "logprobs": Shape({})}))})  # all that grows
