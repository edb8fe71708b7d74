"""Programs that write code with a model: installed from npm once, and run without a network."""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

INSTALL_SECONDS = 110
NOWHERE = "http://127.0.0.1:9"  # the proxy for whatever a program asks of other hosts


def installed_agent(package: str, version: str, program: str) -> Path:
    """The path of a program in this version of its package; the test is skipped if it cannot be installed."""
    return installed_package(package, version) / ".bin" / program


def installed_package(package: str, version: str) -> Path:
    """The folder `node_modules` with this version of a package; the test is skipped if it cannot be installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    content = json.dumps({"private": True, "dependencies": {package: version}}).encode()
    folder = Path(tempfile.gettempdir()) / f"rivergate-agent-{hashlib.sha256(content).hexdigest()[:12]}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("wb") as lock:  # another worker may be about to do the same
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            (folder / "package.json").write_bytes(content)
            _install(folder)
    return folder / "node_modules"


def begin_session(command: list[str], folder: Path, **environment: str) -> "subprocess.Popen[str]":
    """A program that runs in this folder, which is its home, and reaches nothing but the loopback address."""
    closed: Mapping[str, str] = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE)
    usual = {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "127.0.0.1", **closed}
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**usual, **environment},
        stdin=nothing,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )


def end_session(session: "subprocess.Popen[str]") -> None:
    """Kill a program that still runs, and every program that it has started."""
    if session.poll() is None:
        os.killpg(session.pid, signal.SIGKILL)
        session.wait()


def _install(folder: Path) -> None:
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if ended.returncode:
        pytest.skip(f"npm install failed: {ended.stderr[-300:]}")
    (folder / "installed").touch()
