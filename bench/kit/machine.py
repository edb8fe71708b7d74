"""Shell: what the kernel knows: CPU time of process trees, cores, limits, and the facts beside a figure.

In: process ids. Out: seconds and facts. Invariant: CPU is counted over all threads of all living descendants
(the main thread's schedstat alone would miss nginx's worker and every thread pool).
"""

from __future__ import annotations

import datetime
import os
import platform
import resource
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_PROC = Path("/proc")


@lru_cache
def cpu_method() -> str:
    """The source of `cpu_seconds`: the scheduler's nanoseconds if the kernel has them, else ticks."""
    try:
        exact = int((_PROC / "self/schedstat").read_text().split()[0]) > 0
    except (OSError, IndexError, ValueError):
        exact = False
    return "schedstat" if exact else "utime+stime"


def cpu_seconds(pid: int) -> float:
    """CPU used so far by `pid` and its living descendants; a thread that ended takes its schedstat along."""
    if cpu_method() == "schedstat":
        return sum(_schedstat(task) for member in process_tree(pid) for task in _tasks(member))
    return sum(_ticks(member) for member in process_tree(pid))


def process_tree(pid: int) -> Iterator[int]:
    """`pid` and its living descendants."""
    yield pid
    for task in _tasks(pid):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            yield from process_tree(int(child))


def _tasks(pid: int) -> list[Path]:
    try:
        return list((_PROC / str(pid) / "task").iterdir())
    except OSError:
        return []  # it has just ended


def _schedstat(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return 0.0


def _ticks(pid: int) -> float:
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_kib(pid: int) -> dict[str, float]:
    """User-space memory of `pid` and its living descendants: KiB of `rss`, `pss`, `private` and `anonymous`
    (smaps_rollup). The last holds no page of a file, and so does not change when other processes map that file.
    """
    total = {"rss": 0.0, "pss": 0.0, "private": 0.0, "anonymous": 0.0}
    for member in process_tree(pid):
        try:
            lines = (_PROC / str(member) / "smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue  # it has just ended
        sizes = {name: float(size.split()[0]) for name, _, size in (line.partition(":") for line in lines)}
        total["rss"] += sizes["Rss"]
        total["pss"] += sizes["Pss"]
        total["anonymous"] += sizes["Anonymous"]
        total["private"] += sizes["Private_Clean"] + sizes["Private_Dirty"]
    return total


def open_files(pid: int) -> int:
    """Descriptors that `pid` has open."""
    return sum(1 for _ in (_PROC / str(pid) / "fd").iterdir())


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one; children inherit it. Return the limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def take_cores() -> tuple[int, int]:
    """Move onto the core for the load; return the core for the peers and this one (the same if there is only one)."""
    cores = sorted(os.sched_getaffinity(0))
    peer_core, load_core = cores[0], cores[min(1, len(cores) - 1)]
    os.sched_setaffinity(0, {load_core})
    return peer_core, load_core


def facts() -> dict[str, object]:
    """The machine, the kernel, the date and the commit."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": output_of("git", "rev-parse", "--short=12", "HEAD") or "none",
        "dirty": bool(output_of("git", "status", "--porcelain", "--", ".", ":!bench/results")),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_average_before": round(os.getloadavg()[0], 2),
        "cpu_method": cpu_method(),
    }


def versions(*packages: str) -> dict[str, str]:
    """Python and the named distributions; "absent" for what is not installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def output_of(*command: str) -> str:
    """Output (both streams) of a short command, "" if it cannot be run."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""


def _cpu_model() -> str:
    for line in (_PROC / "cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()
