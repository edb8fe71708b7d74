"""Programs that write code with a model, installed from npm once, outside of the repository."""

import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

INSTALL_SECONDS = 110


def installed_agent(package: str, version: str, program: str) -> Path:
    """The path of a program in this version of its package; the test is skipped if it cannot be installed."""
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
    return folder / "node_modules" / ".bin" / program


def _install(folder: Path) -> None:
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    if ended.returncode:
        pytest.skip(f"npm install failed: {ended.stderr[-300:]}")
    (folder / "installed").touch()
