"""The rules of DESIGN.md section 2 and of the house style that a tool does not check: ranks, purity, sizes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import gateway

ROOT = Path(gateway.__file__).parent
RANKS = {
    **dict.fromkeys(("errors", "config", "config_report", "tasks", "clock"), 0),
    **dict.fromkeys(("wire", "observe", "systemd"), 1),
    **dict.fromkeys(("stream", "upstream", "access", "simulate"), 2),
    "routing": 3,
    "relay": 4,
    "api": 5,
    **dict.fromkeys(
        ("service", "garbage", "demo", "keys", "assembly", "settlement", "supervision", "top", "top_picture"), 6
    ),
    **dict.fromkeys(("cli", "__main__"), 7),
}
IMPURE = {"asyncio", "socket", "ssl", "time", "random", "logging"}
KINDS = {"Pure", "Shell", "Wiring"}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40

MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_bytes()) for name, path in MODULES.items()}
PLAIN = [name for name in MODULES if not name.endswith("__init__.py")]


def station(name: str) -> str:
    """The package or top-level module that a file, or a dotted name below `gateway`, belongs to."""
    return name.replace(".", "/").split("/")[0]


def kind_of(name: str) -> str:
    words = (ast.get_docstring(TREES[name]) or "").split()
    return words[0].rstrip(":,.") if words else ""


def imports(name: str) -> Iterator[str]:
    """The dotted names of everything that a module imports, at any depth of its code; relative ones made whole."""
    folder = ["gateway", *name.split("/")[:-1]]
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = folder[: len(folder) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from (".".join([*base, alias.name]) for alias in node.names)


def may_import(own: str, other: str) -> bool:
    """Lower ranks; and modules beside one's own directly in `gateway` are one package."""
    if own == "__init__":
        return False
    beside = f"{own}.py" in MODULES and f"{other}.py" in MODULES
    return RANKS[other] < RANKS[own] or (beside and RANKS[other] == RANKS[own])


def test_every_module_has_a_rank() -> None:
    assert {station(name.removesuffix(".py")) for name in MODULES} - {"__init__"} <= RANKS.keys()


def higher_imports(name: str) -> set[str]:
    """The stations that a module may not import, and does."""
    own = station(name.removesuffix(".py"))
    found = {station(full.removeprefix("gateway.")) for full in imports(name) if full.startswith("gateway.")}
    return {other for other in found - {own} if other in RANKS and not may_import(own, other)}


def test_a_module_imports_only_lower_ranks_or_its_own_package() -> None:
    assert {name: higher for name in MODULES if (higher := higher_imports(name))} == {}


def test_the_first_word_of_a_module_says_which_kind_it_is() -> None:
    assert [name for name in PLAIN if kind_of(name) not in KINDS] == []


def test_a_pure_module_has_no_clock_no_dice_no_log_and_no_network() -> None:
    pure = [name for name in MODULES if kind_of(name) == "Pure"]
    found = {name: {full.split(".")[0] for full in imports(name)} & IMPURE for name in pure}
    assert {name: impure for name, impure in found.items() if impure} == {}


def is_export(node: ast.stmt) -> bool:
    exported = isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets]
    return isinstance(node, ast.ImportFrom | ast.Import) or exported in (["__all__"], ["__version__"])


def test_a_package_head_holds_a_docstring_and_exports_only() -> None:
    heads = [name for name in MODULES if name.endswith("__init__.py")]
    assert [name for name in heads if not ast.get_docstring(TREES[name])] == []
    assert [name for name in heads if not all(map(is_export, TREES[name].body[1:]))] == []


def test_no_file_is_too_long() -> None:
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > MAX_FILE_LINES} == {}


def test_no_function_is_too_long() -> None:
    lines = {
        f"{name}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: count for name, count in lines.items() if count > MAX_FUNCTION_LINES} == {}
