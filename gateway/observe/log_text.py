"""Pure: log lines for people: `time  level  event  field=value …`, one line an event, in colour on a terminal.

In: what a log record holds. Out: the line. The invariant: whatever an event or a field holds, it stays one line, and
no control character reaches the terminal. The lines of an exception follow, indented.
"""

import json
from collections.abc import Mapping
from typing import Any

LEVEL_COLUMN = 8  # the width of the longest level
EVENT_COLUMN = 24  # shorter events are padded, so that the fields of most lines begin in one column
_RESET, _DIM, _BOLD = "\x1b[0m", "\x1b[2m", "\x1b[1m"
_COLOURS = {"debug": _DIM, "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}


def line(at: str, level: str, event: str, fields: Mapping[str, Any], exception: str = "", *, coloured: bool) -> str:
    """The line of one event. `at`: its time as text; `exception`: a traceback, "" without one."""

    def painted(text: str, code: str) -> str:
        return f"{code}{text}{_RESET}" if coloured else text

    shown = [f"{painted(_printable(str(name)) + '=', _DIM)}{_value(value)}" for name, value in fields.items()]
    event = _printable(event)
    head = [
        painted(at, _DIM),
        painted(level, _COLOURS.get(level, "")) + " " * (LEVEL_COLUMN - len(level)),
        painted(event, _BOLD) + " " * ((EVENT_COLUMN - len(event)) if shown else 0),
    ]
    below = ["    " + _printable(text) for text in exception.splitlines()]
    return "\n".join([" ".join([*head, *shown]), *below])


def _value(value: Any) -> str:
    """A value as a word; a text that is not one plain word is quoted as JSON does it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list | tuple | dict):
        return _printable(json.dumps(value, ensure_ascii=False, default=str))
    text = str(value)
    plain = text and text.isprintable() and not any(character in text for character in " \"'=[]{}")
    return text if plain else _printable(json.dumps(text, ensure_ascii=False))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
