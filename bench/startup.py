"""Wiring: how soon after its start does the gateway take requests?

    python -m bench.startup [--rounds 10] [--json FILE]

From exec to `READY=1` on the socket of the service manager, and to `/readyz` answering 200; beside it a Python that
imports nothing, which is the floor. The first start of each, which may have to compile or to read from the disk, does
not count.
"""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.kit import machine
from bench.kit.command import Bench, Given, reporting, say
from bench.kit.figures import Figures, Results
from bench.kit.loop import clock
from bench.kit.peers import GATEWAY, Peer, PeerFailure, free_port, prepared, spawn, stop

PATIENCE = 20.0
ASK_AGAIN = 0.001
FLOOR = "python"  # the interpreter alone, in the place of a peer


def start_gateway(folder: Path, core: int) -> Figures:
    """One start, timed, and its end. Raises `PeerFailure`."""
    port, address = free_port(), str(folder / "notify")
    command, _ = prepared(Peer(GATEWAY), folder, port, free_port())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(PATIENCE)
        begun = clock()
        process = spawn(command, folder, core, machine.ROOT, NOTIFY_SOCKET=address)
        try:
            notified = _wait_notified(manager, process) - begun
            ready = _wait_ready(port) - begun
            cpu = machine.cpu_seconds(process.pid)
        finally:
            stop(process)
    return {"ready_seconds": ready, "notified_seconds": notified, "cpu_seconds": cpu}


def _wait_notified(manager: socket.socket, process: subprocess.Popen[bytes]) -> float:
    try:
        while b"READY=1" not in manager.recv(4096):
            pass
    except TimeoutError:
        raise PeerFailure(f"{GATEWAY}: no READY=1 within {PATIENCE:.0f} s, status {process.poll()}") from None
    return clock()


def _wait_ready(port: int) -> float:
    until = clock() + PATIENCE
    while clock() < until:
        with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as asked:
            asked.request("GET", "/readyz")
            if asked.getresponse().status == 200:
                return clock()
        time.sleep(ASK_AGAIN)
    raise PeerFailure(f"{GATEWAY}: /readyz is not 200 after {PATIENCE:.0f} s")


def start_python(core: int) -> Figures:
    """The same interpreter, from exec to its end."""
    command, begun = [sys.executable, "-c", ""], clock()
    subprocess.run(command, check=True, preexec_fn=lambda: os.sched_setaffinity(0, {core}), timeout=PATIENCE)
    return {"ready_seconds": clock() - begun}


def measure(given: Given, cores: tuple[int, int]) -> dict[str, Any]:
    results = Results()
    with reporting(results.failures, GATEWAY):
        for number in range(given.rounds + 1):
            say(f"start {number}/{given.rounds}")
            with tempfile.TemporaryDirectory(prefix="bench-startup-") as folder:
                figures = {GATEWAY: start_gateway(Path(folder), cores[0]), FLOOR: start_python(cores[0])}
            if number:
                for name, each in figures.items():
                    results.add(name, each)
    return {"peers": {name: results.spreads(name) for name in results.rounds}, "failures": results.failures}


BENCH = Bench("startup", __doc__, measure)

if __name__ == "__main__":
    sys.exit(BENCH.main())
