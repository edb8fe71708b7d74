"""Environments with packages that the tests do not import themselves, made once, outside of the repository."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

INSTALL_SECONDS = 110
SCRIPT_SECONDS = 60


def installed_python(name: str, requirements: Path) -> Path:
    """A Python with the packages of this file; the test is skipped if they cannot be installed."""
    packages = requirements.read_bytes() + sys.version.encode()
    folder = Path(tempfile.gettempdir()) / f"rivergate-{name}-{hashlib.sha256(packages).hexdigest()[:12]}"
    folder.mkdir(exist_ok=True)
    python, done = folder / "venv" / "bin" / "python", folder / "installed"
    with (folder / "lock").open("wb") as lock:  # another worker may be about to do the same
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder / "venv", ignore_errors=True)
            _install(sys.executable, "-m", "venv", "--without-pip", str(folder / "venv"))
            pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "-q")
            _install(*pip, "--no-compile", "-r", str(requirements))  # a script compiles the little that it imports
            done.touch()
    return python


def told_by(python: Path, script: Path, *arguments: str) -> Any:
    """What a script printed as JSON."""
    command = [str(python), str(script), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SCRIPT_SECONDS, env={}, check=False)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def _install(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if ended.returncode:
        pytest.skip(f"{command[2]} failed: {ended.stderr[-300:]}")
