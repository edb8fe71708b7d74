"""Shell: the programs under test as subprocesses, each alone on its core.

In: a site (folder, ports). Out: a running peer with its port, its CPU and its memory. Invariant: the whole
process group is gone when the `with` block ends, however it ends; a peer that does not start says why, by its log's
end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from bench.kit.check import Check
from bench.kit.client import Header, Target
from bench.kit.machine import ROOT, cpu_seconds, memory_kib

LOG_LINES = 15
STOP_SECONDS = 5.0  # after SIGTERM; then SIGKILL
POLL_SECONDS = 0.05
TEMPLATES = Path(__file__).with_name("templates")


class PeerFailed(Exception):
    """The peer could not be started; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer lives: its own folder, the port it must open, the upstream it must call."""

    folder: Path
    port: int
    upstream_port: int

    def fill(self, template: str, **values: object) -> Path:
        """Write one of `TEMPLATES` here; the path."""
        text = Template((TEMPLATES / template).read_text())
        own = {"folder": self.folder, "port": self.port, "upstream_port": self.upstream_port}
        path = self.folder / template
        path.write_text(text.substitute(own | values))
        return path


@dataclass(frozen=True, slots=True)
class Peer:
    """`command` writes the configuration into the site and returns the command line."""

    name: str
    command: Callable[[Site], list[str]]
    check: type[Check] = Check
    load_share: float = 1.0  # of the load that the others get: a peer that saturates early is measured below that
    start_seconds: float = 20.0
    headers: Sequence[Header] = ()  # on every request, because the peer wants them
    home: Path = ROOT  # the folder it runs in: a gateway imports the package that stands there

    def target(self, port: int, headers: tuple[Header, ...] = ()) -> Target:
        """The peer's own headers win over the given ones of the same name."""
        own = {name.lower() for name, _ in self.headers}
        return Target(port, self.check, (*(each for each in headers if each[0].lower() not in own), *self.headers))


@dataclass(frozen=True, slots=True)
class Running:
    """A peer that has been started."""

    pid: int
    port: int

    def cpu(self) -> float:
        """CPU seconds of the whole process tree so far."""
        return cpu_seconds(self.pid)

    def memory_kib(self) -> dict[str, float]:
        return memory_kib(self.pid)

    def freeze(self) -> None:
        """Let none of its processes run until a turn of its own: idle ones have timers and threads too."""
        os.killpg(self.pid, signal.SIGSTOP)

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """A turn of a frozen peer."""
        os.killpg(self.pid, signal.SIGCONT)
        try:
            yield
        finally:
            self.freeze()


def spawn(command: list[str], core: int, log: Path, home: Path = ROOT, **more: str) -> subprocess.Popen[bytes]:
    """A process group of its own on `core`, in `home`; `more`: of its environment."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=home,
            env=environment(home) | more,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )


def environment(home: Path) -> dict[str, str]:
    """The environment of a peer that runs in `home`: the packages that stand there come first."""
    local = {"NO_PROXY": "127.0.0.1,localhost", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return {**os.environ, **local} | {"PYTHONPATH": str(home)}


def output_of(name: str, command: list[str]) -> str:
    """What a short command of the peer `name` prints. Raises `PeerFailed` if it fails."""
    done = subprocess.run(command, cwd=ROOT, env=environment(ROOT), capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerFailed(f"{name}: {done.stderr}")
    return done.stdout


@contextlib.contextmanager
def started(peer: Peer, folder: Path, upstream_port: int, core: int) -> Iterator[Running]:
    """Start `peer` on `core` and wait until it accepts connections. Raises `PeerFailed`."""
    folder.mkdir(parents=True, exist_ok=True)
    site, log = Site(folder, free_port(), upstream_port), folder / "log"
    try:
        process = spawn(peer.command(site), core, log, peer.home)
    except OSError as error:
        raise PeerFailed(f"{peer.name}: {error}") from error
    try:
        _wait_until_open(peer, process, site.port, log)
        yield Running(process.pid, site.port)
    finally:
        stop(process)


def _wait_until_open(peer: Peer, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    give_up = time.monotonic() + peer.start_seconds
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise PeerFailed(f"{peer.name}: ended with status {process.returncode}\n{_tail(log)}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(POLL_SECONDS)
    raise PeerFailed(f"{peer.name}: no open port after {peer.start_seconds:.0f} s\n{_tail(log)}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the group: politely, then for certain (workers may outlive their parent)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)  # a frozen process hears no signal
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(log: Path) -> str:
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-LOG_LINES:])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
