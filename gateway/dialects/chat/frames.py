"""Pure: encodes the JSON objects of chat completions as frames that no client cuts in two."""

from collections.abc import Mapping
from typing import Any

from gateway.wire import json_text, sse

DONE = b"data: [DONE]\n\n"

_LINE_ENDS = ((b"\xc2\x85", b"\\u0085"), (b"\xe2\x80\xa8", b"\\u2028"), (b"\xe2\x80\xa9", b"\\u2029"))


def encode(members: Mapping[str, Any]) -> bytes:
    """The frame of an object. Raises `ValueError` for nesting that no client could read."""
    return escape_line_ends(sse.frame(json_text.dumps(members)))


def escape_line_ends(frame: bytes) -> bytes:
    """The frame with U+0085, U+2028 and U+2029 as escapes; unescaped, they end a line in some clients."""
    if frame.isascii():
        return frame
    for raw, escaped in _LINE_ENDS:
        frame = frame.replace(raw, escaped)
    return frame
