"""Shell: what the kernel knows: CPU time of process trees, cores, limits, and the facts beside a figure.

In: process ids. Out: seconds and facts. Invariant: CPU is counted over all threads of all living descendants
(the main thread's schedstat alone would miss nginx's worker and every thread pool).
"""

import contextlib
import datetime
import os
import platform
import resource
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROC = Path("/proc")
DISTRIBUTIONS = ("uvloop", "aiohttp", "httptools", "pydantic", "rivergate")
PROGRAMS = {  # how to ask for their versions
    "nginx": (shutil.which("nginx") or "/usr/sbin/nginx", "-v"),
    "nchan": ("dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"),
    "gcc": ("gcc", "-dumpfullversion"),
}
KINDS = {"Pss:": "pss", "Private_Clean:": "private", "Private_Dirty:": "private", "Anonymous:": "anonymous"}


def _of_tasks(pid: int, name: str) -> Iterator[str]:
    """This file of every thread of a process, but of those that have just ended."""
    for path in PROC.glob(f"{pid}/task/*/{name}"):
        with contextlib.suppress(OSError):
            yield path.read_text()


def cpu_seconds(pid: int) -> float:
    """CPU used so far by `pid` and its living descendants; a thread that ended takes its schedstat along."""
    fields = [told.split() for member in process_tree(pid) for told in _of_tasks(member, "schedstat")]
    return sum(int(nanoseconds) for nanoseconds, *_ in fields) / 1e9


def process_tree(pid: int) -> Iterator[int]:
    """`pid` and its living descendants."""
    yield pid
    for child in " ".join(_of_tasks(pid, "children")).split():
        yield from process_tree(int(child))


def memory_kib(pid: int) -> dict[str, float]:
    """User-space memory of `pid` and its living descendants: KiB of `pss`, `private` and `anonymous`
    (smaps_rollup). The last holds no page of a file, and so does not change when other processes map that file."""
    total = dict.fromkeys(KINDS.values(), 0.0)
    for member in process_tree(pid):
        with contextlib.suppress(OSError):
            for name, size, *_ in map(str.split, (PROC / f"{member}/smaps_rollup").read_text().splitlines()):
                if name in KINDS:
                    total[KINDS[name]] += float(size)
    return total


def open_files(pid: int) -> int:
    """Descriptors that `pid` has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def raise_open_files() -> int:
    """Raise the soft limit of open files to the hard one; children inherit it. Return the limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ask a process to end, and kill it if it takes longer."""
    process.terminate()  # does nothing to one that was waited for
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def take_cores() -> tuple[int, int]:
    """Move onto the core for the load; return the core for the peers and this one (the same if there is only one)."""
    cores = sorted(os.sched_getaffinity(0))
    peer_core, load_core = cores[0], cores[min(1, len(cores) - 1)]
    os.sched_setaffinity(0, {load_core})
    return peer_core, load_core


def facts() -> dict[str, object]:
    """The machine, the kernel, the date and the commit."""
    cpus = (PROC / "cpuinfo").read_text().splitlines()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": output_of("git", "rev-parse", "--short=12", "HEAD") or "none",
        "dirty": bool(output_of("git", "status", "--porcelain", "--", ".", ":!bench/results")),
        "cpu": next((line.partition(": ")[2] for line in cpus if line.startswith("model name")), platform.machine()),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_average_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """The versions of Python, of `DISTRIBUTIONS` and of `PROGRAMS`, "absent" if it is not installed."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found | {name: output_of(*ask).rpartition("/")[2] or "absent" for name, ask in PROGRAMS.items()}


def output_of(*command: str) -> str:
    """What a short command prints on both streams, "" if it cannot be run."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        return (done.stdout + done.stderr).strip()
    return ""
