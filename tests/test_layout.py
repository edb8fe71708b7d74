"""The rules of DESIGN.md section 2 and of the house style that a tool does not check: ranks, purity, sizes, words."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import gateway

ROOT = Path(gateway.__file__).parent
RANKS = {
    **dict.fromkeys(("errors", "endings", "clock", "tasks", "turn_share", "borrowed_socket"), 0),
    **dict.fromkeys(("config", "wire", "observe"), 1),
    **dict.fromkeys(("dialects", "delivery", "access", "simulate"), 2),
    **dict.fromkeys(("upstream", "stream"), 3),
    **dict.fromkeys(("cluster", "merge", "routing"), 4),
    **dict.fromkeys(("completion", "feeds"), 5),
    "http": 6,
    "run": 7,
    "commands": 8,
    "__main__": 9,
}
IMPURE = {"asyncio", "socket", "ssl", "time", "random", "logging"}
KINDS = {"Pure", "Shell", "Wiring"}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
# A docstring begins with what the thing is or does, and a comment can be read alone (HOUSE_STYLE 18, 19).
NO_BEGINNING = re.compile(r"(Of|For|To|As|With)\b")
NO_WORDS = re.compile(r"#.*\b(so many|so long|of that|of such|with it)([ ,;:.]|$)", re.MULTILINE)

MODULES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
TREES = {name: ast.parse(path.read_bytes()) for name, path in MODULES.items()}
# `bench` follows.
FILES = [path for folder in ("gateway", "tests", "bench") for path in sorted((ROOT.parent / folder).rglob("*.py"))]
SOURCES = {path.relative_to(ROOT.parent).as_posix(): path.read_text() for path in FILES}
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


def test_only_the_sqlite_books_know_sqlite() -> None:
    assert [name for name in MODULES if "sqlite3" in imports(name)] == ["access/sqlite_books.py"]


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


def test_no_two_classes_have_one_name() -> None:
    names = Counter(
        node.name.lstrip("_") for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    assert {name: count for name, count in names.items() if count > 1} == {}


def docstrings(text: str) -> Iterator[str]:
    """The docstrings of a file, the attributes' included."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def test_a_docstring_begins_with_what_the_thing_is_or_does() -> None:
    found = {
        name: [text for text in docstrings(source) if NO_BEGINNING.match(text)] for name, source in SOURCES.items()
    }
    assert {name: texts for name, texts in found.items() if texts} == {}


def test_a_comment_can_be_read_alone() -> None:
    found = {name: [match[0] for match in NO_WORDS.finditer(source)] for name, source in SOURCES.items()}
    assert {name: comments for name, comments in found.items() if comments} == {}
