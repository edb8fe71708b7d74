"""The places of the files of `deploy/`, and the programs that check them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"


def tool(name: str) -> str:
    """The path of a program; where it is missing the test is skipped."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(
    *command: str | Path, timeout: float = 60, check: bool = False, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The command with what it printed, once it has ended."""
    words = [str(part) for part in command]
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout, check=check, cwd=cwd)


def settings(unit: str) -> dict[str, list[str]]:
    """The keys of a unit file with their values in order."""
    fields: dict[str, list[str]] = {}
    for line in (DEPLOY / unit).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            fields.setdefault(key, []).append(value)
    return fields
