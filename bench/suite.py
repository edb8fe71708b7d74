"""Shell: runs benches one after another, each in a process of its own, and keeps what they found.

In: benches and options. Out: a JSON file per bench; the reports, and why there is none of a bench. Invariant: however
it ends, no process that a bench has started outlives it: orphans become children of this process, which ends them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine
from bench.line_up import Entry, Wish, options
from bench.readings import Report

RESULTS = machine.ROOT / "bench" / "results"
END_SECONDS = 20.0  # for a bench to end its peers after SIGTERM
KILL_SECONDS = 0.005  # between two looks for descendants that are left
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


@dataclass(slots=True)
class Outcome:
    """By the names of the benches; `broken` are those that ended with another status than 0, with or without a
    report."""

    reports: dict[str, Report] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)


class Suite:
    """Writes into `folder` as each bench ends."""

    def __init__(self, folder: Path, wish: Wish) -> None:
        self._folder, self._wish = folder, wish
        self.outcome = Outcome()

    def run(self, entry: Entry) -> None:
        """`KeyboardInterrupt` and `SystemExit` pass, when the bench and all its peers are gone."""
        with tempfile.TemporaryDirectory(prefix="bench-run-") as folder:
            file = Path(folder) / "report.json"
            begun = time.monotonic()
            status = _played(
                [sys.executable, "-m", f"bench.{entry.name}", *options(entry, self._wish), "--json", file]
            )
            self._keep(entry.name, status, time.monotonic() - begun, _read(file))

    def _keep(self, name: str, status: int, seconds: float, report: dict[str, object] | None) -> None:
        outcome = self.outcome
        if status:
            outcome.broken[name] = status
        if report is None:
            outcome.troubles[name] = f"ended with status {status} and without a report"
            return
        report |= {"quick": self._wish.quick, "seconds": round(seconds, 1), "status": status}
        outcome.reports[name] = report
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")


def _played(command: list[str | Path]) -> int:
    """The exit status of the bench; its progress is ours."""
    process = None
    try:
        with interrupts_deferred():  # a process that has begun and is not known yet would never be ended
            process = subprocess.Popen(
                command, cwd=machine.ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
            )
        return process.wait()
    finally:
        with interrupts_ignored():
            if process is not None:
                _end(process)
            end_orphans()


def _end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM once: a bench then ends its peers itself."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def adopt_orphans() -> None:
    """From now on this process is the parent of whatever its descendants leave behind."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans() -> list[int]:
    """Kill and reap every descendant; return who they were.

    Again and again until none is left: a process that ends or forks meanwhile hides its children from one look.
    """
    found: dict[int, None] = {}
    while True:
        orphans = [pid for pid in machine.process_tree(os.getpid()) if pid != os.getpid()]
        found |= dict.fromkeys(orphans)
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return list(found)
        time.sleep(KILL_SECONDS)


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Ctrl-C and SIGTERM are heard at the end of the block."""
    came: list[int] = []
    kept = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    for heard in came:
        signal.raise_signal(heard)


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """A second Ctrl-C must not stop the end."""
    kept = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _read(file: Path) -> dict[str, object] | None:
    try:
        report: dict[str, object] = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return report


def load(folder: Path, names: Iterable[str]) -> dict[str, Report]:
    """The reports that were kept."""
    found = {name: _read(folder / f"{name}.json") for name in names}
    return {name: report for name, report in found.items() if report is not None}
