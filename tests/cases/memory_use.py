"""The memory of a process, as the kernel counts it."""

import re
from pathlib import Path


def memory(pid: int, name: str) -> int:
    """A figure of `/proc/PID/status` in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def reset_peak(pid: int) -> int:
    """Let the peak of the memory begin anew (proc(5), clear_refs); returns the memory in use."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return memory(pid, "VmRSS")
