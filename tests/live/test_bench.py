"""`python -m bench run`, interrupted: nothing that it started is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.kit import machine

SECONDS = 30.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "bench", "run", "abort", "--results", str(tmp_path)]
    with subprocess.Popen(command, cwd=machine.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as runner:
        try:
            started = _wait_for_peers(runner.pid)
            runner.send_signal(number)
            assert runner.wait(SECONDS) == (130 if number is signal.SIGINT else 128 + number)
            assert [pid for pid in started if _runs(pid)] == []
        finally:
            runner.terminate()


def _wait_for_peers(pid: int) -> list[int]:
    """The bench, and at least the gateway that it has started."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        started = list(machine.process_tree(pid))[1:]
        if len(started) >= 2:
            return started
        time.sleep(0.05)
    raise AssertionError("the bench has started nothing")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
