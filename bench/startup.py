"""Wiring: how soon after its start does the gateway take requests?

    python -m bench.startup [--rounds 10] [--json FILE]

From exec to `READY=1` on the socket of the service manager, and to `/readyz` answering 200; beside it a Python that
imports nothing, which is the floor. The first start of each, which may have to compile or to read from the disk, does
not count. Progress and tables go to stderr, one line of JSON to stdout. Exit 1: the gateway did not get ready.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import machine, peers
from bench.command import bounded, say, take_machine, tell
from bench.loop import clock
from bench.measure import Spread, as_json, spread_text, table
from bench.peers import PeerFailed, Site, free_port
from bench.relay_report import GATEWAY, Figures

PATIENCE = 20.0
ASK_AGAIN = 0.001
FLOOR = "python"  # a peer of sorts: the interpreter alone


def start_gateway(folder: Path, core: int) -> Figures:
    """One start, timed, and its end. Raises `PeerFailed`."""
    site = Site(folder, free_port(), free_port())
    command = peers.gateway().command(site)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (folder / "log").open("ab") as log:
        manager.bind(str(folder / "notify"))
        manager.settimeout(PATIENCE)
        environ = os.environ | {"NOTIFY_SOCKET": str(folder / "notify")}
        begun = clock()
        process = subprocess.Popen(
            command,
            cwd=machine.ROOT,
            env=environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            notified = _wait_notified(manager, process) - begun
            ready = _wait_ready(site.port) - begun
            cpu = machine.cpu_seconds(process.pid, machine.cpu_method())
        finally:
            peers.stop(process)
    return {"ready_seconds": ready, "notified_seconds": notified, "cpu_seconds": cpu}


def _wait_notified(manager: socket.socket, process: subprocess.Popen[bytes]) -> float:
    try:
        while b"READY=1" not in manager.recv(4096):
            pass
    except TimeoutError:
        raise PeerFailed(f"{GATEWAY}: no READY=1 within {PATIENCE:.0f} s, status {process.poll()}") from None
    return clock()


def _wait_ready(port: int) -> float:
    until = clock() + PATIENCE
    while clock() < until:
        with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as asked:
            asked.request("GET", "/readyz")
            if asked.getresponse().status == 200:
                return clock()
        time.sleep(ASK_AGAIN)
    raise PeerFailed(f"{GATEWAY}: /readyz is not 200 after {PATIENCE:.0f} s")


def start_python(core: int) -> Figures:
    """The same interpreter, from exec to its end."""
    begun = clock()
    subprocess.run(
        [sys.executable, "-c", ""], check=True, preexec_fn=lambda: os.sched_setaffinity(0, {core}), timeout=PATIENCE
    )
    return {"ready_seconds": clock() - begun}


def measure(rounds: int, core: int) -> dict[str, list[Figures]]:
    """The first start is dropped. Raises `PeerFailed`."""
    found: dict[str, list[Figures]] = {GATEWAY: [], FLOOR: []}
    for number in range(rounds + 1):
        say(f"start {number}/{rounds}")
        with tempfile.TemporaryDirectory(prefix="bench-startup-") as folder:
            figures = start_gateway(Path(folder), core), start_python(core)
        if number:
            for name, one in zip(found, figures, strict=True):
                found[name].append(one)
    return found


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    facts: dict[str, object] = {
        "bench": "startup",
        "machine": machine.facts(),
        "versions": machine.versions("uvloop", "aiohttp", "pydantic", "rivergate"),
        "options": {"rounds": given.rounds},
    }
    core, _ = take_machine()
    found: dict[str, list[Figures]] = {}
    failures: dict[str, str] = {}
    try:
        found = measure(given.rounds, core)
    except (PeerFailed, OSError, subprocess.SubprocessError) as error:
        failures[GATEWAY] = str(error)
        say(f"FAILED: {GATEWAY}: {error}")
    spreads = {
        name: {key: Spread.of(one[key] for one in many) for key in many[0]} for name, many in found.items() if many
    }
    rows = [
        [f"{name}: {key}", spread_text(one, 3)] for name, by_key in spreads.items() for key, one in by_key.items()
    ]
    say("\n" + table(("start", "seconds"), rows) + "\n")
    in_json = {name: {key: as_json(one) for key, one in by_key.items()} for name, by_key in spreads.items()}
    tell({**facts, "peers": in_json, "failures": failures, "load_average_after": os.getloadavg()[0]}, given.json)
    return 1 if failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=bounded(1, 100, int), default=10, help="starts that count")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the line of JSON here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
