"""The house style's rules of kinds and sizes, for the benches too."""

import ast
from pathlib import Path

import pytest

import bench

ROOT = Path(bench.__file__).parent
FILES = [path for path in sorted(ROOT.rglob("*.py")) if path.name != "__init__.py"]
TREES = {f"{path.relative_to(ROOT)}": ast.parse(path.read_bytes()) for path in FILES}
IMPURE = {"asyncio", "socket", "ssl", "time", "random", "logging", "subprocess"}
MAX_LINES = 400
MAX_LINES_OF_ALL = 3500  # without the benches of requests and of joins, and the proxy that they brought
NOT_COUNTED = {"requests.py", "join.py", "kit/bare_proxy.py"}


def kind(name: str) -> str:
    return (ast.get_docstring(TREES[name]) or " ").split()[0].rstrip(":")


def imported(name: str) -> set[str]:
    """Whole names of modules."""
    nodes = list(ast.walk(TREES[name]))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("name", TREES)
def test_the_first_word_of_a_bench_module_says_which_kind_it_is(name: str) -> None:
    assert kind(name) in {"Pure", "Shell", "Wiring"}


@pytest.mark.parametrize("name", [name for name in TREES if kind(name) == "Pure"])
def test_a_pure_bench_module_imports_nothing_impure(name: str) -> None:
    own = {
        f"{full.removeprefix('bench.').replace('.', '/')}.py" for full in imported(name) if full.startswith("bench.")
    }
    assert {full.split(".")[0] for full in imported(name)} & IMPURE == set()
    assert {kind(f"{module}.py") for module in own} <= {"Pure"}


@pytest.mark.parametrize("name", TREES)
def test_no_bench_function_or_file_is_too_long(name: str) -> None:
    functions = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.FunctionDef)]
    assert max([(node.end_lineno or 0) - node.lineno + 1 for node in functions], default=0) <= 40
    assert len((ROOT / name).read_text().splitlines()) <= MAX_LINES


def test_the_benches_are_not_too_long_together() -> None:
    counted = [path for path in ROOT.rglob("*.py") if f"{path.relative_to(ROOT)}" not in NOT_COUNTED]
    assert sum(len(path.read_text().splitlines()) for path in counted) <= MAX_LINES_OF_ALL


def test_only_the_pictures_need_matplotlib() -> None:
    assert {name for name in TREES if any(full.startswith("matplotlib") for full in imported(name))} == {
        "pictures.py"
    }


def test_only_the_micro_bench_imports_the_gateway() -> None:
    users = {name for name in TREES if any(full.split(".")[0] == "gateway" for full in imported(name))}
    assert users == {"micro.py"}
