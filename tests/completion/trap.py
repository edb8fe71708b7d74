"""A trap that raises an exception at one chosen step of what the gateway does: the call of a function, or a line."""

import linecache
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import CO_GENERATOR
from types import CodeType, FrameType, FunctionType
from typing import Any

LINES_OF = ("completion/completion.py", "run/bookkeeping.py", "access/local_bank.py", "stream/stream.py")


class Trap:
    """Counts the steps from the entry of a function until it returns, and raises `error` at step `at`.

    A step is the entry of any function of the gateway, and, in the modules whose business is the settlement, each
    line. The first call of the function is watched.
    """

    def __init__(self, entry: Callable[..., Any], at: int, error: type[BaseException]) -> None:
        assert isinstance(entry, FunctionType)
        self._entry: CodeType = entry.__code__
        self._at = at
        self._error = error
        self._watched: FrameType | None = None
        self._is_over = False
        self.steps = 0
        self.place = ""  # where the exception was raised

    @property
    def is_sprung(self) -> bool:
        return bool(self.place)

    @contextmanager
    def set(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if self._watched is None:
            if frame.f_code is not self._entry or self._is_over:
                return None
            self._watched = frame
        if event == "return" and frame is self._watched:
            self._watched, self._is_over = None, True
            return None
        name = frame.f_code.co_filename
        if "/gateway/" not in name or frame.f_code.co_flags & CO_GENERATOR:  # a generator is called to be closed, too
            return None
        if event == "call" or (event == "line" and name.endswith(LINES_OF) and not _does_nothing(frame)):
            self.steps += 1
            if self.steps == self._at:
                self.place = f"{name.rpartition('/gateway/')[2]}:{frame.f_lineno} {frame.f_code.co_name} ({event})"
                raise self._error("injected")
        return self._trace


def _does_nothing(frame: FrameType) -> bool:
    """Whether a line is a `try:`, at which nothing can fail."""
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip() == "try:"
