"""Shell: the programs under test as subprocesses, each alone on its core.

In: a name in templates/peers.toml and what its templates lack. Out: a running peer with its port, its CPU and its
memory. Invariant: the whole process group is gone when the `with` block ends, however it ends; a peer that does not
start says why, by its log's end. The gateway is known by its command line and its configuration alone, so that any
checkout of it can be measured.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import Any

from bench.kit import machine
from bench.kit.load import Load, Outcome, Plan
from bench.kit.loop import clock
from bench.kit.script import CHAT, MODEL, Check, ContentCheck, Form, Target

DIRECT, GATEWAY, WITH_KEY, FEED = "direct", "gateway", "gateway+key", "feed"
NGINX, AIOHTTP, BARE, IMPORTS, LITELLM, NCHAN, C = "nginx", "aiohttp", "bare", "imports", "litellm", "nchan", "c"
WARM_UP = Plan(streams=8, tokens=20, gap=0.005, turns=3)
TEMPLATES = Path(__file__).with_name("templates")
LOG_LINES = 15
COMMAND_SECONDS = 60.0  # for a gateway that is given as a command to listen
STOP_SECONDS = 5.0  # after SIGTERM; then SIGKILL
POLL_SECONDS = 0.002
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever the environment says of proxies
Wait = Callable[[float], object]


class PeerFailure(Exception):
    """The peer could not be started; the text holds the end of its log."""


@lru_cache
def specs() -> Mapping[str, Any]:
    return tomllib.loads((TEMPLATES / "peers.toml").read_text())


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to start: a name in templates/peers.toml, or another name for that `kind`; `values`: what else its
    templates lack. A gateway imports the package that stands in its `home`. `command`: the shell command of a gateway
    that has no templates (bench/README.md); `model`: what such a gateway calls the model of the upstream."""

    name: str
    kind: str = ""
    home: Path = machine.ROOT
    values: Mapping[str, object] = field(default_factory=dict)
    command: str = ""
    model: str = MODEL

    @property
    def spec(self) -> Mapping[str, Any]:
        return {"start_seconds": COMMAND_SECONDS} if self.command else dict(specs()[self.kind or self.name])

    @property
    def rewrites(self) -> bool:
        """Whether it may write events of its own, which are compared by their texts, and asks for a key."""
        return bool(self.command) or self.name == LITELLM


@dataclass(frozen=True, slots=True)
class Server:
    """A way from the clients of the load to its upstream: through a peer that has been started, or direct."""

    name: str
    target: Target
    pid: int = 0  # 0: direct
    begun: float = 0.0  # when it was started
    share: float = 1.0  # of the load

    def cpu(self) -> float:
        """CPU seconds of the whole process tree so far."""
        return machine.cpu_seconds(self.pid) if self.pid else 0.0

    def freeze(self) -> None:
        """Let none of its processes run until a turn of its own: idle ones have timers and threads too."""
        if self.pid:
            os.killpg(self.pid, signal.SIGSTOP)

    def run(self, load: Load, plan: Plan, beside: Plan | None = None) -> Outcome:
        """A turn of a frozen peer with this plan. Raises `BrokenStream`."""
        if self.pid:
            os.killpg(self.pid, signal.SIGCONT)
        try:
            return load.run(plan, self.target, self.cpu, beside)
        finally:
            self.freeze()


@contextlib.contextmanager
def started(peer: Peer, upstream_port: int, core: int, wait: Wait = time.sleep) -> Iterator[Server]:
    """Start a peer on `core`, and `wait` again and again until it accepts connections. If it wants a key, the load
    brings it. Raises `PeerFailure`."""
    port, key = free_port(), f"sk-{secrets.token_hex(32)}"
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, open(Path(folder, "log"), "ab") as log:
        try:
            values = {"folder": folder, "port": port, "upstream_port": upstream_port, "key": key}
            command = _command(peer, Path(folder), values)
            told = {name.upper(): str(value) for name, value in values.items()} if peer.command else {}
            begun = clock()
            process = subprocess.Popen(
                command,
                cwd=peer.home,
                env=environment(peer.home) | told,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )
        except OSError as error:
            raise PeerFailure(f"{peer.name}: {error}") from error
        try:
            _wait_until_open(peer, process, port, Path(folder, "log"), wait)
            if (made := Path(folder, "key.json")).exists():
                key = json.loads(made.read_text())["secret"]
            headers = (("Authorization", f"Bearer {key}"),) if peer.name == WITH_KEY or peer.rewrites else ()
            form = Form(**peer.spec["form"]) if "form" in peer.spec else CHAT
            target = Target(port, ContentCheck if peer.rewrites else Check, headers, peer.model, form)
            yield Server(peer.name, target, process.pid, begun, peer.spec.get("load_share", 1.0))
        finally:
            _stop(process)


def _command(peer: Peer, folder: Path, values: Mapping[str, object]) -> list[str]:
    """Fill the templates of a peer, those of its files and those of its command, which is returned."""
    if peer.command:
        return ["sh", "-c", peer.command]
    spec, nginx = peer.spec, machine.PROGRAMS["nginx"][0]
    values = {**values, "python": sys.executable, "templates": TEMPLATES, "nginx": nginx, **peer.values}
    values |= {"files": machine.raise_open_files(), **{name: spec.get(name, "") for name in ("server", "dialects")}}
    for name in spec.get("files", ()):
        (folder / name).write_text(Template((TEMPLATES / name).read_text()).substitute(values))
    return [Template(word).substitute(values) for word in spec["command"]]


def environment(home: Path) -> dict[str, str]:
    """The environment of a peer that runs in `home`: the packages that stand there come first. A program of Python
    keeps what it has compiled, as an installed one does, whatever the bench itself was told."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    local = {"NO_PROXY": "127.0.0.1,localhost", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return {**inherited, **local, "PYTHONPATH": str(home)}


def _wait_until_open(peer: Peer, process: subprocess.Popen[bytes], port: int, log: Path, wait: Wait) -> None:
    seconds = peer.spec.get("start_seconds", 20.0)
    give_up, why = time.monotonic() + seconds, f"no open port after {seconds:.0f} s"
    while time.monotonic() < give_up:
        if process.poll() is not None:
            why = f"ended with status {process.returncode}"
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        wait(POLL_SECONDS)
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    raise PeerFailure("\n    ".join([f"{peer.name}: {why}", *lines]))


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the group: politely, then for certain (workers may outlive their parent)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)  # a frozen process hears no signal
    machine.end(process, STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def ask(port: int, path: str, body: object = None) -> Any:
    """The JSON that a peer answers to a GET, or to a POST of this body. Raises `OSError`."""
    data = json.dumps(body).encode() if body else None
    return json.loads(fetch(port, path, data))


def fetch(port: int, path: str, data: bytes | None = None) -> bytes:
    """What a peer answers to a GET, or to a POST of this JSON. Raises `OSError`."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    with _OPENER.open(request, timeout=10.0) as answer:
        return bytes(answer.read())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
