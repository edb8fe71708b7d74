"""Pure: encodes the JSON objects of completions as frames that no client cuts in two."""

from collections.abc import Mapping
from typing import Any

from gateway.wire import json_text, sse

DONE = b"data: [DONE]\n\n"


def encode(members: Mapping[str, Any]) -> bytes:
    """The frame of an object. Raises `ValueError` for nesting that no client could read."""
    return sse.frame(json_text.dumps_line(members))
