"""Shell: log lines as JSON, one object a line, on standard error.

No line holds a prompt, a completion, a key or a token. So `extra={"fields": ...}` is the only way to add values, and
exceptions are logged by type and place, without their arguments' reprs beyond the message.
"""

import logging
import sys
from typing import Any, TextIO

import orjson

from gateway import clock
from gateway.endings import Ending

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


def write_ending(logger: logging.Logger, event: str, ending: Ending, fields: dict[str, Any]) -> None:
    """Write the log line of what has ended with `ending`, at the level of the ending.

    It does what `logger.log` does, but does not search for the calling line, which the formatter does not print.
    """
    level = _NUMBERS[ending.log_level]
    if logger.isEnabledFor(level):
        record = logging.LogRecord(logger.name, level, "", 0, event, None, None)
        record.fields = fields
        logger.handle(record)


def configure(level: str = "INFO", out: TextIO = sys.stderr) -> None:
    """Send every logger's lines to `out`."""
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # The formatter prints no thread, process or task, so they are not looked up for each line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
