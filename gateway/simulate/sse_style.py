"""Pure: the style in which a script wants its server-sent events written, as odd as real providers write them.

In: a script, and the JSON of one event after another. Out: the bytes of their frames, without HTTP framing.
With the default script every frame is one `data: ` line of compact JSON.
"""

from typing import Any

import orjson

from gateway.simulate.script import Script

BOM = b"\xef\xbb\xbf"

Json = dict[str, Any]


class SseStyle:
    """The line ends, the spaces and the event names of one script."""

    __slots__ = ("_comment", "_event_line", "_field", "_line_end", "_names", "_options")

    def __init__(self, script: Script) -> None:
        self._comment = script.comment
        self._line_end = script.line_end.encode()
        self._field = b"data: " if script.space else b"data:"
        self._event_line = b"event: message" + self._line_end if script.event_names else b""
        self._names = "event" not in script.omit
        self._options = orjson.OPT_INDENT_2 if script.pretty else 0

    def encode(self, payload: Json, name: str = "") -> bytes:
        """The frame of a JSON object; `name`: the event's, in a dialect whose events have names."""
        return self.frame(orjson.dumps(payload, option=self._options), name)

    def frame(self, payload: bytes, name: str = "") -> bytes:
        """The frame of any data, one field for each of its lines."""
        lines = (self._field + line + self._line_end for line in payload.split(b"\n"))
        event_line = b"event: " + name.encode() + self._line_end if name and self._names else self._event_line
        return event_line + b"".join(lines) + self._line_end

    def comment(self) -> bytes:
        """A comment in a block of its own."""
        return b": " + self._comment.encode() + self._line_end * 2
