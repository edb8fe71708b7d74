"""`python -m bench run`, interrupted: nothing that it started is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.kit import machine
from tests.kit.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.deep


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "bench", "run", "abort", "--results", str(tmp_path)]
    with subprocess.Popen(command, cwd=machine.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as runner:
        try:
            started = _wait_for_peers(runner.pid)
            runner.send_signal(number)
            assert runner.wait(PATIENCE) == (130 if number is signal.SIGINT else 128 + number)
            assert [pid for pid in started if _runs(pid)] == []
        finally:
            runner.terminate()


def _wait_for_peers(pid: int) -> list[int]:
    """All processes of the run, once a gateway is among them; processes that only print a version come before it."""

    def look() -> list[int] | None:
        started = list(machine.process_tree(pid))[1:]
        return started if any(b"serve" in _command(process) for process in started) else None

    return wait_for(look, "the bench to start its gateway")


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""  # the process has just ended


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
