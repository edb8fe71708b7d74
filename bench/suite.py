"""Shell: runs benches one after another, each in a process of its own, and keeps what they found.

In: benches and options. Out: a JSON file per bench; the reports, and why there is none of a bench. Invariant: however
it ends, no process that a bench has started outlives it: orphans become children of this process, which ends them.
"""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import abort, fanout, growth, join, relay, requests, startup, storm, ttft
from bench.kit import machine
from bench.kit.command import Bench, say
from bench.kit.tables import Report

ALL = "all"
MODULES = (startup, relay, requests, ttft, abort, join, storm, growth, fanout)
BENCHES = {module.BENCH.name: module.BENCH for module in MODULES}
UNITS = [unit for bench in BENCHES.values() for unit in bench.units()]
PARTS = [part for bench in BENCHES.values() for part in bench.spec.get("parts", ())]
RESULTS = machine.ROOT / "bench" / "results"
END_SECONDS = 20.0  # for a bench to end its peers after SIGTERM
KILL_SECONDS = 0.005  # between two looks for descendants that are left
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def chosen(names: list[str]) -> list[Bench]:
    """In the order of the suite; all for `all`, and for none."""
    return [bench for name, bench in BENCHES.items() if not names or ALL in names or name in names]


@dataclass(slots=True)
class Suite:
    """Writes into `folder` as each bench ends, or a part of one. A short run asks for fewer and shorter rounds, never
    another load."""

    folder: Path
    quick: bool = False
    rounds: int | None = None
    litellm: str = ""
    peers: Sequence[str] = ()  # NAME=COMMAND of further gateways
    parts: Sequence[str] = ()  # of benches that have parts; (): all
    reports: dict[str, Report] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)  # why a bench has no report
    broken: dict[str, int] = field(default_factory=dict)  # the status of benches that did not end with 0

    def options(self, bench: Bench) -> list[str]:
        """What the bench is given; an option that stands twice counts as it stands last."""
        given = list(bench.spec.get("quick", ())) if self.quick else []
        if self.rounds is not None and "rounds" in bench.spec["options"]:
            given += ["--rounds", f"{self.rounds}"]
        if self.litellm and "litellm" in bench.spec["options"]:
            given += ["--litellm", self.litellm]
        return given + [f"--peer={peer}" for peer in self.peers if "peer" in bench.spec["options"]]

    def run(self, bench: Bench) -> None:
        """`KeyboardInterrupt` and `SystemExit` pass, when the bench and all its peers are gone."""
        for name, part in bench.units(self.parts).items():
            say(f"{name} begins at {time.strftime('%H:%M:%S')}")
            self._run(bench, name, part)

    def _run(self, bench: Bench, name: str, part: list[str]) -> None:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="bench-run-") as folder:
            words = [f"bench.{bench.name}", *self.options(bench), *part, "--json", f"{folder}/{name}.json"]
            status = _status(words)
            report = load(Path(folder), [name]).get(name)
        if status:
            self.broken[name] = status
        if report is None:
            self.troubles[name] = f"ended with status {status} and without a report"
            return
        seconds = round(time.monotonic() - begun, 1)
        self.reports[name] = {**report, "quick": self.quick, "seconds": seconds}
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{name}.json").write_text(json.dumps(self.reports[name], indent=1) + "\n")


def _status(words: list[str]) -> int:
    """How the bench ended; its progress is ours."""
    process, quiet = None, subprocess.DEVNULL
    try:
        with interrupts_deferred():  # a process that has begun and is not known yet would never be ended
            command = [sys.executable, "-m", *words]
            process = subprocess.Popen(command, cwd=machine.ROOT, stdin=quiet, stdout=quiet, start_new_session=True)
        return process.wait()
    finally:
        with interrupts(signal.SIG_IGN):  # a second Ctrl-C must not stop the end of the processes
            if process is not None:
                machine.end(process, END_SECONDS)  # a bench ends its peers itself
            end_orphans()


def adopt_orphans() -> None:
    """From now on this process is the parent of whatever its descendants leave behind."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_orphans() -> list[int]:
    """Kill and reap every descendant; return who they were. It looks again and again until none is left: a process
    that ends or forks meanwhile hides its children from one look."""
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
def interrupts(handler: Callable[[int, object], object] | signal.Handlers) -> Iterator[None]:
    """Ctrl-C and SIGTERM go to this handler while the block runs."""
    kept = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, before in kept.items():
            signal.signal(number, before)


@contextlib.contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Ctrl-C and SIGTERM are heard at the end of the block."""
    came: list[int] = []
    with interrupts(lambda number, frame: came.append(number)):
        yield
    for heard in came:
        signal.raise_signal(heard)


def load(folder: Path, names: Iterable[str]) -> dict[str, Report]:
    """The reports that were kept, and are whole."""
    found: dict[str, Report] = {}
    for name in names:
        with contextlib.suppress(OSError, ValueError):
            found[name] = json.loads((folder / f"{name}.json").read_text())
    return found
