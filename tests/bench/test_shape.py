"""The benches keep the rules for kinds and sizes of modules, too."""

import ast
from pathlib import Path

import pytest

import bench

ROOT = Path(bench.__file__).parent
TREES = {path.name: ast.parse(path.read_bytes()) for path in sorted(ROOT.glob("*.py")) if path.name != "__init__.py"}
IMPURE = {"asyncio", "socket", "ssl", "time", "random", "logging", "subprocess"}


def kind(name: str) -> str:
    return (ast.get_docstring(TREES[name]) or " ").split()[0].rstrip(":")


def imported(name: str) -> set[str]:
    """The dotted names of all modules that a module imports."""
    nodes = list(ast.walk(TREES[name]))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("name", TREES)
def test_the_first_word_of_a_bench_module_says_which_kind_it_is(name: str) -> None:
    assert kind(name) in {"Pure", "Shell", "Wiring"}


@pytest.mark.parametrize("name", [name for name in TREES if kind(name) == "Pure"])
def test_a_pure_bench_module_imports_nothing_impure(name: str) -> None:
    own = {f"{full.removeprefix('bench.')}.py" for full in imported(name) if full.startswith("bench.")}
    assert {full.split(".")[0] for full in imported(name)} & IMPURE == set()
    assert {kind(module) for module in own} <= {"Pure"}


@pytest.mark.parametrize("name", TREES)
def test_no_bench_function_or_file_is_too_long(name: str) -> None:
    functions = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.FunctionDef)]
    assert max([(node.end_lineno or 0) - node.lineno + 1 for node in functions], default=0) <= 40
    assert len((ROOT / name).read_text().splitlines()) <= 400


def test_only_the_pictures_need_matplotlib() -> None:
    users = {name for name in TREES if any(full.startswith("matplotlib") for full in imported(name))}
    assert users == {"plots.py", "plot_style.py"}
    assert {name for name in TREES if "bench.plot_style" in imported(name)} == {"plots.py"}
