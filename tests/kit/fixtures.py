"""Fixtures of all tests that speak HTTP with a gateway: providers, gateways in front of them, and Node.

A gateway of a session is one of an xdist worker: each worker is a session of its own.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from .completions import MODEL, QUICK
from .configuration import KEYS, ORDERED, Served, configuration
from .gateway import LocalGateway
from .logged import Logged
from .rivals import LONE, MODELS, Rivals
from .upstreams import ClosedPort, Upstream, Upstreams

NODE_FOLDER = Path(__file__).parent.parent / "clients" / "node"
NODE_SECONDS = 30


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [(f"log of {logged}", logged.errors()[-2000:]) for logged in Logged.running]
    return report


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which every process of the session writes."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def upstreams() -> Iterator[Upstreams]:
    upstreams = Upstreams()
    try:
        yield upstreams
    finally:
        upstreams.close()


@pytest.fixture(scope="session")
def alpha(upstreams: Upstreams) -> Upstream:
    """The provider that behaves as each request says."""
    return upstreams.start("alpha", ttft_ms=5, gap_ms=1, tokens=8)


@pytest.fixture(scope="session")
def frail_all_session(upstreams: Upstreams) -> Upstream:
    return upstreams.start("frail")


@pytest.fixture
def frail(frail_all_session: Upstream) -> Iterator[Upstream]:
    """The provider before alpha for the model `pair`; a test says how it fails."""
    yield frail_all_session
    frail_all_session.follow()


@pytest.fixture(scope="module")
def rivals_all_module(upstreams: Upstreams) -> Rivals:
    return Rivals(upstreams.start("first", **QUICK), upstreams.start("second", **QUICK))


@pytest.fixture
def rivals(rivals_all_module: Rivals) -> Iterator[Rivals]:
    """Two providers that answer quickly, unless a test says otherwise."""
    yield rivals_all_module
    rivals_all_module.reset()


@pytest.fixture(scope="module")
def unused_models() -> Iterator[str]:
    return iter(MODELS)


@pytest.fixture
def model(unused_models: Iterator[str]) -> str:
    """A model that no other test of the file has asked for: nothing is known of its upstreams."""
    return next(unused_models)


@pytest.fixture(scope="module")
def unused_lone_models() -> Iterator[str]:
    return iter(LONE)


@pytest.fixture
def lone_model(unused_lone_models: Iterator[str]) -> str:
    """A model that no other test of the file has asked for, and that the first upstream alone serves."""
    return next(unused_lone_models)


@pytest.fixture(scope="session")
def served(alpha: Upstream, frail_all_session: Upstream) -> Iterator[Served]:
    """The upstreams and models of the gateways of the session."""
    gone = ClosedPort()
    yield [
        (gone, ["unreachable", "refused-pair"]),
        (frail_all_session, ["pair", "frail"]),
        (alpha, [MODEL, "gpt-4o", "pair", "refused-pair"]),
    ]
    gone.close()


@pytest.fixture(scope="session")
def gateway(logs: Path, served: Served) -> Iterator[LocalGateway]:
    """The gateway with nothing configured but its port, its upstreams, their order and a low limit of bodies."""
    server = '[server]\nlisten = "127.0.0.1:0"\nmax_body_bytes = 4194304\n'
    gateway = LocalGateway(logs, configuration(served, server + ORDERED), KEYS)
    yield gateway
    gateway.close()


@pytest.fixture(scope="session")
def eager(logs: Path, served: Served) -> Iterator[LocalGateway]:
    """A gateway that commits early and says that it lives all the time."""
    sections = "[stream]\ncommit_after_ms = 200\nkeepalive_seconds = 0.2\n" + ORDERED
    gateway = LocalGateway(logs, configuration(served, sections), KEYS)
    yield gateway
    gateway.close()


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """A folder outside of the repository with the scripts and the packages they import, installed once."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    package = (NODE_FOLDER / "package.json").read_bytes()
    folder = Path(tempfile.gettempdir()) / f"rivergate-node-{hashlib.sha256(package).hexdigest()[:12]}"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("wb") as lock:  # another worker may be about to do the same
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(folder)
    return folder


def _install(folder: Path) -> None:
    """The scripts as they are now, and once the packages that they import."""
    for file in NODE_FOLDER.iterdir():
        copy = folder / file.name
        if not copy.exists() or copy.read_bytes() != file.read_bytes():
            shutil.copy(file, copy)
    done = folder / "installed"
    if not done.exists():
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
        installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=110, check=False)
        if installed.returncode:
            pytest.skip(f"npm install failed: {installed.stderr[-300:]}")
        done.touch()


@pytest.fixture(scope="session")
def node(node_folder: Path) -> Callable[..., Any]:
    """Runs a script; what it printed as JSON."""

    def run(script: str, *arguments: str) -> Any:
        command = ["node", script, *arguments]
        environment = {"PATH": os.environ["PATH"], "NODE_NO_WARNINGS": "1"}
        ended = subprocess.run(
            command,
            cwd=node_folder,
            capture_output=True,
            text=True,
            timeout=NODE_SECONDS,
            env=environment,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run


@pytest.fixture(scope="session")
def curl() -> str:
    found = shutil.which("curl")
    if found is None:
        pytest.skip("curl is not installed")
    return found
