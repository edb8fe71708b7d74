"""Shell: what the command lines of the benches share: numbers with ranges, cores, a clean end, the line of JSON.

In: options and reports. Out: numbers, a process on its core, text on stdout. Invariant: SIGTERM ends a bench as an
exception does, so that every `with` block and `finally` has its turn.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import machine, rows
from bench.measure import table


def bounded(low: float, high: float, kind: type[int] | type[float]) -> Callable[[str], float]:
    """The type of an option: a number from `low` to `high`."""

    def number(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low:g} to {high:g}")
        return value

    return number


def say(text: str) -> None:
    """Progress, and tables."""
    print(text, file=sys.stderr, flush=True)


def take_machine() -> tuple[int, int]:
    """Move onto the core for the load; return the core for the peers and this one."""
    machine.raise_open_files()
    peer_core, load_core = machine.take_cores()
    os.sched_setaffinity(0, {load_core})
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    return peer_core, load_core


def tell(report: Mapping[str, object], file: Path | None) -> None:
    """The targets to stderr; the report and what became of them, one line of JSON, to stdout and into the file."""
    verdicts = rows.of_bench(str(report["bench"]), report)
    say(table(("gateway", "target", "figure", "verdict"), [one.cells for one in verdicts]) + "\n")
    line = json.dumps({**report, "targets": [one.as_json() for one in verdicts]})
    print(line, flush=True)
    if file:
        file.write_text(line + "\n")
