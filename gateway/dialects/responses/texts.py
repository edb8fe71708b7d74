"""Pure: the texts of a response, whose length tells how many tokens it has where its upstream does not."""

from typing import Any

from gateway.wire.media_text import spoken_bytes

_PARTS = ("content", "summary")  # members of an item that hold parts with a text
_OWN = ("arguments", "input")  # members of an item that are a text
_OF_PART = ("text", "refusal")


def text_bytes(value: Any) -> int:
    """The bytes of a text, without the images and sounds in it; 0 for any other value."""
    return spoken_bytes(value) if isinstance(value, str) else 0


def item_bytes(item: Any) -> int:
    """The bytes of the texts of one item: a message, a thought, the arguments of a call."""
    if not isinstance(item, dict):
        return 0
    size = sum(text_bytes(item.get(name)) for name in _OWN)
    for name in _PARTS:
        if isinstance(parts := item.get(name), list):
            size += sum(text_bytes(part.get(key)) for part in parts if isinstance(part, dict) for key in _OF_PART)
    return size


def output_bytes(response: dict[str, Any]) -> int:
    """The bytes of the texts of all items of a response."""
    output = response.get("output")
    return sum(map(item_bytes, output)) if isinstance(output, list) else 0
