"""Shell: log lines on standard error: as JSON, one object a line, or as text for people.

No line holds a prompt, a completion, a key or a token. So `extra={"fields": ...}` is the only way to add values, and
exceptions are logged by type and place, without their arguments' reprs beyond the message.
"""

import logging
import os
import sys
from typing import Any, Literal, TextIO

import orjson

from gateway import clock
from gateway.endings import Ending
from gateway.observe import log_text

LogFormat = Literal["json", "text"]

_LEVELS = {"WARNING": "warning", "ERROR": "error", "CRITICAL": "critical", "INFO": "info", "DEBUG": "debug"}
_NUMBERS = {"info": logging.INFO, "warning": logging.WARNING}


class JsonFormatter(logging.Formatter):
    """`{"at", "level", "logger", "event", ...fields}`; `at` is UTC, RFC 3339 with milliseconds."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": clock.rfc3339(record.created),
            "level": _LEVELS.get(record.levelname, record.levelname.lower()),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """`time level event field=value …` for people, in UTC; without the name of the logger."""

    def __init__(self, *, coloured: bool = False) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        return log_text.line(
            clock.rfc3339(record.created),
            _LEVELS.get(record.levelname, record.levelname.lower()),
            record.getMessage(),
            getattr(record, "fields", {}),
            self.formatException(record.exc_info) if record.exc_info else "",
            coloured=self._coloured,
        )


def write_ending(logger: logging.Logger, event: str, ending: Ending, fields: dict[str, Any]) -> None:
    """Write the log line of what has ended with `ending`, at the level of the ending.

    It does what `logger.log` does, but does not search for the calling line, which the formatter does not print.
    """
    level = _NUMBERS[ending.log_level]
    if logger.isEnabledFor(level):
        record = logging.LogRecord(logger.name, level, "", 0, event, None, None)
        record.fields = fields
        logger.handle(record)


def configure(level: str = "INFO", out: TextIO = sys.stderr, form: LogFormat = "json") -> None:
    """Send every logger's lines to `out`; in colour if they are text and `out` is a terminal."""
    handler = logging.StreamHandler(out)
    handler.setLevel(level)
    handler.setFormatter(TextFormatter(coloured=_shows_colour(out)) if form == "text" else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # The formatters print no thread, process or task, so they are not looked up for each line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def _shows_colour(out: TextIO) -> bool:
    """Whether `out` is a terminal that shows colours (https://no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("", "dumb")
