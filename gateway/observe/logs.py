"""Shell: log lines on standard error: as JSON, one object a line, or as text for people.

No line holds a prompt, a completion, a key or a token. So `extra={"fields": ...}` is the only way to add values, and
exceptions are logged by type, place and message, without the values that the message quotes (told_exception.py).
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal, TextIO

import orjson

from gateway import clock
from gateway.endings import Ending
from gateway.observe import log_text
from gateway.observe.told_exception import told

LogFormat = Literal["json", "text"]

BATCH_SECONDS = 0.01  # how long a line may wait for others
MAX_BATCH = 500  # lines that wait

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
        if exception := _exception(record):
            line["exception"] = exception
        try:
            return orjson.dumps(line, default=str).decode()
        except TypeError:  # orjson refuses lone surrogates and integers over 64 bits, which upstreams send
            return json.dumps(line, default=str, separators=(",", ":"))


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
            _exception(record),
            coloured=self._coloured,
        )


def _exception(record: logging.LogRecord) -> str:
    """The exception that a record tells of; "" if it tells of none."""
    error = record.exc_info[1] if record.exc_info else None
    return "" if error is None else told(error)


_UNTOLD = {
    **dict.fromkeys(("pathname", "filename", "module", "funcName"), ""),
    **dict.fromkeys(("args", "exc_info", "exc_text", "stack_info"), None),
    **dict.fromkeys(("thread", "threadName", "process", "processName", "taskName"), None),
    **dict.fromkeys(("lineno", "relativeCreated"), 0),
}  # what a record has beside the event


class _EndingRecord(logging.LogRecord):
    """The record of an ending. It has what formatters print, but not the calling line and all that is told of it."""

    def __init__(self, name: str, level: int, event: str, fields: dict[str, Any]) -> None:
        self.__dict__.update(_UNTOLD)
        self.name = name
        self.msg = event
        self.levelno = level
        self.levelname = logging.getLevelName(level)
        self.created = clock.wall_time()
        self.msecs = self.created % 1 * 1000
        self.fields = fields


def write_ending(logger: logging.Logger, event: str, ending: Ending, fields: Callable[[], dict[str, Any]]) -> None:
    """Write the log line of what has ended with `ending`, at the level of the ending.

    `fields` is called only if the line is written.
    """
    level = _NUMBERS[ending.log_level]
    if logger.isEnabledFor(level):
        logger.handle(_EndingRecord(logger.name, level, event, fields()))


class BatchedHandler(logging.StreamHandler[TextIO]):
    """Writes lines below a warning in batches: a write for each would be a system call for each request.

    Whatever ends a wait writes all that has waited, so that the order of the lines stays.
    """

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self._waiting: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        waiting = self._waiting
        waiting.append(record)
        if record.levelno >= logging.WARNING or len(waiting) >= MAX_BATCH:
            self.flush()
        elif len(waiting) == 1:
            try:
                asyncio.get_running_loop().call_later(BATCH_SECONDS, self.flush)
            except RuntimeError:  # there is no loop yet, or not in this thread
                self.flush()

    def flush(self) -> None:
        with self.lock or nullcontext():
            waiting, self._waiting = self._waiting, []
            if waiting:
                self._write(waiting)

    def _write(self, records: list[logging.LogRecord]) -> None:
        lines = []
        for record in records:
            try:
                lines.append(self.format(record) + self.terminator)
            except Exception:
                self.handleError(record)
        try:
            self.stream.write("".join(lines))
            super().flush()
        except Exception:
            self.handleError(records[-1])


def configure(level: str = "INFO", out: TextIO = sys.stderr, form: LogFormat = "json") -> None:
    """Send every logger's lines to `out`; in colour if they are text and `out` is a terminal."""
    handler = BatchedHandler(out)
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
