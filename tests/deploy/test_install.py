"""`deploy/install.sh` and its lock files; everything happens in a folder of its own."""

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from .places import DEPLOY, ROOT, run, tool

INSTALL = DEPLOY / "install.sh"
LOCKS = ("requirements.lock", "build.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def steps(output: str) -> list[str]:
    """The steps that an action prints; each line has its number, the count of all steps, and the time."""
    received = [
        re.fullmatch(r"\[(\d+)/(\d+)\] +(\d+) s  (.+)", line) for line in output.splitlines() if line[:1] == "["
    ]
    found = [account for account in received if account is not None]
    assert len(found) == len(received) > 0, output
    assert [(int(account[1]), int(account[2])) for account in found] == [
        (n, len(found)) for n in range(1, len(found) + 1)
    ]
    seconds = [int(account[3]) for account in found]
    assert seconds == sorted(seconds)
    return [account[4] for account in found]


def wanted(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[<>=;\[ ]", requirement)[0]) for requirement in requirements}


def locked(lock: str) -> dict[str, str]:
    """The packages of a lock file by name, each with its version, marker and hashes."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / lock).read_text(), flags=re.M).replace("\\\n", " ")
    return {normal(line.partition("==")[0]): line.partition("==")[2] for line in text.splitlines() if line}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_of_a_lock_file_has_one_version_and_its_hashes(lock: str) -> None:
    for name, rest in locked(lock).items():
        version, *hashes = re.sub(r";[^-]*", "", rest).split()
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version), name
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in hashes), name


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_names_no_host(lock: str) -> None:
    assert re.findall(r"https?://|--(?:extra-)?index|--trusted|--find-links", (DEPLOY / lock).read_text()[400:]) == []


def test_the_lock_file_has_every_dependency_of_the_program() -> None:
    assert wanted(PROJECT["project"]["dependencies"]) - locked("requirements.lock").keys() == set()
    assert wanted(PROJECT["build-system"]["requires"]) - locked("build.lock").keys() == set()


def test_nothing_of_the_tests_is_installed() -> None:
    test_only = wanted(PROJECT["project"]["optional-dependencies"]["test"])
    assert test_only & locked("requirements.lock").keys() == set()


@pytest.mark.parametrize("script", ["install.sh", "rivergate-admin"])
def test_shellcheck_has_nothing_to_say(script: str) -> None:
    done = run(tool("shellcheck"), DEPLOY / script)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--root", "{here}", "--python", "python-that-is-not-there"], "is not installed"),
        (["--root", "{here}", "--wheels", "{here}/nothing"], "there is no such folder"),
        (["--root", "{here}", "--prefix", "/usr"], "a folder of its own"),
        (["--root", "{here}", "--prefix", "relative"], "must be an absolute path"),
        (["--root", "{here}", "--rollback"], "there is no previous release"),
        (["--root", "{here}", "--purge"], "--purge goes with --uninstall"),
        (["--root"], "--root needs a value"),
        (["--quiet", "--root", "{here}", "--rollback"], "there is no previous release"),
        (["--nonsense"], "unknown argument: --nonsense"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(arguments: list[str], reason: str, tmp_path: Path) -> None:
    done = run(INSTALL, *(argument.format(here=tmp_path) for argument in arguments))
    assert done.returncode == 1
    assert reason in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.deep
@pytest.mark.timeout(400)
def test_the_installation_runs_stays_as_it_is_and_can_be_removed(tmp_path: Path) -> None:
    wheels = ["--wheels", os.environ["RIVERGATE_TEST_WHEELS"]] if "RIVERGATE_TEST_WHEELS" in os.environ else []
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    install: list[str | Path] = [INSTALL, "--root", tmp_path, "--python", python, *wheels]

    first = run(*install, timeout=350)
    assert first.returncode == 0, first.stdout + first.stderr
    assert len(steps(first.stdout)) == 7
    program = tmp_path / "opt/rivergate/bin/rivergate"
    assert run(program, "--version").stdout.startswith(f"rivergate {PROJECT['project']['version']}")
    assert (tmp_path / "etc/rivergate/credentials").stat().st_mode & 0o777 == 0o700
    release = program.resolve().parent.parent
    assert not list(release.glob("lib/python*/site-packages/pip"))

    configuration = tmp_path / "etc/rivergate/rivergate.toml"
    configuration.write_text("# edited\n")
    again = run(*install)
    assert again.returncode == 0
    assert "is built already" in steps(again.stdout)[0]
    assert configuration.read_text() == "# edited\n"

    quiet = run(*install, "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert run(program, "--version").returncode == 0

    gone = run(INSTALL, "--root", tmp_path, "--uninstall")
    assert gone.returncode == 0
    assert len(steps(gone.stdout)) == 1
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()] == [
        "etc/rivergate/rivergate.toml"
    ]
    purged = run(INSTALL, "--root", tmp_path, "--uninstall", "--purge", check=True)
    assert [step.split()[0] for step in steps(purged.stdout)] == ["removing", "removing"]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
