"""Pure: reads events whose data is no JSON object: what an upstream, or a proxy, says instead of a chunk."""

from typing import Any

from gateway.dialects.choices.errors import MAX_ERROR_TEXT
from gateway.dialects.choices.event_errors import read_event_error
from gateway.dialects.dialect import Meaning, UpstreamMessage
from gateway.wire import json_text

MAX_REPAIRED_BYTES = 1 << 18  # of an event with NaN in it, which takes 20 ms to read
REPORTED = "the upstream reported an error"
_NO_OBJECT = "the upstream sent an event that is not a JSON object"


def loads_with_nulls(data: bytes) -> Any:
    """The value of data that is JSON but for NaN and infinities, which become null; None if it is not."""
    try:
        return json_text.loads_with_nulls(data, MAX_REPAIRED_BYTES)
    except ValueError:
        return None


def read_odd(value: Any, data: bytes, *, named: bool) -> Meaning:
    """The meaning of an event whose data is no JSON object: an error, in the upstream's words if it has any."""
    if isinstance(value, list) and value and isinstance(first := value[0], dict):  # Gemini sends its errors in a list
        message = read_event_error(first, named=named)
        if message is not None:
            return Meaning(error=REPORTED, told=message)
    words = value if isinstance(value, str) else data[: 4 * MAX_ERROR_TEXT].decode("utf-8", "replace")
    words = words[:MAX_ERROR_TEXT].strip() if isinstance(value, str | None) else ""
    if words.startswith(("{", "[", '"')) or not words.isprintable():
        words = ""  # half an object has no words for a client
    told = UpstreamMessage(words.encode("utf-8", "replace").decode()) if words else None
    return Meaning(error=REPORTED if named else _NO_OBJECT, told=told)
