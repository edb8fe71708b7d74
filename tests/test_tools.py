"""The doors for people agree with each other: lock file, commands, checks in CI, supported versions of Python."""

import re
import tomllib
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.kit.workers import GUARDS, LONG_ONES, unit_of

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements-dev.lock").read_text()
JUSTFILE = (ROOT / "justfile").read_text()
CHECKS = (ROOT / ".github" / "workflows" / "checks.yml").read_text()
CI_RUN = (ROOT / ".ci" / "run").read_text()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    """The packages of the lock file by name, each with its version, marker and hashes."""
    lines = re.sub(r"^\s*#.*\n", "", LOCK, flags=re.M).replace("\\\n", " ").splitlines()
    return {normal(line.partition("==")[0]): line.partition("==")[2] for line in lines if line}


def test_the_lock_file_pins_every_package_with_its_hashes() -> None:
    for name, rest in locked().items():
        version, *hashes = re.sub(r";[^-]*", "", rest).split()
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version), name
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", entry) for entry in hashes), name


def test_the_lock_file_has_every_package_that_the_tests_ask_for() -> None:
    extras = PROJECT["optional-dependencies"]
    requests = [*PROJECT["dependencies"], *(name for extra in ("test", "bench", "otel") for name in extras[extra])]
    names = {normal(re.split(r"[<>=;\[ ]", entry)[0]) for entry in requests} - {"rivergate"}
    assert len(names) > 20
    assert names - locked().keys() == set()


def test_the_lock_file_names_no_host() -> None:
    assert re.findall(r"https?://|file:|--(?:extra-)?index|--trusted|--find-links", LOCK) == []


def test_ci_installs_the_lock_file_before_the_readme_command() -> None:
    install, command = CI_RUN.index("--require-hashes -r requirements-dev.lock"), CI_RUN.index("test_command=")
    assert install < command


def test_just_runs_the_tests_as_the_readme_does() -> None:
    readme = (ROOT / "README.md").read_text()
    [command] = re.findall(r"^python3 -m venv .*(\.venv/bin/pytest.*)$", readme, re.M)
    assert f"    {command} {{{{options}}}}\n" in JUSTFILE


def test_ci_runs_the_tests_that_the_readme_leaves_out() -> None:
    """The README's command and the one behind it are the two halves of all tests."""
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"^python3 -m venv .*pytest (.*) -m '(.*)'$", readme, re.M) == [
        (options, f"not {half}")
        for options, half in re.findall(r"^CI=true \.venv/bin/pytest (.*) -m (.*)$", CI_RUN, re.M)
    ]


def test_ci_runs_on_every_version_of_python_that_is_promised() -> None:
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    [matrix] = re.findall(r"python: \[(.*)\]", CHECKS)
    assert re.findall(r"3\.\d+", matrix) == promised
    assert PROJECT["requires-python"] == f">={promised[0]}"
    assert "bash .ci/run" in CHECKS


def test_the_package_tells_that_it_is_typed() -> None:
    assert (ROOT / "gateway" / "py.typed").exists()
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_the_files_that_take_longest_are_there() -> None:
    assert len(set(LONG_ONES)) == len(LONG_ONES)
    assert [unit for unit in LONG_ONES if unit != GUARDS and not (ROOT / f"tests/{unit}.py").exists()] == []


def test_the_tests_of_a_file_and_all_guards_stay_on_one_worker() -> None:
    assert unit_of("tests/http/test_raw.py::test_a[tests/x.py::b@c]") == unit_of(
        "tests/http/test_raw.py::TestA::test_b"
    )
    assert unit_of("tests/http/test_raw.py::test_a") != unit_of("tests/http/test_cors.py::test_a")
    assert unit_of("tests/guards/test_joins.py::test_a") == unit_of("tests/guards/test_start.py::test_a") == GUARDS
    assert hasattr(LoadScopeScheduling, "_split_scope")  # what `ByUnit` says in its own words
