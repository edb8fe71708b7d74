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

from bench import abort, fanout, growth, memory, relay, startup, storm, ttft
from bench.kit import machine
from bench.kit.command import Bench
from bench.rows import Report

ALL = "all"
APT = "apt-get install nginx libnginx-mod-nchan gcc"
BENCHES = {each.BENCH.name: each.BENCH for each in (startup, relay, ttft, abort, memory, storm, growth, fanout)}
RESULTS = machine.ROOT / "bench" / "results"
END_SECONDS = 20.0  # for a bench to end its peers after SIGTERM
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


@dataclass(frozen=True, slots=True)
class Settings:
    """How the suite runs its benches. A short run asks for fewer and shorter rounds, never for another load."""

    quick: bool = False
    rounds: int | None = None
    litellm: str = ""

    def options(self, bench: Bench) -> list[str]:
        """What the bench is given; an option that stands twice counts as it stands last."""
        given = list(bench.quick) if self.quick else []
        if self.rounds is not None and any(option.name == "--rounds" for option in bench.options):
            given += ["--rounds", f"{self.rounds}"]
        if self.litellm and bench.name == "relay":
            given += ["--litellm", self.litellm]
        return given


def chosen(names: list[str]) -> list[Bench]:
    """In the order of the suite; all for `all`, and for none."""
    return [bench for name, bench in BENCHES.items() if not names or ALL in names or name in names]


@dataclass(slots=True)
class Outcome:
    """By the names of the benches; `broken`: the status of those that did not end with 0, with or without a report."""

    reports: dict[str, Report] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)


class Suite:
    """Writes into `folder` as each bench ends."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder, self._settings = folder, settings
        self.outcome = Outcome()

    def run(self, bench: Bench) -> None:
        """`KeyboardInterrupt` and `SystemExit` pass, when the bench and all its peers are gone."""
        with tempfile.TemporaryDirectory(prefix="bench-run-") as folder:
            file, begun = Path(folder) / "report.json", time.monotonic()
            options = [*self._settings.options(bench), "--json", str(file)]
            status = _played([sys.executable, "-m", f"bench.{bench.name}", *options])
            self._keep(bench.name, status, time.monotonic() - begun, _read(file))

    def _keep(self, name: str, status: int, seconds: float, report: dict[str, object] | None) -> None:
        outcome = self.outcome
        if status:
            outcome.broken[name] = status
        if report is None:
            outcome.troubles[name] = f"ended with status {status} and without a report"
            return
        report |= {"quick": self._settings.quick, "seconds": round(seconds, 1), "status": status}
        outcome.reports[name] = report
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")


def _played(command: list[str]) -> int:
    """The exit status of the bench; its progress is ours."""
    process = subprocess.Popen(
        command, cwd=machine.ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return process.wait()
    finally:
        with interrupts_ignored():
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
    """Kill and reap every descendant; return who they were."""
    orphans = [pid for pid in machine.process_tree(os.getpid()) if pid != os.getpid()]
    for pid in orphans:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while orphans and os.waitpid(-1, 0):
            pass
    return orphans


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
