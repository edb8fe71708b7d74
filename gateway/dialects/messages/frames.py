"""Pure: encodes the JSON objects of a message's events as frames, each with the name that clients go by."""

from collections.abc import Mapping
from typing import Any

from gateway.wire import json_text, sse


def encode(members: Mapping[str, Any]) -> bytes:
    """The frame of an event, named by its `type`. Raises `ValueError` for nesting that no client could read."""
    return sse.frame(json_text.dumps_line(members), members["type"].encode())


PING = encode({"type": "ping"})
STOP = encode({"type": "message_stop"})
