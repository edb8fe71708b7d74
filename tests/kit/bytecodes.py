"""Counts what the gateway's own code executes in this thread: bytecodes and calls, by phase."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import gateway

_CODE = f"{Path(gateway.__file__).parent}/"


class Bytecodes:
    """The counts, by the phase that the test has set, and by function: `access/bank.py:Lease.close`."""

    def __init__(self) -> None:
        self._names: dict[Any, str | None] = {}
        self._phase = ""
        self._executed: dict[str, Counter[str]] = {}
        self._calls: dict[str, Counter[str]] = {}

    def begin(self, phase: str) -> None:
        """Count for this phase from now on."""
        self._phase = phase
        self._executed.setdefault(phase, Counter())
        self._calls.setdefault(phase, Counter())

    def executed(self, phase: str, without: tuple[str, ...] = ()) -> int:
        """The bytecodes of a phase. `without`: modules that are left out."""
        return sum(count for name, count in self._executed[phase].items() if not name.startswith(without or ("-",)))

    def calls(self, function: str) -> int:
        """How often this function was called, in all phases."""
        return sum(calls[function] for calls in self._calls.values())

    @contextmanager
    def counting(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._on_call)
        try:
            yield
        finally:
            sys.settrace(before)

    def _on_call(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if code not in self._names:
            self._names[code] = self._name(code.co_filename, code.co_qualname)
        if (name := self._names[code]) is None:
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self._calls[self._phase][name] += 1

        def on_event(inner: FrameType, event: str, argument: object) -> Any:
            if event == "opcode":
                self._executed[self._phase][name] += 1
            return on_event

        return on_event

    def _name(self, file: str, function: str) -> str | None:
        return f"{file.removeprefix(_CODE)}:{function}" if file.startswith(_CODE) else None
